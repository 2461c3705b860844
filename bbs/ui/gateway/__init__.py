"""The gateway for people who use telnet or nc (`docs/telnet.md`).

A `GatewayPeer` knows which of the two is at the other end, and converts its bytes to text and back.
A `GatewaySession` is one person: the client's `Conversation`, the `Keyboard` that turns keys into
lines, and the `LineDisplay` with the input line. `GatewayConnection` is the socket, with its
limits, and `Backpressure` stops reading from the service while the socket takes no more output.
"""
