"""The Atoms wire, without I/O: bytes to frames, frames to typed events, numbers to seconds."""
