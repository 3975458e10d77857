"""atoms-exporter: metrics and traces of voice-agent calls on smallest.ai Atoms."""

__version__ = "0.1.0"
