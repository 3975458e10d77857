"""How this process reaches others: one set of rules for the API, its streams, and the backends of OTLP."""
