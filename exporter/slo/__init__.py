"""Service level objectives, turned into Prometheus rules."""
