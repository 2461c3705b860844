"""Who is counted, and how much is left."""
