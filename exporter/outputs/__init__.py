"""How knowledge gets out: metrics, exposition, spans, OTLP."""
