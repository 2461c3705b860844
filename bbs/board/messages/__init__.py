"""Messages, to friends and to groups: inboxes, history, expiry. This part knows people and
groups."""
