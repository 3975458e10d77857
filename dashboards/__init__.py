"""Grafana dashboards and Prometheus rules of atoms-exporter, written as code: ``python -m dashboards``."""
