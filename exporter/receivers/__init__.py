"""How events get in: streams, discovery, webhooks, history."""
