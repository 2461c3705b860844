"""The gateway for people who have nothing but telnet or nc (`docs/telnet.md`).

A `Peer` knows which of the two is at the other end, and turns its bytes into text and back. A
`Session` is one person: a `Conversation` of the client's, the line that they type (`editor`,
`keys`), and how it is drawn (`display`). `GatewayConnection` is the socket between them, with its
limits.
"""
