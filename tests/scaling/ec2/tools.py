"""What the tests of the EC2 provider share: EC2 in memory, what they plant, a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.scaling.ec2 import errors
from bbs.scaling.ec2.client import EC2Client, IApi
from tests.standins.ec2 import EC2, NO_TEMPLATE, Answer, APIError, Asked, no_instance
from tests.standins.instances import Instance

FLEET_ID = "0123456789abcdef"


class NoAnswer(Exception):
    """EC2 is not heard."""


class Threads:
    """A pool whose work waits until the test lets it happen, or happens at once (`eager`)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.eager = False
        self.jobs: list[tuple[Deferred[Any], Any]] = []
        self.given_up = 0

    def run(self, work: Any, *args: Any) -> Deferred[Any]:
        """Work for a thread."""
        done: Deferred[Any] = Deferred(self._give_up)
        self.jobs.append((done, lambda: work(*args)))
        if self.eager:
            self.finish()
        return done

    def _give_up(self, done: Deferred[Any]) -> None:
        self.given_up += 1
        self.jobs = [job for job in self.jobs if job[0] is not done]

    def finish(self) -> None:
        """The oldest work is done."""
        done, work = self.jobs.pop(0)
        maybeDeferred(work).addBoth(done.callback)


class MemoryEC2(EC2[Instance]):
    """EC2 as a test has it: nothing lags, and what goes wrong is what the test plants.

    Instances stay in their states until the test has them `become` others. `errors` has, by action,
    what is raised instead of answers, in turn; an `Exception` in `lost` is raised although the call
    was carried out. `hidden`: ids that are not there for calls. `unlisted`: ids that are not
    described, and are there. `untagged`: the tags that descriptions lack, by id. `said`: what
    descriptions say in place of the truth, by id. `heeds`: whether descriptions are of what was
    asked for alone.
    """

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.calls: list[tuple[str, Asked]] = []
        self.errors: dict[str, list[Exception | None]] = {}
        self.lost: dict[str, list[Exception]] = {}
        self.hidden: set[str] = set()
        self.unlisted: set[str] = set()
        self.untagged: dict[str, set[str]] = {}
        self.said: dict[str, dict[str, Any]] = {}
        self.heeds = True
        self.refuses: dict[tuple[str, str | None], str] = {}
        """How a type in a subnet is refused as Spot."""
        self.room = 1000
        """How many instances one call gets at the most."""
        self.is_behind = False
        """Whether CreateFleet knows no template yet."""
        self.most["DescribeLaunchTemplates"] = 3

    def named(self, action: str) -> list[Asked]:
        """The parameters of the calls of an action."""
        return [parameters for called, parameters in self.calls if called == action]

    def launch(
        self, launch_id: str, fleet: str = "bbs", kind: str = "t3.micro", fleet_id: str = FLEET_ID
    ) -> str:
        """An instance that somebody else launched; its id. One from before fleets had ids: `""`."""
        tags = {"bbs:fleet": fleet, "bbs:launch": launch_id, "bbs:fleet-id": fleet_id}
        told = [{"Key": key, "Value": value} for key, value in tags.items() if value]
        whole = {
            "InstanceType": kind,
            "TagSpecifications": [{"ResourceType": "instance", "Tags": told}],
        }
        return self.add(whole).instance_id

    def become(self, id: str, state: str, transition: str = "", **said: Any) -> None:
        """An instance changes its state, and descriptions say so of it."""
        self.instances[id].becomes(state, self.clock.seconds(), "")
        self.said[id] = {"StateTransitionReason": transition, **said}

    def ask(self, action: str, parameters: Asked) -> Answer:
        self.calls.append((action, parameters))
        if error := (self.errors.get(action) or [None]).pop(0):
            raise error
        answer = super().ask(action, parameters)
        if self.lost.get(action):
            raise self.lost[action].pop(0)
        return answer

    # EC2's

    def lack_of(self, kind: str, subnet: str, spot: bool) -> str:
        refused = self.refuses.get((kind, subnet or None)) if spot else ""
        return refused or super().lack_of(kind, subnet, spot)

    def run_instances(self, **asked: Any) -> Answer:
        if asked.get("MinCount", 1) > self.room:
            raise APIError("InsufficientInstanceCapacity")
        return super().run_instances(**asked)

    def find_template(self, name: str) -> Asked:
        if self.is_behind:
            raise APIError(NO_TEMPLATE)
        return super().find_template(name)

    def listed(self) -> list[tuple[Instance, float]]:
        away = self.hidden | self.unlisted
        return [each for each in super().listed() if each[0].instance_id not in away]

    def _described(self, instance: Instance, moment: float) -> Answer:
        id = instance.instance_id
        described = {**super()._described(instance, moment), **self.said.get(id, {})}
        lacks = self.untagged.get(id, ())
        return described | {"Tags": [t for t in described["Tags"] if t["Key"] not in lacks]}

    def _named(self, ids: Sequence[str]) -> list[Instance]:
        for id in self.hidden.intersection(ids):
            raise no_instance(id)
        return super()._named(ids)

    def _passes(self, described: Answer, filters: Sequence[Asked]) -> bool:
        return super()._passes(described, filters if self.heeds else [])


@implementer(IApi)
class MemoryApi(Service):
    """Asks what stands for EC2, in pools of threads.

    `has_credentials`: whether they have come.

    :param carry_out: the answer to an action with parameters.
    :param pool: the pool for an action.
    """

    has_credentials = True

    def __init__(self, carry_out: Callable[..., Any], pool: Callable[[str], Any]) -> None:
        self._carry_out = carry_out
        self._pool = pool

    def ready(self, action: str) -> Deferred[None]:
        return succeed(None) if self.has_credentials else Deferred()

    def ask(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Any]:
        answer: Deferred[Any] = self._pool(action).run(self._carry_out, action, parameters)
        return answer.addErrback(lambda failure: self._judged(action, failure))

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return succeed(None)

    def _judged(self, action: str, failure: Failure) -> Failure:
        error: Any = failure.value
        if isinstance(error, APIError):
            return Failure(errors.judge(action, error.code, error.message, error.status))
        if isinstance(error, NoAnswer):
            return Failure(errors.no_answer(action, "NoAnswer"))
        return failure


def client_of(test: Any, clock: Any, ec2: MemoryEC2, eager: bool = True) -> EC2Client:
    """A client of `ec2` that runs; what it asks is `test.api`, whose pools are `test.pools`,
    by name."""
    test.pools = {name: Threads(name) for name in ("ec2-describing", "ec2-changing")}
    for pool in test.pools.values():
        pool.eager = eager

    def pool_of(action: str) -> Threads:
        pool: Threads = test.pools[
            "ec2-describing" if action.startswith("Describe") else "ec2-changing"
        ]
        return pool

    test.api = MemoryApi(ec2.ask, pool_of)
    client = EC2Client(clock, test.api, jitter=lambda: 1.0)
    client.startService()
    return client
