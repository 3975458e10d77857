"""Worlds of whole hours for the rules: events in, scraped counters out, alerts by promtool."""
