"""The fleet with real app servers: crowds, crashes, drains, take-overs, and people in between."""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import partial
from typing import Any

from twisted.internet import reactor

from bbs import __version__
from tests.integration.service import (
    START_TIMEOUT,
    Person,
    Service,
    ServiceCase,
    Wire,
    connect,
    eventually,
    lives,
    run,
    together,
)

CAPACITY = 10
SERVERS = int(os.environ.get("BBS_TEST_CROWD_SERVERS", "3"))
"""As many as a crowd needs, and as there are."""

CROWD_TIMEOUT = 150.0
"""Seconds for a crowd on two cores: of 200 there start twenty processes, and 400 passwords are
hashed."""


def names(count: int) -> list[str]:
    return [f"user{number:03}" for number in range(count)]


class Crowd(ServiceCase):
    """Many people at the same instant."""

    timeout = 400

    async def crowd(self, service: Service, ports: list[int]) -> None:
        """Log people in at once, over `ports`; no more servers are launched than they need."""
        people = names(CAPACITY * SERVERS)
        await service.register(*people)
        wires = [await connect(ports[number % len(ports)]) for number in range(len(people))]
        answers = [wire.ask("login", name, name) for wire, name in zip(wires, people, strict=True)]
        replies = [await answer.addTimeout(CROWD_TIMEOUT, reactor) for answer in answers]
        for wire in wires:
            wire.close()
        self.assertEqual([reply for reply in replies if reply["status"]], [])
        on = Counter(reply["app_server"]["port"] for reply in replies)
        self.assertLessEqual(max(on.values()), CAPACITY, on)
        self.assertEqual(len(on), SERVERS)
        fleet = await service.fleet()
        self.assertEqual([server["taken"] for server in fleet], [CAPACITY] * SERVERS)
        self.assertEqual(sorted(name for server in fleet for name in server["people"]), people)
        self.assertEqual(service.launches(), SERVERS, service.log())

    async def test_at_once(self) -> None:
        service = self.service(fleet={"minimum": 0, "spare": 0, "maximum": 50})
        await service.up()
        await self.crowd(service, [service.port])

    async def test_over_two_login_servers(self) -> None:
        """No more than the maximum, though neither knows who waits at the other."""
        service = self.big_service(fleet={"minimum": 0, "spare": 0, "maximum": SERVERS})
        other = service.another_port()
        await service.login_server()
        await service.login_server(other)
        await self.crowd(service, [service.port, other])


class Changes(ServiceCase):
    """Servers that go, and what their people notice of it."""

    async def listener(self, service: Service, name: str, port: int | None = None) -> Person:
        """Somebody who has just registered, and listens."""
        await service.register(name)
        person = await service.person(name, port)
        self.assertEqual((await person.asks("listen"))["status"], 0)
        return person

    async def moved(self, person: Person, within: float = 20.0) -> dict[str, Any]:
        """The event by which a listener is told to move."""
        await eventually(
            lambda: [each for each in person.wire.events if each["event"] == "moved"],
            f"{person.name} is told to move",
            within,
        )
        (event,) = person.wire.events
        self.assertEqual(event["app_server"]["host"], "127.0.0.1")
        return event

    async def follows(self, person: Person, event: dict[str, Any]) -> None:
        """The person is served where the event says."""
        person.wire.close()
        person.port = event["app_server"]["port"]
        person.wire = await connect(person.port)
        self.assertEqual((await person.asks("list-friend")), {"status": 0, "friend": []})

    async def test_killed_app_server(self) -> None:
        service = self.service(fleet={"minimum": 1, "spare": 0})
        up = await service.up()
        ann = await self.listener(service, "ann")
        (child,) = up.children()
        (before,) = await service.fleet()
        os.kill(child, signal.SIGKILL)
        await eventually(lambda: not ann.wire.open, "ann's connection ends")
        before_port = ann.port
        await service.find_again(ann)
        self.assertNotEqual(ann.port, before_port)
        self.assertEqual((await ann.asks("list-friend")), {"status": 0, "friend": []})
        self.assertIn(f"server {before['id']} is lost: ended: killed by SIGKILL\n", service.log())
        (after,) = await service.fleet_is(lambda fleet: len(fleet) == 1, "one server")
        self.assertEqual((after["state"], after["people"]), ("ready", ["ann"]))
        self.assertEqual(service.launches(), 2)
        await eventually(lambda: f"Server {after['id'][:8]} is ready" in up.errors, "it is said")
        await up.end()
        await eventually(lambda: up.heard, "all is heard")
        lost, _ = up.errors.splitlines()
        self.assertIn(f"Server {before['id'][:8]} was killed (SIGKILL).", lost)
        stops = r"\nbbs up stops: .* and app servers end\. .*\nbbs up has stopped\. .*\n\Z"
        self.assertRegex(up.output, stops)
        self.assertEqual(up.exit_code, 0)

    async def test_app_servers_that_others_run(self) -> None:
        """It says who runs them, that it is ready once there is one, and not that they end."""
        service = self.big_service(
            fleet={"provider": "none"}, app={"listen": "tcp:0:interface=127.0.0.1"}
        )
        up = service.start_up()
        await up.says("fleet.provider is none: run twistd bbs-app yourself\n")
        server = service.app_server()
        await up.says(f"bbs is ready: bbs client 127.0.0.1 {service.port}\n")
        await up.end()
        await eventually(lambda: up.heard, "all is heard")
        self.assertNotIn("app servers end", up.output)
        self.assertTrue(server.alive)

    async def test_killed_app_server_of_one_who_listens_elsewhere(self) -> None:
        """Whoever listens where there is a place for them after all is not sent away."""
        service = self.service(app={"capacity": 1}, fleet={"minimum": 2, "spare": 0})
        up = await service.up()
        ann = await self.listener(service, "ann")
        fleet = await service.fleet_is(
            lambda fleet: [each["state"] for each in fleet] == ["ready"] * 2, "two are ready"
        )
        (hers,) = (each for each in fleet if each["people"] == ["ann"])
        pid = service.pid_of(hers["id"])
        self.assertIn(pid, up.children())
        os.kill(pid, signal.SIGKILL)
        await service.find_again(ann)
        (now,) = (each for each in await service.fleet() if each["people"] == ["ann"])
        self.assertNotEqual(now["id"], hers["id"])
        self.assertEqual((await ann.asks("list-friend")), {"status": 0, "friend": []})

    async def drained(self, service: Service, hold: bool = False) -> None:
        """Drain the one server; with `hold`, in an environment that holds launches from now on."""
        people = [await self.listener(service, name) for name in names(3)]
        (before,) = await service.fleet()
        asked = await service.command("fleet", "drain", before["id"][:12])
        self.assertEqual(asked, {"id": before["id"], "asked": "drain"})
        if hold:
            await eventually(lambda: service.launches() == 2, "another is launched")
            for person in people:
                self.assertEqual((await person.asks("list-friend"))["status"], 0)
                self.assertEqual(person.wire.events, [])
            service.release_launches()
        for person in people:
            await self.follows(person, await self.moved(person))
        (after,) = await service.fleet_is(
            lambda fleet: len(fleet) == 1 and fleet[0]["id"] != before["id"], "the old one is gone"
        )
        self.assertEqual((after["state"], after["people"]), ("ready", names(3)))
        self.assertFalse(lives(service.pid_of(before["id"])))
        self.assertEqual(service.launches(), 2)

    async def test_drain_on_mariadb(self) -> None:
        service = self.big_service(fleet={"minimum": 1, "spare": 0})
        await service.login_server()
        await service.fleet_is(
            lambda fleet: [each["state"] for each in fleet] == ["ready"], "one is ready"
        )
        await self.drained(service)

    async def test_drain_with_the_broker_away(self) -> None:
        """Nobody is hinted at; they are told within the poll interval."""
        service = self.service(
            broker={"url": "stomp://127.0.0.1:9"},
            fleet={"minimum": 1, "spare": 0},
            messages={"poll_interval": 0.5},
        )
        await service.up()
        await self.drained(service)

    async def test_drain_while_launches_take_long(self) -> None:
        """Nobody is cut off before there is a place to move to."""
        service = self.service(fleet={"minimum": 1, "spare": 0})
        service.release_launches()
        await service.up(environ=service.held_launches())
        service.hold_launches()
        await self.drained(service, hold=True)

    async def test_replacing_two(self) -> None:
        """Each once, and who listens there goes over without logging in."""
        service = self.service(
            app={"capacity": 1},
            fleet={"minimum": 2, "spare": 0, "maximum": 3, "heartbeat_interval": 0.5},
        )
        await service.up()
        ann, bob = [await self.listener(service, name) for name in ("ann", "bob")]
        before = await service.fleet()
        asked = await service.command("fleet", "replace")
        self.assertEqual({*asked["servers"]}, {each["id"] for each in before})
        for person in (ann, bob):
            await self.follows(person, await self.moved(person))
        after = await service.fleet_is(
            lambda fleet: (
                [each["state"] for each in fleet] == ["ready"] * 2
                and not any(each["replace_asked"] for each in fleet)
            ),
            "others are there in their place",
        )
        self.assertFalse({each["id"] for each in after} & {each["id"] for each in before})
        self.assertEqual({each["version"] for each in after}, {__version__})
        self.assertEqual(sorted(each["people"] for each in after), [["ann"], ["bob"]])
        self.assertEqual(service.launches(), 4)
        asked = await service.command("fleet", "replace", "--outdated")
        self.assertEqual(asked["servers"], [])

    async def test_up_and_down(self) -> None:
        """With whom there is, and with what an operator launches beyond need."""
        service = self.service(
            app={"capacity": 1},
            fleet={
                "minimum": 1,
                "maximum": 3,
                "spare": 0,
                "idle_grace": 1.0,
                "heartbeat_interval": 0.5,
            },
        )
        await service.up()
        await service.register(*names(4))
        people = await together(service.person(name) for name in names(3))
        self.assertEqual(len({person.port for person in people}), 3)
        # Beyond the maximum there is nothing to wait for but somebody's leaving.
        login, waiting = await connect(service.port), await connect(service.port)
        self.assertEqual((await waiting.ask("events"))["status"], 0)
        answer = waiting.ask("login", "user003", "user003")
        await eventually(lambda: waiting.events, "the fourth is told that they wait")
        self.assertEqual((await login.ask("logout", people[0].token))["message"], "Bye!")
        reply = await answer
        self.assertEqual((reply["status"], reply["app_server"]["port"]), (0, people[0].port))
        self.assertEqual(service.launches(), 3)
        process = service.bbs("fleet", "launch", "--config", service.config)
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 1)
        self.assertEqual(
            process.errors,
            "bbs fleet: fleet.maximum (3) is reached: raise it, or drain a server first\n",
        )
        for token in (reply["token"], *(person.token for person in people[1:])):
            self.assertEqual((await login.ask("logout", token))["message"], "Bye!")
        (left,) = await service.fleet_is(lambda fleet: len(fleet) == 1, "the minimum is left")
        self.assertEqual((left["state"], left["taken"]), ("ready", 0))
        asked = await service.command("fleet", "launch")
        await eventually(
            lambda: f"server {asked['id']} is ready" in service.log(), "it is launched", 60.0
        )
        (stays,) = await service.fleet_is(lambda fleet: len(fleet) == 1, "one of them ends")
        self.assertEqual((stays["state"], stays["taken"]), ("ready", 0))
        self.assertEqual(service.launches(), 3)


class Waiting(ServiceCase):
    """What those who wait are told."""

    async def told(self, service: Service, count: int) -> list[list[dict[str, Any]]]:
        """The `waiting` events of people who log in one after the other, and get a place."""
        wires: list[Wire] = []
        answers = []
        for name in names(count):
            wire = await connect(service.port)
            self.assertEqual((await wire.ask("events")), {"status": 0, "message": "Success!"})
            answers.append(wire.ask("login", name, name))
            await eventually(partial(getattr, wire, "events"), f"{name} is told of waiting")
            wires.append(wire)
        service.release_launches()
        for answer in answers:
            self.assertEqual((await answer)["status"], 0)
        for wire in wires:
            wire.close()
        return [wire.events for wire in wires]

    async def test_positions_and_estimates(self) -> None:
        service = self.service(
            fleet={"minimum": 0, "spare": 0, "idle_grace": 0.5, "heartbeat_interval": 0.5},
            app={"capacity": 10},
        )
        up = await service.up(environ=service.held_launches())
        await service.register(*names(3))
        events = await self.told(service, 3)
        for number, told in enumerate(events):
            self.assertEqual(told[0], {"event": "waiting", "position": number + 1, "seconds": None})
        login = await connect(service.port)
        for name in names(3):
            again = await login.ask("login", name, name)
            await login.ask("logout", again["token"])
        await eventually(lambda: not up.children(), "the server ends")
        # Now a launch has been measured.
        service.hold_launches()
        for told in await self.told(service, 1):
            self.assertEqual(told[0]["position"], 1)
            self.assertGreaterEqual(told[0]["seconds"], 0)


class Controllers(ServiceCase):
    """Several login servers, one of which keeps the fleet."""

    async def test_take_over_and_back(self) -> None:
        service = self.big_service(fleet={"minimum": 1, "spare": 0, "heartbeat_interval": 0.5})
        first, other = service.port, service.another_port()
        controller = await service.login_server()
        await service.fleet_is(
            lambda fleet: [each["state"] for each in fleet] == ["ready"], "one is ready"
        )
        second = await service.login_server(other)
        await service.register("ann", "bob")
        ann = await service.person("ann", other)
        (child,) = controller.children()
        self.assertEqual(second.children(), [])
        await controller.kill()
        # The controller's children go, and with them ann's server: the second has a new one.
        await eventually(lambda: not lives(child), "the controller's child ends")
        service.port = other
        await service.find_again(ann)
        self.assertEqual(len(second.children()), 1)
        self.assertIn("this login server leads the fleet", second.output)
        bob = await service.person("bob")
        self.assertEqual(bob.port, ann.port)
        (server,) = await service.fleet_is(lambda fleet: len(fleet) == 1, "one server")
        self.assertEqual((server["state"], server["people"]), ("ready", ["ann", "bob"]))
        # A controller that is stopped says so, and its people move.
        third = await service.login_server(first)
        await second.end()
        service.port = first
        await service.find_again(ann)
        self.assertEqual(len(third.children()), 1)

    async def test_waiting_at_one_that_does_not_keep(self) -> None:
        """For the controller's launch; and where the controller dies in the middle of it, for one's
        own."""
        service = self.big_service(
            app={"capacity": 1}, fleet={"minimum": 0, "spare": 0, "heartbeat_interval": 0.5}
        )
        other = service.another_port()
        controller = await service.login_server()
        await eventually(
            lambda: "this login server leads the fleet" in controller.output,
            "the first one keeps it",
        )
        second = await service.login_server(other)
        await service.register("ann", "bob")
        await service.person("ann", other)
        self.assertEqual((len(controller.children()), len(second.children())), (1, 0))
        waiting = run(service.person("bob", other))
        await eventually(lambda: len(controller.children()) == 2, "a launch is under way")
        await controller.kill()
        await waiting
        self.assertGreaterEqual(len(second.children()), 1)


class ByHand(ServiceCase):
    """App servers that an operator runs: provider none."""

    async def test_joins_and_leaves(self) -> None:
        service = self.big_service(
            app={"listen": "tcp:0:interface=127.0.0.1"},
            fleet={"provider": "none", "heartbeat_interval": 0.5, "lost_after": 4.0},
        )
        await service.login_server()
        self.assertEqual(await service.fleet(), [])
        await service.register("ann")
        waiting = run(service.person("ann"))
        first = service.app_server()
        ann = await waiting
        (joined,) = await service.fleet_is(
            lambda fleet: [each["state"] for each in fleet] == ["ready"], "it has joined"
        )
        self.assertEqual(joined["scope"], "operator")
        self.assertEqual(joined["address"], f"127.0.0.1:{ann.port}")
        self.assertEqual((await ann.asks("listen"))["status"], 0)
        second = service.app_server()
        await service.fleet_is(
            lambda fleet: [each["state"] for each in fleet] == ["ready"] * 2, "another has joined"
        )
        await first.end()
        (event,) = ann.wire.events
        self.assertEqual(event["event"], "moved")
        (left,) = await service.fleet_is(lambda fleet: len(fleet) == 1, "the first has left")
        self.assertEqual(left["address"], f"127.0.0.1:{event['app_server']['port']}")
        self.assertEqual(left["people"], ["ann"])
        await service.find_again(ann)
        await second.kill()
        await service.fleet_is(lambda fleet: fleet == [], "the one that was killed is given up")
        # People are told the address that an operator says, as a container knows none.
        service.app_server(environ={"BBS_APP_ADDRESS": "bbs.example.org:7"})
        (joined,) = await service.fleet_is(
            lambda fleet: [each["state"] for each in fleet] == ["ready"], "it has joined"
        )
        self.assertEqual(joined["address"], "bbs.example.org:7")
