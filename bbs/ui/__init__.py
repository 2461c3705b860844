"""What people have of a service: a conversation, and its faces at a terminal, behind telnet and in
scripts."""
