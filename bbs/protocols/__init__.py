"""What goes over the wire: the line protocol, its command table, telnet, and STOMP."""
