"""Posts, of friends and in groups: threads, and what is unread. This part knows people and
groups."""
