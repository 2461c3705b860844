"""What the use of a part loads: nobody pays for what they do not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import bbs.framework

HEAVY = {
    *("argon2", "boto3", "botocore", "peewee", "playhouse", "prometheus_client"),
    *("opentelemetry", "prompt_toolkit", "pymysql", "twisted.web"),
}
"""What only some parts need."""

REACTOR = "twisted.internet.reactor"
"""Whoever imports it has chosen one, for the whole process."""

PLUGIN = """
from bbs.framework import CommandTable, Refusal, Role, read_only, success

commands = CommandTable()

class NoDice(Refusal):
    text = "There is no die with {} sides"

@read_only
def throw(caller, sides):
    if sides != "6":
        raise NoDice(sides)
    return 4

@commands.command("dice <user> <sides>", Role.APP, rule=throw)
async def dice(ask, result):
    return success(result=result)
"""
"""What somebody's package has in the entry-point group `bbs.commands`."""


class Loads(SynchronousTestCase):
    def loaded(self, *lines: str) -> set[str]:
        """The modules that a fresh Python has after these lines, beside those that it starts with;
        it knows nothing of the tests."""
        program = [
            "import sys",
            "before = set(sys.modules)",
            "sys.modules['tests'] = None",
            *lines,
            "print(*sorted(set(sys.modules) - before - {'tests'}))",
        ]
        root = Path(bbs.framework.__file__).absolute().parents[1]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(program)],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return set(done.stdout.split())

    def check(self, loaded: set[str], ours: set[str], never: set[str] = HEAVY) -> None:
        """Of this project only `ours` is loaded, each with what is below it, and nothing of
        `never`."""
        self.assertEqual(loaded & never, set())
        packages = {"bbs", *(part for name in ours for part in parents(name))}
        strangers = {
            name
            for name in loaded
            if name.partition(".")[0] == "bbs"
            and name not in packages
            and not any(f"{name}.".startswith(f"{each}.") for each in ours)
        }
        self.assertEqual(strangers, set())

    def test_a_stomp_client(self) -> None:
        loaded = self.loaded("import bbs.protocols.stomp")
        self.check(loaded, {"bbs.errors", "bbs.protocols.stomp"}, {*HEAVY, REACTOR})
        self.assertNotIn("bbs.protocols.stomp.broker", loaded)

    def test_the_embedded_broker(self) -> None:
        loaded = self.loaded("import bbs.protocols.stomp.broker")
        doors = {f"bbs.protocols.{each}" for each in ("closing", "doors", "sockets")}
        ours = {"bbs.addresses", "bbs.errors", "bbs.protocols.stomp", "bbs.security", *doors}
        self.check(loaded, ours, {*HEAVY, REACTOR})

    def test_a_client_of_the_service(self) -> None:
        loaded = self.loaded("import bbs.client")
        ours = {
            *("bbs.client", "bbs.addresses", "bbs.errors", "bbs.protocols.commands"),
            *("bbs.tracing", "bbs.values"),
        }
        self.check(loaded, ours, {*HEAVY, "stomper", REACTOR})
        self.assertNotIn("bbs.client.terminal", loaded)

    def test_the_framework_alone(self) -> None:
        loaded = self.loaded("import bbs.framework")
        self.check(loaded, {"bbs.framework"})
        self.assertEqual({name for name in loaded if name.startswith("twisted")}, set())

    def test_every_name_of_the_framework(self) -> None:
        """All of them are there, and none chooses a reactor."""
        loaded = self.loaded("from bbs.framework import *")
        self.assertNotIn(REACTOR, loaded)
        self.assertIn("bbs.cli", loaded)

    def test_a_plugin_that_declares_a_command(self) -> None:
        loaded = self.loaded(PLUGIN)
        never = {"boto3", "botocore", "prometheus_client", "prompt_toolkit", "twisted.web", REACTOR}
        ours = {
            *("bbs.addresses", "bbs.commands", "bbs.delivery", "bbs.errors", "bbs.framework"),
            *("bbs.limits", "bbs.passwords", "bbs.plugins", "bbs.protocols", "bbs.rules"),
            *("bbs.security", "bbs.storage", "bbs.tracing", "bbs.values", "bbs.workers"),
        }
        self.check(loaded, ours, never)

    def test_a_table_without_rules(self) -> None:
        """Words alone need no database."""
        loaded = self.loaded("from bbs.framework import CommandTable, Refusal, Role")
        self.check(loaded, {"bbs.errors", "bbs.framework", "bbs.protocols.commands", "bbs.values"})

    def test_the_twistd_plugins(self) -> None:
        """Every twistd on the machine loads them, whatever it is to run."""
        loaded = self.loaded("import twisted.plugins.bbs_plugins")
        self.check(loaded, set(), {*HEAVY, REACTOR})

    def test_what_tests_stand_on(self) -> None:
        """It is usable where there is no checkout, name by name."""
        self.check(self.loaded("import bbs.testing"), {"bbs.testing"})
        loaded = self.loaded("from bbs.testing import *")
        self.assertIn("bbs.testing.service", loaded)
        self.assertNotIn(REACTOR, loaded)
        loaded = self.loaded("from bbs.testing import BrokerContract, MemoryBroker, SocketContract")
        self.check(loaded, {"bbs.errors", "bbs.testing", "bbs.protocols.stomp"})


def parents(name: str) -> list[str]:
    """The packages that a module is in."""
    parts = name.split(".")
    return [".".join(parts[:number]) for number in range(1, len(parts))]
