"""Groups: who is in them, and who owns them. It knows people."""
