"""The operators' page of a login server, and what monitoring systems ask it for.

`page.py` puts it together. `lookout.py` looks at the service once for everybody who watches;
`snapshot.py` and `history.py` make the present and the last hour of what it saw, `memory.py` keeps
the hour and the news; `stream.py` sends them on, `resources.py` and `actions.py` answer single
requests, `front.py` is the page before any script runs, `metrics.py` is for Prometheus. Nothing
here runs, or is imported, unless `[web] listen` is set.
"""
