"""Each declared command on an app server of 0.4.0 beside one of today, on one database and broker:
what it answers, and what the other person hears on the other server, are the same both ways.

With `BBS_TEST_COMMIT` the older one is of that commit, whose history has to be here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from lab.rolling.versions import environ, unpack
from tests.integration.service import Person, ServiceCase, eventually
from tests.paths import CHECKOUT
from tests.services import needed

COMMIT = os.environ.get("BBS_TEST_COMMIT")

VARYING = ("id", "post", "time", "last", "since", "after", "created", "messages")
"""Members with numbers that differ each time; `messages` counts what is not noted as sent yet."""

STEPS = """
    A listen
    O listen
    A invite O
    O list-invite
    O decline-invite A
    A invite O
    O decline-all
    A invite O
    O accept-invite A
    A list-friend
    A who
    A set-status 'busy with it'
    O who
    A send O 'hello over there'
    A mail O 'for later'
    A send nobody hello
    A history O
    O history A
    A post 'first of all'
    O receive-post
    O new
    A posts
    O reply POST 'well said'
    A thread POST
    A my-posts
    A thread x
    A delete-post POST
    A thread POST
    A create-group GROUP
    A create-group GROUP
    O join-group GROUP
    A list-group
    O list-joined
    A list-member GROUP
    A groups
    A set-topic GROUP openings
    A send-group GROUP 'e4 e5'
    O history-group GROUP
    A post-group GROUP 'a long post'
    O group-posts GROUP
    O leave-group GROUP
    A close-group GROUP
    O join-group GROUP
    A invite-group GROUP O
    O join-group GROUP
    A kick GROUP O
    A open-group GROUP
    O join-group GROUP
    A give-group GROUP O
    O delete-group GROUP
    A unfriend O
    A block O
    A list-block
    O invite A
    A unblock O
    A list-block
    A ping
    A nonsense
"""
"""Who asks what: A asks it once at the older server and once at today's, and O is at the other."""

WITHOUT = {
    *("register", "login", "logout", "locate", "delete", "change-password", "quit"),
    *("commands", "events", "help"),
}
"""What ends what the steps need, and what tells of the version itself."""


class EachCommand(ServiceCase):
    """Two people on a server of 0.4.0 and two on one of today, whose places those are."""

    async def arrive(self, tree: Path, *names: str) -> list[Person]:
        """An app server by the code of `tree`, with these people on it."""
        process = self.its.app_server(environ=environ(tree))
        await process.says("LineFactory starting on")
        people = []
        for name in names:
            people.append(await self.its.person(name))
        self.assertEqual(len({each.port for each in people}), 1)
        return people

    async def play(self, asker: Person, other: Person) -> list[tuple[str, object]]:
        """What is answered to each of the STEPS that both versions know."""
        people = {"A": asker, "O": other}
        words = {"A": asker.name, "O": other.name, "POST": "0", "GROUP": f"{asker.name}s"}
        answered = []
        for step in STEPS.strip().splitlines():
            who, name, *arguments = shlex.split(step)
            if name not in self.known and name != "nonsense":
                continue
            reply = await people[who].asks(name, *(words.get(each, each) for each in arguments))
            answered.append((step.strip(), self.settled(reply, asker, other)))
            if name == "post" and "my-posts" in self.known:
                mine = await people[who].asks("my-posts")
                words["POST"] = str(mine["post"][0]["id"])
        return answered

    def settled(self, value: object, asker: Person, other: Person) -> object:
        """What depends neither on who asks, nor when, nor on which version answers."""
        text = json.dumps(value, sort_keys=True)
        for word, role in ((f"{asker.name}s", "GROUP"), (asker.name, "A"), (other.name, "O")):
            text = re.sub(rf"\b{word}\b", role, text)
        return json.loads(re.sub(rf'"({"|".join(VARYING)})": [\d.]+', r'"\1": 0', text))

    def heard(self, asker: Person, other: Person) -> list[str]:
        """The events of both, in no order: those of one step may come in the next."""
        return sorted(
            f"{role} {json.dumps(self.settled(event, asker, other), sort_keys=True)}"
            for role, person in (("A", asker), ("O", other))
            for event in person.wire.events
        )

    async def check(self, older: Path) -> None:
        """The same with `older`, the code of a version before."""
        self.its = its = self.service(
            broker={"url": needed("BBS_TEST_ACTIVEMQ_URL")},
            app={"listen": "tcp:0:interface=127.0.0.1", "capacity": 2},
            fleet={"provider": "none", "minimum": 0, "heartbeat_interval": 0.5},
        )
        await its.login_server()
        await its.register("ann", "bob", "carol", "dave")
        ann, carol = await self.arrive(older, "ann", "carol")
        bob, dave = await self.arrive(CHECKOUT, "bob", "dave")
        self.assertNotEqual(ann.port, bob.port)
        before, today = [
            {each["usage"].split()[0] for each in (await person.wire.ask("commands"))["commands"]}
            for person in (ann, bob)
        ]
        self.known = before & today
        self.assertEqual(before - today, set(), "what went since")
        asked = {shlex.split(step)[1] for step in STEPS.strip().splitlines()}
        self.assertEqual(today - asked - WITHOUT, set(), "what no step asks")

        first = await self.play(ann, bob)
        # The released version has no command for it.
        with closing(sqlite3.connect(its.data / "bbs.sqlite3")) as database, database:
            database.execute("DELETE FROM chat_group")
        answered = zip(first, await self.play(dave, carol), strict=True)
        for (step, by_older), (_, by_today) in answered:
            less, more = (by_older, by_today) if step[0] == "A" else (by_today, by_older)
            self.assertEqual(_common(less, more), less, step)

        def events() -> tuple[list[str], list[str]]:
            return self.heard(ann, bob), self.heard(dave, carol)

        await eventually(
            lambda: events()[0] == events()[1], f"both hear the same: {json.dumps(events())}"
        )

    async def test_older_beside_today(self) -> None:
        await self.check(self.at_commit(COMMIT) if COMMIT else unpack(self.folder(), "0.4.0"))

    def at_commit(self, commit: str) -> Path:
        """The code of a commit."""
        folder = self.folder()
        packed = subprocess.run(
            ["git", "archive", commit, "bbs", "twisted"],
            cwd=CHECKOUT,
            capture_output=True,
            check=True,
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
        return folder

    def folder(self) -> Path:
        made = Path(self.mktemp()).absolute()
        made.mkdir(parents=True)
        return made


def _common(less: object, more: object) -> object:
    """Those members of `more` that `less` has, too: versions add members to replies."""
    if isinstance(less, dict) and isinstance(more, dict):
        return {key: _common(less[key], value) for key, value in more.items() if key in less}
    if isinstance(less, list) and isinstance(more, list) and len(less) == len(more):
        return [_common(one, other) for one, other in zip(less, more, strict=True)]
    return more
