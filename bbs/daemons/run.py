"""Runs twistd as it is, with less to wait for until its service is there.

    python -c 'from bbs.daemons.run import run; run()' --nodaemon --pidfile= bbs-app …

is for app servers that the fleet launches, as people wait for them: of 240 ms of a processor until
they listen it saves 50. Options, log, signals and exit codes are twistd's own. What differs:

- The cyclic garbage collector rests until the reactor runs. All that is made by then stays, and to
  look through it again and again takes a seventh of the start.
- A module that Twisted imports, and that a server hardly ever uses, is loaded when it is first used
  (the `importlib.util.LazyLoader` of the standard library).
- A SIGTERM that comes while it stops is left alone; Twisted would log a traceback. An operator
  ends an app server, and the fleet's keeper, which sees it go, does so too.
- The plugin `NAME-app` is first looked for in the module `twisted.plugins.NAME_plugins`. Twisted's
  own look through all plugins, which is taken where it is not there, loads what others need: the
  whole of `unittest`, for one.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
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
    from twisted.plugin import getPlugins
    from twisted.scripts import twistd

    class TwistdOptions(twistd.ServerOptions):  # type: ignore[name-defined,misc]
        """twistd's, which asks this for the plugins that there are."""

        @staticmethod
        def _getPlugins(interface: Any) -> Iterable[Any]:
            return plugins_of(sys.argv[1:]) or getPlugins(interface)

    app.run(_run, TwistdOptions)


def _run(options: Any) -> None:
    # Now, as the options may have chosen which reactor it is.
    from twisted.internet import reactor
    from twisted.scripts import twistd

    reactor.callWhenRunning(collect_again)
    reactor.addSystemEventTrigger(
        "before", "shutdown", signal.signal, signal.SIGTERM, signal.SIG_IGN
    )
    twistd.runApp(options)


def plugins_of(arguments: Sequence[str]) -> Sequence[Any]:
    """The services for twistd of whose one the arguments begin with the name, options left aside;
    none if they are not where they are expected."""
    wanted = next((each for each in arguments if not each.startswith("-")), "")
    try:
        module = import_module(f"twisted.plugins.{wanted.partition('-')[0]}_plugins")
    except ImportError:
        return ()
    from twisted.application.service import IServiceMaker

    found = [each for each in vars(module).values() if IServiceMaker.providedBy(each)]
    return found if any(each.tapname == wanted for each in found) else ()


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
