"""The operators' page of a login server, and what monitoring systems ask it for.

`page.py` composes it. `poller.py` looks at the service once for everybody who watches.
`snapshot.py` makes the present of what it saw, and `history.py` the last hour and the events.
`stream.py` sends them on, `resources.py` and `actions.py` answer single requests, and `metrics.py`
is for Prometheus. Nothing here runs, or is imported, unless `[web] listen` is set.
"""
