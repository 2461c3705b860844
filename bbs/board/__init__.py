"""The bulletin board: the first service on the framework."""
