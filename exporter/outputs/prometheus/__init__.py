"""Prometheus out: the catalogue of all metrics, their series, and the pages that show them."""
