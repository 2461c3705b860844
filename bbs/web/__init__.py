"""The operators' page of a login server, and what monitoring systems ask it for.

`page` composes it from a `context`. `poller` looks at the service once for everybody who watches.
`snapshot` makes the present of what it saw, and `history` the last hour and the events. `stream`
sends them on. `resources`, `actions` and `lists` answer single requests, and `metrics` is for
Prometheus. Nothing here runs, or is imported, unless `[web] listen` is set.
"""
