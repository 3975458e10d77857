"""What survives the process, and when it is written."""
