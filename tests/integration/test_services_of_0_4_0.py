"""Services, extensions and providers that were built on 0.4.0 from outside, on today's framework:
nothing in them is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.service import Person, eventually
from tests.integration.test_client_versions import (
    TODAY,
    VersionsCase,
    beside,
    command,
    folder,
    run_main,
)
from tests.paths import CHECKOUT, FIXTURES

EXAMPLES = "33f46f38"
"""A commit that has the examples as they were with 0.4.0."""

WITHOUT_SERVERS = {"poll": "src", "lobby": "src", "popen_provider": "src"}
"""Examples whose tests need no servers, and where in them their code stands."""


@cache
def dungeon() -> Path:
    """`dungeon`, a service with an extension and a tick."""
    return command("dungeon", beside(FIXTURES / "older/dungeon"), *run_main("dungeon"))


@cache
def examples() -> Path:
    """The examples as they were with 0.4.0."""
    place = folder() / "0.4.0"
    place.mkdir()
    try:
        packed = subprocess.run(
            ["git", "archive", EXAMPLES, "examples"], cwd=CHECKOUT, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise SkipTest(f"the history up to {EXAMPLES} is not here") from None
    subprocess.run(["tar", "-x", "-C", place], input=packed, check=True)
    return place / "examples"


class Dungeon(VersionsCase):
    async def test_a_script(self) -> None:
        """Its commands, its extension's, the extension's setting, and its talk."""
        service = await self.shared(dungeon())
        script = (
            "register ann a\nregister bob b\nlogin ann a\nlogin bob b\n"
            "light ann crypt 900\nlight bob cellar\nlight bob crypt 900\nlook ann\nrooms ann\n"
            "rain ann\nrain ann\nrain ann\nrain ann\ndelete bob\nlook ann\n"
        )
        printed = await self.printed(service, TODAY, script, program=dungeon())
        left = [
            line.partition(": ")[0] if line[:3] in ("ann", "bob") else line
            for line in printed.splitlines()
        ]
        self.assertEqual(
            left,
            [
                *["Success!"] * 4,
                *("Success!", "There is no room cellar", "Success!"),
                *("ann", "bob", "crypt", "hall"),
                *("drops: 1", "drops: 2", "drops: 3", "You are wet through, by 3 drops"),
                *("Success!", "ann"),
            ],
        )

    async def test_its_ticks_and_its_talk(self) -> None:
        service = await self.shared(dungeon())
        await service.register("ann", "bob")
        ann, bob = [await service.person(name) for name in ("ann", "bob")]
        for reply in (
            await ann.asks("light", "hall", "900"),
            await bob.asks("light", "hall", "2"),
            await ann.asks("listen"),
            await bob.asks("listen"),
            await bob.asks("say", "it is cold"),
        ):
            self.assertEqual(reply["status"], 0, reply)

        def heard(person: Person, event: str) -> bool:
            return any(each["event"] == event for each in person.wire.events)

        await eventually(lambda: heard(ann, "said"), "ann hears bob")
        await eventually(lambda: heard(bob, "out"), "bob's torch goes out")
        self.assertFalse(heard(ann, "out"))

    async def test_its_operators(self) -> None:
        service = await self.shared(dungeon())
        await service.register("ann")
        ann = await service.person("ann")
        self.assertEqual((await ann.asks("light", "hall", "900"))["status"], 0)
        for words, shown in (
            (("torch", "count"), "1 torches"),
            (("user", "show", "ann"), "torches    1"),
        ):
            ended = service.start(dungeon(), *words, "--config", service.config)
            await ended.ended(60.0)
            self.assertIn(shown, ended.output, ended.errors)


class Examples(SynchronousTestCase):
    """The examples' own tests, as they were."""

    def test_theirs(self) -> None:
        for name, source in WITHOUT_SERVERS.items():
            place = examples() / name
            ended = subprocess.run(
                [sys.executable, "-m", "twisted.trial", f"test_{name}"],
                cwd=place,
                env={**os.environ, **beside(place / source, place)},
                capture_output=True,
                text=True,
                timeout=200,
            )
            self.assertRegex(
                ended.stdout.splitlines()[-1], r"^PASSED \(successes=\d+\)$", f"{name}: {ended}"
            )
