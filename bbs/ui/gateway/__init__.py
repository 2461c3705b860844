"""The conversation with people who have no client, by any face of text.

An `ITerminal` is where a person types and reads; each face brings its own. A `GatewaySession` is
one person: the client's `Conversation`, the `Keyboard` that turns keys into lines, and the
`LineDisplay` with the input line. `GatewayConnection` is the socket, with its limits, and
`Backpressure` stops reading from the service while the socket takes no more output.
"""
