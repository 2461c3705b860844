"""Places of people who are gone go back, and those who stay notice nothing.

What the fleet was like over time is in `figures.txt` in the folder of the test's service.
`BBS_TEST_SCRIPTS` is how many come and go.
"""

from __future__ import annotations

import os
import re
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from tests.integration.service import (
    LOOK,
    Person,
    Service,
    ServiceCase,
    connect,
    eventually,
    together,
)

SCRIPTS = int(os.environ.get("BBS_TEST_SCRIPTS", "20"))
CAPACITY = 10
PLACE_TTL = 5.0
IDLE_GRACE = 2.0
ALL_BACK = 60.0
"""Seconds until all places are back and the servers have ended, at the most: on a machine that has
much else to do."""

NOW_AND_THEN = PLACE_TTL * 0.6

FLEET = {
    "minimum": 1,
    "maximum": 12,
    "spare": 2,
    "idle_grace": IDLE_GRACE,
    "heartbeat_interval": 0.5,
}


class Crowd(ServiceCase):
    """Many log in, ask something and are gone; three stay."""

    async def test_scripts_that_log_in_and_end(self) -> None:
        service = self.big_service(
            app={"capacity": CAPACITY, "place_ttl": PLACE_TTL, "listen": "tcp:0"}, fleet=FLEET
        )
        self.begin(service)
        await service.up()
        stay = ("ann", "bob", "eva")
        gone = [f"script{number}" for number in range(SCRIPTS)]
        await service.register(*stay, *gone)
        ann, bob, eva = people = [await service.person(name) for name in stay]
        for person in (ann, bob):
            self.assertEqual((await person.asks("listen"))["status"], 0)
        self.asking = True
        asks = self.ask_now_and_then(eva)
        tokens = await together(self.script(service, name) for name in gone)
        full = await self.look(service)
        # Of those who came first the places may be back already, on a machine that is busy.
        self.assertEqual(full["places"] + full["away"], SCRIPTS + len(stay))
        self.assertGreater(full["servers"], 1)

        async def quiet() -> bool:
            seen = await self.look(service)
            return bool(seen["places"] == 3 and seen["servers"] == 1)

        await eventually(quiet, "only those who stay have places", ALL_BACK, LOOK)
        self.assertEqual((await self.look(service))["listen"], 2)
        # The plan is content with it: nobody is launched for who is merely logged in.
        launches = service.launches()
        await deferLater(reactor, 2 * IDLE_GRACE, lambda: None)
        self.assertEqual((await self.look(service))["servers"], 1)
        self.assertEqual(service.launches(), launches)
        await self.nothing_has_happened(service, ann, bob)
        await self.are_still_logged_in(service, people[0], gone, tokens)
        self.asking = False
        await asks

    async def script(self, service: Service, name: str) -> str:
        """What a script does; the token that it had."""
        person = await service.person(name)
        self.assertEqual((await person.asks("list-friend")), {"status": 0, "friend": []})
        person.wire.close()
        return person.token

    def ask_now_and_then(self, person: Person) -> Any:
        """Have somebody ask something before the place goes back, again and again; each time it is
        answered by the very server."""

        async def ask() -> None:
            while self.asking:
                self.assertEqual((await person.asks("list-friend"))["status"], 0)
                await deferLater(reactor, NOW_AND_THEN, lambda: None)

        return together([ask()])

    async def nothing_has_happened(self, service: Service, ann: Person, bob: Person) -> None:
        """Those who listen were told nothing, least of all that they are logged out, and still get
        what is for them."""
        self.assertEqual((ann.wire.events, bob.wire.events), ([], []))
        at_anns, at_bobs = await connect(ann.port), await connect(bob.port)
        for wire, words in (
            (at_anns, ("invite", ann.token, "bob")),
            (at_bobs, ("accept-invite", bob.token, "ann")),
            (at_anns, ("send", ann.token, "bob", "hello")),
        ):
            self.assertEqual((await wire.ask(*words))["status"], 0)
        await eventually(lambda: bob.wire.events, "bob hears")
        self.assertEqual(bob.wire.events[-1]["message"], "hello")
        for wire in (at_anns, at_bobs):
            wire.close()

    async def are_still_logged_in(
        self, service: Service, ann: Person, names: list[str], tokens: list[str]
    ) -> None:
        """The next command finds them a place: at the server that is asked, for whoever fits, and
        all at once of one who asks ten times at once."""
        before = await self.look(service)
        wires = [await connect(ann.port) for _ in range(10)]
        replies = await gatherResults([wire.ask("list-friend", tokens[0]) for wire in wires])
        self.assertEqual({reply["status"] for reply in replies}, {0})
        self.assertEqual((await self.look(service))["places"], before["places"] + 1)
        # And of all of them at once, of whom most must go elsewhere.
        answers = await gatherResults([wires[0].ask("list-friend", token) for token in tokens])
        codes = {reply.get("code") for reply in answers}
        self.assertLessEqual(codes, {None, "moved", "ask-login-server"})
        self.assertIn(None, codes)
        login = await connect(service.port)
        located = await gatherResults([login.ask("locate", token) for token in tokens])
        self.assertEqual({reply["status"] for reply in located}, {0})
        for wire in (*wires, login):
            wire.close()

    # What there is

    def begin(self, service: Service) -> None:
        self.began = reactor.seconds()
        self.figures = service.folder / "figures.txt"

    async def look(self, service: Service) -> dict[str, int]:
        """What `bbs fleet list` says, noted."""
        servers = await service.fleet()
        alive = [each for each in servers if each["state"] in ("ready", "draining")]
        seen = {
            "servers": len(alive),
            "listen": sum(each["connected"] or 0 for each in alive),
        }
        words = service.fleet_list().splitlines()[-1]
        # Of one moment, as places go back between two looks.
        (away,) = re.findall(r"; (\d+) (?:is|are) logged in without one", words)
        seen |= {"places": int(words.split()[0]), "away": int(away)}
        with self.figures.open("a") as figures:
            figures.write(
                f"{reactor.seconds() - self.began:5.1f} s  {seen['servers']:2} servers  {words}\n"
            )
        return seen
