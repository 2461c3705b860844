"""A service for people: a conversation, and its faces at a terminal, behind telnet and in
scripts."""
