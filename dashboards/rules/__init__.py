"""Prometheus rules, generated, and what tests them."""
