"""Telnet, and plain pipes such as nc, as the far end of a conversation (`docs/telnet.md`)."""
