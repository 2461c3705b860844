"""What the use of a part loads: nobody pays for what they do not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import bbs

HEAVY = {
    *("argon2", "boto3", "botocore", "peewee", "playhouse", "prometheus_client"),
    *("opentelemetry", "prompt_toolkit", "pymysql", "twisted.web"),
}
"""What only some parts need."""

REACTOR = "twisted.internet.reactor"
"""Whoever imports it has chosen one, for the whole process."""

PLUGIN = """
from bbs.framework import Command, CommandTable, Refusal, Role, Service, read_only, success

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


DAEMONS = """
import bbs.daemons.app, bbs.daemons.login, bbs.daemons.telnet, bbs.cli.client, bbs.cli.up
import bbs.client.client, bbs.scaling.ec2.provider, bbs.web.http_limits, bbs.daemons.config_check
"""
"""All that runs; OpenTelemetry takes a tenth of a second to load."""


class Loads(SynchronousTestCase):
    def loaded(self, *programs: str) -> list[set[str]]:
        """The modules that a fresh Python has after each of these programs, which it runs one after
        the other, beside those that it starts with; it knows nothing of the tests."""
        program = ["import sys", "before = set(sys.modules)", "sys.modules['tests'] = None"]
        for each in programs:
            program += [each, "print(*sorted(set(sys.modules) - before - {'tests'}))"]
        root = Path(bbs.__file__).absolute().parents[1]
        done = subprocess.run(
            # All names of the framework are also those that have moved.
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", "\n".join(program)],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [{*line.split()} for line in done.stdout.splitlines()]

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

    def test_stomp(self) -> None:
        """A client, and the embedded broker."""
        client, broker = self.loaded(
            "import bbs.protocols.stomp", "import bbs.protocols.stomp.broker"
        )
        self.check(client, {"bbs.core.errors", "bbs.protocols.stomp"}, {*HEAVY, REACTOR})
        self.assertNotIn("bbs.protocols.stomp.broker", client)
        doors = {f"bbs.protocols.{each}" for each in ("connection_state", "admission", "sockets")}
        known = {f"bbs.core.{each}" for each in ("addresses", "audit", "errors", "values")}
        ours = {*known, "bbs.protocols.stomp", *doors}
        self.check(broker, ours, {*HEAVY, REACTOR})
        # What stomper needs of it has the name of a module of Python's own.
        packages = {name.partition(".")[0] for name in client | broker}
        self.assertEqual(packages & {"future", "past", "libfuturize", "libpasteurize"}, set())
        self.assertIn("stomper", packages)

    def test_a_client_of_the_service(self) -> None:
        (loaded,) = self.loaded("import bbs.client")
        ours = {
            *("bbs.client", "bbs.core.addresses", "bbs.core.errors", "bbs.core.lazy"),
            *("bbs.protocols.arguments", "bbs.protocols.commands", "bbs.protocols.forms"),
            *("bbs.protocols.presentation", "bbs.core.tracing", "bbs.core.values"),
        }
        self.check(loaded, ours, {*HEAVY, "stomper", REACTOR})
        self.assertNotIn("bbs.ui.terminal", loaded)

    def test_the_framework(self) -> None:
        """Alone; a table of words, which need no database; a plugin that declares a command, and no
        daemon; every name, and all that tests stand on, which choose no reactor; and the daemons
        where there is no collector of traces."""
        alone, words, plugin, every, testing, daemons = self.loaded(
            "import bbs.framework",
            "from bbs.framework import CommandTable, Refusal, Role",
            PLUGIN,
            "from bbs.framework import *",
            "from bbs.testing import *",
            DAEMONS,
        )
        self.check(alone, {"bbs.core.lazy", "bbs.framework"})
        self.assertEqual({name for name in alone if name.startswith("twisted")}, set())
        self.check(
            words,
            {
                *("bbs.core.errors", "bbs.core.lazy", "bbs.core.values", "bbs.framework"),
                *("bbs.protocols.arguments", "bbs.protocols.commands", "bbs.protocols.forms"),
            },
        )
        never = {"boto3", "botocore", "prometheus_client", "prompt_toolkit", "twisted.web", REACTOR}
        ours = {
            *(
                "bbs.core.addresses",
                "bbs.core.characters",
                "bbs.core.clock",
                "bbs.commands",
                "bbs.delivery",
                "bbs.core.errors",
                "bbs.core.former",
                "bbs.core.lazy",
                "bbs.framework",
            ),
            *(
                "bbs.limits",
                "bbs.limits.password_hashing",
                "bbs.core.plugins",
                "bbs.protocols",
                "bbs.rules",
            ),
            *(
                "bbs.core.audit",
                "bbs.core.database_urls",
                "bbs.storage",
                "bbs.core.tracing",
                "bbs.core.values",
                "bbs.core.threads",
            ),
        }
        self.check(plugin, ours, never)
        self.assertNotIn(REACTOR, every)
        self.assertIn("bbs.cli", every)
        self.assertNotIn(REACTOR, testing)
        self.assertIn("bbs.testing.service", testing)
        self.assertIn("bbs.daemons.login", daemons)
        self.assertNotIn("opentelemetry", daemons)

    def test_the_twistd_plugins(self) -> None:
        """Every twistd on the machine loads them, whatever it is to run."""
        (loaded,) = self.loaded("import twisted.plugins.bbs_plugins")
        self.check(loaded, set(), {*HEAVY, REACTOR})

    def test_what_tests_stand_on(self) -> None:
        """It is usable where there is no checkout, name by name."""
        alone, some = self.loaded(
            "import bbs.testing",
            "from bbs.testing import BrokerContract, MemoryBroker, SocketContract",
        )
        self.check(alone, {"bbs.core.lazy", "bbs.testing"})
        self.check(some, {"bbs.core.errors", "bbs.core.lazy", "bbs.testing", "bbs.protocols.stomp"})


def parents(name: str) -> list[str]:
    """The packages that a module is in."""
    parts = name.split(".")
    return [".".join(parts[:number]) for number in range(1, len(parts))]
