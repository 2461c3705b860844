"""The whole service on a cloud (`tests/cloud`): login servers, MariaDB, ActiveMQ, and instances
that boot.

`BBS_TEST_KILLS` is how often the login server is killed at each place, `BBS_TEST_OUTAGE` for how
many seconds EC2 is away, `BBS_TEST_LAUNCHES` how many launches are timed, `BBS_TEST_CROWD_SERVERS`
how many a crowd needs, and `BBS_TEST_CONFORMANCE` has the numbers of the published conversations
that are held.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from bbs.limits.password_hashing import OWASP
from bbs.scaling.ec2.launch_request import member
from tests.cloud import Cloud, Faults, Rule, error, hang, hold, hold_answer
from tests.conforms import conforms
from tests.integration.service import (
    Person,
    Process,
    Service,
    ServiceCase,
    Wire,
    connect,
    eventually,
    run,
    together,
    wire_to,
)
from tests.integration.test_conformance import CONFORMANCE, SCRIPT_TIMEOUT
from tests.services import needed

CONVERSATIONS = os.environ.get("BBS_TEST_CONFORMANCE", "6").split()
CROWD_SERVERS = int(os.environ.get("BBS_TEST_CROWD_SERVERS", "3"))
KILLS = int(os.environ.get("BBS_TEST_KILLS", "1"))
LAUNCHES = int(os.environ.get("BBS_TEST_LAUNCHES", "2"))
OUTAGE = float(os.environ.get("BBS_TEST_OUTAGE", "3"))

APP_PORT = 22223

SOON = 30.0
"""Seconds in which somebody is answered, and that bbs may add to a boot, whatever else the machine
does. What it takes is printed."""

SERVED = 5
"""How often everybody is, at the least, while EC2 is away."""


class CloudService(Service):
    """A service whose app servers are instances."""

    cloud: Cloud

    def start(
        self, *argv: Any, environ: Mapping[str, str] | None = None, **options: Any
    ) -> Process:
        return super().start(*argv, environ={**self.cloud.environ, **(environ or {})}, **options)

    async def person(self, name: str, port: int | None = None) -> Person:
        login = await connect(port or self.port)
        reply = await login.ask("login", name, name)
        login.close()
        self.case.assertEqual(reply["status"], 0, reply)
        host, number = reply["app_server"]["host"], reply["app_server"]["port"]
        self.case.assertEqual(number, APP_PORT)
        self.case.assertIn(host, [machine.address for machine in self.cloud.instances(alive=True)])
        return Person(name, reply["token"], number, await wire_to(host, number))

    def instances(self) -> Counter[str]:
        """How many instances there ever were, by the launch that they are of."""
        return Counter(
            machine.tags.get("bbs:launch") or member(machine.tags["bbs:batch"], machine.number)
            for machine in self.cloud.instances()
        )

    def asked(self, action: str) -> int:
        """How many calls of a kind there were."""
        return sum(call.action == action for call in self.cloud.calls)


class CloudServiceCase(ServiceCase):
    """Services, each on a cloud of its own."""

    timeout = 900

    async def on_cloud(
        self, boot_seconds: float = 0.5, seed: int = 0, **sections: Mapping[str, object]
    ) -> CloudService:
        cloud = Cloud(boot_seconds=boot_seconds, seed=seed)
        await cloud.start()
        self.addCleanup(cloud.stop)
        return self.on_this(cloud, **sections)

    def on_this(self, cloud: Cloud, **sections: Mapping[str, object]) -> CloudService:
        """One on a cloud that runs, maybe beside another."""
        fleet = {"provider": "ec2", **sections.pop("fleet", {})}
        service = CloudService(
            self,
            {
                "database": {"url": self.mysql_database()},
                "broker": {"url": needed("BBS_TEST_ACTIVEMQ_URL")},
                "ec2": cloud.ec2_config(),
                "fleet": fleet,
                **sections,
            },
        )
        service.cloud = cloud
        # Before the cloud, as cleanups run last in, first out.
        self.addCleanup(lambda: run(service.remove()))
        return service


class Conformance(CloudServiceCase):
    """The published conversations."""

    async def check(self, script: str) -> CloudService:
        service = await self.on_cloud()
        await service.login_server()
        text = (CONFORMANCE / f"{script}.txt").read_bytes()
        client = service.bbs("client", "127.0.0.1", str(service.port), stdin=text)
        await client.ended(SCRIPT_TIMEOUT)
        self.assertEqual((client.exit_code, client.errors), (0, ""))
        expected = (CONFORMANCE / f"{script}.expected").read_text()
        if not conforms(client.output, expected):
            self.assertEqual(client.output.splitlines(), expected.splitlines(), script)
        return service

    async def test_published_conversations(self) -> None:
        for script in CONVERSATIONS:
            service = await self.check(script)
            if script == "6":
                self.assertEqual(len(service.cloud.instances()), 3)


class Crowd(CloudServiceCase):
    """Many who wait at once."""

    async def test_as_many_launches_as_they_need(self) -> None:
        service = await self.on_cloud(
            fleet={"minimum": 0, "spare": 0, "maximum": 50, "idle_grace": 1.0}
        )
        await service.login_server()
        names = [f"p{number}" for number in range(10 * CROWD_SERVERS)]
        await service.register(*names)
        people = await together(service.person(name) for name in names)
        self.assertEqual(len(service.cloud.instances()), CROWD_SERVERS)
        self.assertEqual(service.asked("RunInstances"), CROWD_SERVERS)
        taken = [server["taken"] for server in await service.fleet()]
        self.assertEqual(taken, [10] * CROWD_SERVERS)
        login = await connect(service.port)
        await together(logout(login, person) for person in people)
        await eventually(
            lambda: not service.cloud.instances(alive=True), "nobody is there, and no instance", 60
        )
        self.assertEqual(len(service.cloud.instances()), CROWD_SERVERS)


async def logout(login: Wire, person: Person) -> None:
    person.wire.close()
    await login.ask("logout", person.token)


class Share(CloudServiceCase):
    """What bbs itself adds to a launch: from `login` to the call, and from the app server's first
    sign of life to `Success!`."""

    async def test_share(self) -> None:
        service = await self.on_cloud(fleet={"minimum": 0, "spare": 0, "idle_grace": 0.1})
        await service.login_server()
        await service.register("ann")
        before: list[float] = []
        behind: list[float] = []
        login = await connect(service.port)
        for _ in range(LAUNCHES):
            asked, began = len(service.cloud.calls), reactor.seconds()
            finding = run(service.person("ann"))
            await eventually(lambda: service.cloud.instances(alive=True), "one is launched")
            (machine,) = service.cloud.instances(alive=True)
            while not await listens(machine.address):
                await deferLater(reactor, 0.005)
            listening = reactor.seconds()
            person = await finding
            behind.append(reactor.seconds() - listening)
            (call,) = (c for c in service.cloud.calls[asked:] if c.action == "RunInstances")
            before.append(call.time - began)
            await logout(login, person)
            await eventually(lambda: not service.cloud.instances(alive=True), "it ends", 60.0)
        login.close()
        both = [one + other for one, other in zip(before, behind, strict=True)]
        for what, times in (("before", before), ("behind", behind), ("both", both)):
            print(f"{LAUNCHES} launches, {what} the boot: {percentiles(times)}")
        self.assertLess(median(both), SOON)


async def listens(host: str) -> bool:
    """Whether an app server listens at an address."""
    try:
        wire = await wire_to(host, APP_PORT)
    except ConnectError:
        return False
    wire.close()
    return True


def percentiles(times: list[float]) -> str:
    """The median and the 99th percentile."""
    p50, p99 = (quantiles(times, n=100, method="inclusive")[at] for at in (49, 98))
    return f"p50 {p50:.4f} s, p99 {p99:.4f} s"


@dataclass(frozen=True)
class Moment:
    """When a login server is killed: `rule` holds its call then, which is cut off, or `late`: goes
    on once the successor has asked too. EC2 shows what is so after `lag` seconds."""

    rule: Rule
    late: bool = False
    lag: float = 0.0


MOMENTS: Mapping[str, Moment] = {
    "between row and call": Moment(Rule("RunInstances", hold(), times=1)),
    "with the call on its way": Moment(Rule("RunInstances", hold(), times=1), late=True),
    "between call and answer": Moment(Rule("RunInstances", hold_answer(), times=1)),
    "before it is described": Moment(Rule("RunInstances", hold_answer(), times=1), lag=3.0),
}


class Killed(CloudServiceCase):
    """The login server is killed in the middle of a launch, and its successor goes on."""

    timeout = 600 + 120 * KILLS

    async def test_one_launch_is_one_instance(self) -> None:
        service = await self.on_cloud(
            # Long enough for who waits to be seated, on a machine that runs other tests too.
            fleet={"minimum": 0, "spare": 0, "idle_grace": 2.0, "heartbeat_interval": 0.5},
        )
        process = await service.login_server()
        await service.register("ann")
        launches = 0
        for _ in range(KILLS):
            for when, moment in MOMENTS.items():
                process = await self.killed(service, process, moment)
                launches += 1
                self.assertEqual([*service.instances().values()], [1] * launches, when)

    async def killed(self, service: CloudService, process: Process, moment: Moment) -> Process:
        """It is; ann has her place from its successor, which this returns."""
        cloud = service.cloud
        cloud.faults = Faults(moment.rule, lag=moment.lag)
        asked = service.asked("RunInstances")
        waiting = run(service.person("ann"))
        waiting.addErrback(lambda failure: failure.trap(ConnectionError))
        (held,) = await eventually(lambda: cloud.holding, "a launch is under way")
        await process.kill()
        await waiting
        if not moment.late:
            held.cut()
        successor = await service.login_server()
        finding = run(service.person("ann"))
        if moment.late:
            await eventually(
                lambda: service.asked("RunInstances") > asked + 1, "its successor asks too", 60.0
            )
            held.release()
        person = await finding
        login = await connect(service.port)
        await logout(login, person)
        login.close()
        await eventually(lambda: not cloud.instances(alive=True), "the instance ends", 60.0)
        return successor


class Many(CloudServiceCase):
    """More than a handful is launched at once: by one call in each subnet."""

    COUNT = 8

    async def many(self) -> CloudService:
        fleet = {"minimum": self.COUNT, "idle_grace": 60.0, "heartbeat_interval": 0.5}
        return await self.on_cloud(fleet=fleet)

    async def all_serve(self, service: CloudService) -> None:
        await service.fleet_is(
            lambda servers: [s["state"] for s in servers] == ["ready"] * self.COUNT,
            "all are ready",
            120.0,
        )
        self.assertEqual([*service.instances().values()], [1] * self.COUNT)

    async def test_each_serves(self) -> None:
        """They are tagged with their launches, and end as others do."""
        service = await self.many()
        process = await service.login_server()
        await self.all_serve(service)
        self.assertEqual(service.asked("RunInstances"), len(service.cloud.subnet_ids))
        await eventually(lambda: service.asked("CreateTags") >= self.COUNT, "they are tagged")
        await service.register("ann")
        person = await service.person("ann")
        person.wire.close()
        await process.kill()
        # The next one knows nothing of the calls.
        await service.login_server()
        victim = service.cloud.instances(alive=True)[0]
        await service.cloud.terminate(victim.instance_id)
        await eventually(
            lambda: len(service.cloud.instances(alive=True)) == self.COUNT, "another replaces it"
        )
        self.assertEqual(len(service.cloud.instances()), self.COUNT + 1)

    async def test_killed_before_the_answer(self) -> None:
        """The login server is, when EC2 has launched them, and its successor goes on."""
        service = await self.many()
        service.cloud.faults = Faults(Rule("RunInstances", hold_answer(), times=1))
        process = await service.login_server()
        (held,) = await eventually(lambda: service.cloud.holding, "an answer is under way")
        await process.kill()
        held.cut()
        await service.login_server()
        await self.all_serve(service)


class Away(CloudServiceCase):
    """EC2 does not answer, or wants none of it; who has a place does not notice."""

    async def test_hangs_and_throttles(self) -> None:
        service = await self.on_cloud(
            app={"capacity": 4},
            fleet={"minimum": 0, "spare": 0, "launch_timeout": 2 * OUTAGE + 600.0},
            limits={"sessions_per_user": 100000},  # One of them logs in all the time.
        )
        await service.login_server()
        names = ["p1", "p2", "p3", "p4", "late"]
        await service.register(*names)
        people = await together(service.person(name) for name in names[:4])
        service.cloud.faults = Faults(Rule("*", hang()))
        # One more, for whom an instance is needed.
        late = run(service.person("late"))
        await self.served(service, people)
        service.cloud.faults = Faults(Rule("*", error("RequestLimitExceeded")))
        await self.served(service, people)
        self.assertFalse(late.called)
        self.assertEqual(len(service.cloud.instances()), 1)
        service.cloud.faults = Faults()
        await late
        # One that took so long may have been asked for elsewhere as well.
        self.assertIn(len(service.cloud.instances()), (2, 3))
        self.assertEqual(set(service.instances().values()), {1})

    async def served(self, service: CloudService, people: Sequence[Person]) -> None:
        """They are, and one logs in again and again, while EC2 does what it is told."""
        asked = len(service.cloud.calls)
        login = await connect(service.port)
        until = reactor.seconds() + OUTAGE
        commands: list[float] = []
        logins: list[float] = []
        beyond_hash: list[float] = []
        while (
            reactor.seconds() < until or len(logins) < SERVED or len(service.cloud.calls) == asked
        ):
            for person in people:
                commands.append(await took(person.wire.ask("list-friend", person.token)))
                commands.append(await took(login.ask("locate", person.token)))
            login_took = await took(login.ask("login", "p1", "p1"))
            logins.append(login_took)
            beyond_hash.append(max(0.0, login_took - hash_took()))
            await deferLater(reactor, 0.01)
        (kind,) = {rule.fault.kind for rule in service.cloud.faults.rules}
        for what, times in (
            ("commands", commands),
            ("logins", logins),
            ("logins less a hash beside them", beyond_hash),
        ):
            print(f"{kind}: {len(times)} {what}: {percentiles(times)}")
            # Who waited for a call of EC2 would wait for ever.
            self.assertLess(max(times), SOON, what)
        login.close()


STORED = OWASP.hash("p1")


def hash_took() -> float:
    """Seconds that a password takes to verify, here and now."""
    began = reactor.seconds()
    OWASP.verify(STORED, "p1")
    return float(reactor.seconds() - began)


async def took(answer: Deferred[dict[str, Any]]) -> float:
    """Seconds until an answer, which must be a success."""
    began = reactor.seconds()
    reply = await answer
    assert reply["status"] == 0, reply
    return float(reactor.seconds() - began)
