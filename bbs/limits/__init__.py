"""Limits on connections, attempts and work, each counted by its source."""
