"""Runs twistd as it is, with less to wait for until its service is there.

    python -c 'from bbs.daemons.run import run; run()' --nodaemon --pidfile= bbs-app …

is for app servers that the fleet launches, as people wait for them: of 240 ms of a processor until
they listen it saves 50. Options, log, signals and exit codes are twistd's own. What differs is only
what Python does meanwhile:

- The cyclic garbage collector rests until the reactor runs. All that is made by then stays, and to
  look through it again and again takes a seventh of the start.
- A module that Twisted imports, and that a server hardly ever uses, is loaded when it is first used
  (the `importlib.util.LazyLoader` of the standard library).
"""

from __future__ import annotations

import gc
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import Any

LATE = ("http.cookiejar", "pdb")
"""What is loaded when it is first used: each is imported by Twisted itself, whatever runs."""


def run() -> None:
    """What the command `twistd` does."""
    gc.disable()
    for name in LATE:
        _load_late(name)
    from twisted.application import app
    from twisted.scripts import twistd

    app.run(_run, twistd.ServerOptions)  # type: ignore[attr-defined]


def _run(options: Any) -> None:
    # Now, as the options may have chosen which reactor it is.
    from twisted.internet import reactor
    from twisted.scripts import twistd

    reactor.callWhenRunning(collect_again)
    twistd.runApp(options)


def collect_again() -> None:
    """Let the garbage collector work, as if it had looked through all that there is by now."""
    # Together they move everything to the oldest generation, and nothing else.
    gc.freeze()
    gc.unfreeze()
    gc.enable()


def _load_late(name: str) -> None:
    """Let the module `name` be there, and be loaded when something of it is first asked for."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    package, _, last = name.rpartition(".")
    if package:
        setattr(sys.modules[package], last, module)
