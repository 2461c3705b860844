"""The commands that every service has, and the way of a request to its handler."""
