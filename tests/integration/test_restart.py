"""Stopped or killed, and started again: everything ends, and everything is found again."""

from __future__ import annotations

import os
import signal

from lab.faults.parts import STATUS
from tests.integration.service import (
    Person,
    Process,
    Service,
    ServiceCase,
    connect,
    eventually,
    lives,
)

ORPHANS_END = 60.0
"""Seconds in which the children of a killed parent end themselves."""

LEASE = 3600.0
"""Seconds after which a login server that was killed is believed to be gone: nobody waits for that
here."""


class Restart(ServiceCase):
    """On the same folder, with people who are logged in and do not log in again."""

    async def conversation(self, service: Service) -> tuple[Person, Person]:
        """Two friends, a post, a group, and a message that was read and one that was not."""
        await service.register("ann", "bob")
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        for reply in (
            await ann.asks("post", "hello all"),
            await ann.asks("create-group", "chess"),
            await bob.asks("listen"),
            await ann.asks("send", "bob", "one"),
        ):
            self.assertEqual(reply, {"status": 0, "message": "Success!"})
        await eventually(lambda: bob.wire.events, "bob has the first message")
        await self.misses_one(ann, bob)
        return ann, bob

    async def misses_one(self, ann: Person, bob: Person) -> None:
        """Bob, who has listened, goes, and a message comes for him."""
        self.seen = bob.wire.events[-1]["id"]
        bob.wire.close()
        self.assertEqual((await ann.asks("send", "bob", "two"))["status"], 0)

    async def is_as_before(self, service: Service, ann: Person, bob: Person) -> None:
        """The tokens are good, and what was said is there."""
        for person in (ann, bob):
            await service.find_again(person)
        self.assertEqual((await ann.asks("list-friend"))["friend"], ["bob"])
        self.assertEqual((await bob.asks("list-friend"))["friend"], ["ann"])
        (post,) = (await bob.asks("receive-post"))["post"]
        self.assertEqual((post["id"], post["message"]), ("ann", "hello all"))
        self.assertEqual((await ann.asks("list-joined"))["group"], ["chess"])
        self.assertEqual((await bob.asks("listen", self.seen))["status"], 0)
        self.assertEqual((await ann.asks("send", "bob", "three"))["status"], 0)
        await eventually(lambda: len(bob.wire.events) == 2, "bob has what he had not read")
        self.assertEqual([event["message"] for event in bob.wire.events], ["two", "three"])

    async def ends(self, process: Process, number: int) -> None:
        """Everything ends in time, and says that all is well."""
        children = process.children()
        self.assertGreaterEqual(len(children), 1)
        await process.end(number)
        # twistd passes on the signal that it was stopped by.
        self.assertIn((process.exit_code, process.signal), ((0, None), (None, number)))
        # It may have said that a server has ended which it was killed with.
        said = [line for line in process.errors.splitlines() if not STATUS.match(line)]
        self.assertEqual(said, [])
        self.assertEqual([pid for pid in children if lives(pid)], [])

    async def test_on_sqlite(self) -> None:
        """Asked to end, killed, and interrupted."""
        service = self.service(fleet={"minimum": 1, "lost_after": LEASE})
        up = await service.up()
        ann, bob = await self.conversation(service)
        # Ctrl-C reaches a terminal's foreground group; the children are not in it.
        for child in up.children():
            self.assertNotEqual(_group_of(child), _group_of(up.pid))
        await self.ends(up, signal.SIGTERM)
        self.assertEqual(await service.fleet(), [])
        self.assertEqual([*(service.data / "run").iterdir()], [])

        up = await service.up()
        await self.is_as_before(service, ann, bob)
        await self.misses_one(ann, bob)
        children = up.children()
        self.assertEqual(len(children), 1)
        await up.kill()
        # They end themselves, with nobody there to tell them.
        await eventually(lambda: not any(map(lives, children)), "the children end", ORPHANS_END)

        # At once: the lease of the one that was killed does not have to lapse first.
        up = await service.up()
        await self.is_as_before(service, ann, bob)
        await self.ends(up, signal.SIGINT)
        self.assertNotIn("Traceback", service.log())

    async def test_on_mariadb(self) -> None:
        """A login server that is killed, and one that is asked to end."""
        service = self.big_service(fleet={"minimum": 1, "lost_after": LEASE})
        login = await service.login_server()
        ann, bob = await self.conversation(service)
        children = login.children()
        await login.kill()
        login = await service.login_server()
        await eventually(lambda: not any(map(lives, children)), "the children end", ORPHANS_END)
        await self.is_as_before(service, ann, bob)
        await self.misses_one(ann, bob)
        await self.ends(login, signal.SIGTERM)
        self.assertEqual(await service.fleet(), [])
        await service.login_server()
        await self.is_as_before(service, ann, bob)

    async def test_stopped_while_somebody_waits(self) -> None:
        """A login that waits for a launch is answered or cut off, and nothing keeps running."""
        service = self.service(fleet={"minimum": 0, "spare": 0})
        up = await service.up()
        await service.register("ann")
        wire = await connect(service.port)
        answer = wire.ask("login", "ann", "ann")
        answer.addErrback(lambda failure: failure.trap(ConnectionError))
        await eventually(up.children, "a launch is under way")
        await self.ends(up, signal.SIGTERM)
        await answer

    async def test_stopped_at_once(self) -> None:
        """Half started is no reason to linger either."""
        service = self.service()
        up = service.start_up()
        await up.says("bbs keeps its data")
        await up.end()
        self.assertEqual(up.errors, "")
        self.assertEqual(up.children(), [])

    async def test_an_app_server_that_is_told_twice(self) -> None:
        """By an operator, and by the fleet's controller which sees it go: it is no bug of its
        own."""
        service = self.service()
        up = await service.up()
        _, bob = await self.conversation(service)
        await service.find_again(bob)
        await bob.asks("listen")  # For a listener it waits a little.
        (child,) = up.children()
        (path,) = (service.data / "logs").glob("app-*.log")
        os.kill(child, signal.SIGTERM)
        await eventually(lambda: "Received SIGTERM" in path.read_text(), "it stops")
        os.kill(child, signal.SIGTERM)
        await eventually(lambda: not lives(child), "it has stopped")
        self.assertIn("Server Shut Down", path.read_text())
        self.assertNotIn("Traceback", path.read_text())


def _group_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[2]
