"""The gateway for people who have nothing but telnet or nc (`docs/telnet.md`).

A `GatewayPeer` knows which of the two is at the other end, and turns its bytes into text and back.
A `GatewaySession` is one person: a `Conversation` of the client's, the `Keyboard` that makes lines
of what they type, and the `LineDisplay` with the line that they are typing. `GatewayConnection` is
the socket under it, with its limits, and `Backpressure` holds up the service where the socket takes
no more.
"""
