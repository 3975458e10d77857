"""Attacks on the running exporter: streams and answers that are hostile, clients that take all there is."""
