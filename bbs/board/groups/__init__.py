"""Groups: who is in them, and who owns them. This part knows people."""
