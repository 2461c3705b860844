"""Telnet's own talk: what is text, what is negotiation (RFC 854, RFC 1143)."""
