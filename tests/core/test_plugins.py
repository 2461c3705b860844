"""What operators are told of a plugin that imports a private module which has moved."""

from __future__ import annotations

import resource
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

import bbs.framework
from bbs.board import board
from bbs.commands.common import all_commands
from bbs.config import ConfigError, load
from bbs.core.clock import IReactor
from bbs.core.plugins import PluginUnusable, import_advice, name_clash
from bbs.daemons.daemon import Daemon
from tests.installed import InstalledCase, install

STABILITY = "docs/developers/stability.md lists the public names"

ADVICE = {
    "from bbs.commands.ask import Ask": "bbs.commands.ask has moved: use bbs.framework.Ask",
    "from bbs.errors import Refusal": "bbs.errors has moved: use bbs.framework.Refusal",
    "from bbs.values import (\n    Counter,\n    Quotas,\n)": (
        "bbs.values has moved: use bbs.operators.Counter, bbs.framework.limits.Quotas"
    ),
    "from bbs.values import Counter, Policy": (
        f"bbs.values has moved: use bbs.operators.Counter; private: Policy ({STABILITY})"
    ),
    "from bbs.client.old import Reply": "bbs.client.old has moved: use bbs.board.Reply",
    "from bbs.testing.memory import MemoryBroker": (
        "bbs.testing.memory has moved: use bbs.testing.MemoryBroker"
    ),
    "from bbs.protocols.stomp.frame import StompError": (
        "bbs.protocols.stomp.frame has moved: use bbs.protocols.stomp.StompError"
    ),
    "from bbs.rules.auth import (\n    Caller,\n    Ask,\n)": (
        "bbs.rules.auth.Ask has moved: use bbs.framework.Ask"
    ),
    "from bbs.scaling import steps": f"bbs.scaling.steps is private and has moved; {STABILITY}",
    "from bbs import errors": f"bbs.errors is private and has moved; {STABILITY}",
    "import bbs.commands.ask": f"bbs.commands.ask is private and has moved; {STABILITY}",
    "from bbs.framework import Nothing": (
        "ImportError: cannot import name 'Nothing' from 'bbs.framework'"
    ),
    "import nothing_of_this_name": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
}
"""What a module imports, and the end of the line that it is told."""


class Advice(SynchronousTestCase):
    def test_a_mistake_of_our_own(self) -> None:
        """Its traceback is for those who can mend it."""
        for place, says in ((bbs.framework.__file__, False), ("/elsewhere/wave.py", True)):
            code = compile("import bbs.nothing", place, "exec")
            error = self.assertRaises(ModuleNotFoundError, exec, code)
            self.assertEqual(bool(import_advice(error)), says, place)


class InAPlugin(InstalledCase):
    def test_of_the_board(self) -> None:
        for statement, advice in ADVICE.items():
            self.clean_site()
            install(self.site, "bbs-poke", {"bbs.commands": "poke = poke:commands"}, poke=statement)
            error = self.assertRaises(PluginUnusable, all_commands, board)
            line = str(error).removesuffix(f" ({bbs.framework.__file__})")
            self.assertEqual(line, f"plugin poke of bbs-poke (bbs.commands): {advice}")

    def test_a_provider(self) -> None:
        self.install("bbs-kite", "kite = kite:kite", kite="from bbs.values import Instance")
        error = self.assertRaises(ConfigError, load, None, {})
        advice = "bbs.values has moved: use bbs.providers.Instance"
        self.assertEqual(str(error), f"plugin kite of bbs-kite (bbs.providers): {advice}")


class Idle(Daemon):
    """A daemon that does nothing."""

    kind = "idle"

    async def start(self) -> None:
        pass


class NameClash(InstalledCase):
    """The distribution `bbs` beside this one, which is called `txbbs`."""

    def install_bbs(self, *files: str) -> None:
        install(self.site, "bbs", {})
        for file in files:
            # From Python 3.12 on, a record of a file that is not there counts for nothing.
            (self.site / file).parent.mkdir(exist_ok=True)
            (self.site / file).touch()
        record = "".join(f"{file},,\n" for file in files)
        (self.site / "bbs-1.0.dist-info/RECORD").write_text(record)

    def test_none(self) -> None:
        self.assertEqual(name_clash(), "")

    def test_another_project(self) -> None:
        self.install_bbs("bbs/__init__.py", "bbs-1.0.dist-info/RECORD")
        self.assertEqual(
            name_clash(),
            "the distribution bbs 1.0 is installed too, with files in the places of ours:"
            " pip uninstall bbs, then install txbbs with --force-reinstall --no-deps",
        )

    def test_one_without_files(self) -> None:
        """Whoever needs `bbs` may be given an empty one that needs `txbbs`."""
        self.install_bbs("bbs-1.0.dist-info/RECORD")
        self.assertEqual(name_clash(), "")

    def test_a_process_says_so_once(self) -> None:
        """A `bbs up` has two daemons."""
        self.install_bbs("bbs/__init__.py")
        reactor, limits = cast("IReactor", Clock()), resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        first, second = (Idle(board, load(None, {}), reactor, self.fail) for _ in range(2))
        second.first = first
        with capturedLogs() as events:
            for daemon in (first, second):
                daemon.startService()
        self.assertEqual([formatEvent(event) for event in events], [name_clash()])
