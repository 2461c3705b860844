"""Posts, of friends and in groups: threads, and what is unread. It knows people and groups."""
