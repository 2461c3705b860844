"""Messages, to friends and to groups: inboxes, history, expiry. It knows people and groups."""
