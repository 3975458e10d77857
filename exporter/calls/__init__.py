"""What a call is, without I/O: events in, observations out."""
