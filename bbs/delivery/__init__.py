"""Hints between the servers, and events on their way to connections that listen."""
