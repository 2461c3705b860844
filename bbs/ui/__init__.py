"""The client for people: a conversation at a terminal, through the telnet gateway, in scripts."""
