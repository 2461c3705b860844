"""Keys that a service adds to `[limits]`: its rules read them as `caller.quotas`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from bbs.config import Configuration
from bbs.framework import (
    Caller,
    Command,
    CommandTable,
    Role,
    Service,
    read_only,
    setting,
)
from bbs.framework.limits import Limits, Quotas, Rate
from bbs.testing import MemoryService, RulesCase, undeclared_limits


@dataclass(frozen=True)
class Lobbies(Limits):
    lobbies: int = setting(3, "made by a user", minimum=0, share="all: they are a user's own")
    openings: Rate = setting(Rate.parse("10/hour"), "of lobbies, a user")


@read_only
def allowed(caller: Caller) -> Mapping[str, object]:
    quotas = caller.quotas
    return {"lobbies": quotas.lobbies, "openings": str(quotas.openings), "line": quotas.max_line}


@read_only
def allowed_before(caller: Caller) -> Mapping[str, object]:
    """A rule of a service that was written for 0.4.0."""
    return {"friends": caller.quotas.friends, "invitations": caller.quotas.invitations.count}


def service(rule: object, limits: type[Limits] | None = None) -> Service:
    allow = Command("allowed <user>", Role.APP, rule=rule, bounded="numbers")  # type: ignore
    return Service("lobby", commands=(CommandTable(allow),), limits=limits)


class InRules(SynchronousTestCase):
    def answer(self, service: Service, config: Configuration | None = None) -> Mapping[str, object]:
        memory = MemoryService(service, config=config)
        try:
            ann = memory.people("ann")["ann"]
            return memory.at_home(ann).ask(f"allowed {ann}")
        finally:
            memory.close()

    def test_as_configured(self) -> None:
        config = Configuration(limits=Lobbies(lobbies=1, max_line=500))
        expected = {"status": 0, "lobbies": 1, "openings": "10/hour", "line": 500}
        self.assertEqual(self.answer(service(allowed, Lobbies), config), expected)

    def test_by_default(self) -> None:
        """Also where a configuration of a test has only the framework's keys."""
        expected = {"status": 0, "lobbies": 3, "openings": "10/hour", "line": 65536}
        for config in (None, Configuration(), Configuration(limits=Limits())):
            self.assertEqual(self.answer(service(allowed, Lobbies), config), expected)

    def test_of_a_service_of_before(self) -> None:
        config = Configuration(limits=Limits(friends=5))
        for given, friends in ((config, 5), (None, 1000)):
            expected = {"status": 0, "friends": friends, "invitations": 60}
            self.assertEqual(self.answer(service(allowed_before), given), expected)


class InTestsOfRules(RulesCase):
    service = service(allowed, Lobbies)

    def test_by_default(self) -> None:
        self.assertEqual(self.call(allowed, self.person("ann"))["lobbies"], 3)


class OtherInTestsOfRules(RulesCase):
    service = service(allowed, Lobbies)
    quotas = Lobbies(lobbies=7)

    def test_others(self) -> None:
        self.assertEqual(self.call(allowed, self.person("ann"))["lobbies"], 7)


class BeforeInTestsOfRules(RulesCase):
    service = service(allowed_before)
    quotas = Quotas(friends=2)

    def test_others(self) -> None:
        self.assertEqual(self.call(allowed_before, self.person("ann"))["friends"], 2)


class Declared(SynchronousTestCase):
    def test_what_is_no_section(self) -> None:
        @dataclass(frozen=True)
        class Other:
            lobbies: int = setting(3, "made by a user")

        for wrong, said in (
            (Other, "lobby: limits are a class derived from Limits"),
            (int, "lobby: the section int must be a dataclass"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                service(allowed, wrong)  # type: ignore[arg-type]
        with self.assertRaisesRegex(ValueError, r"the section \[limits\] is the framework's own"):
            Service("lobby", settings=Lobbies)

    def test_its_share(self) -> None:
        found = undeclared_limits(service(allowed, Lobbies))
        self.assertEqual([*found], ["[limits] openings"])
