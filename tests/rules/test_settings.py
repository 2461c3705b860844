"""Rules read their service's sections of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from twisted.trial.unittest import SynchronousTestCase

from bbs.config import Configuration
from bbs.framework import (
    Caller,
    Command,
    CommandTable,
    Extension,
    Role,
    Service,
    read_only,
    setting,
    settings,
)
from bbs.testing import MemoryService, RulesCase


@dataclass(frozen=True)
class Tower:
    bells: int = setting(3, "bells in the tower")


@dataclass(frozen=True)
class Organ:
    pipes: int = setting(900, "pipes of the organ")


@read_only
def bells(caller: Caller) -> dict[str, int]:
    return {"bells": settings(Tower).bells, "pipes": settings(Organ).pipes}


table = CommandTable(Command("bells <user>", Role.APP, rule=bells))
music = Extension("music", settings=Organ)
church = Service("church", commands=(table,), settings=Tower, extensions=(music,))


class OfAServer(SynchronousTestCase):
    def test_as_it_was_started(self) -> None:
        config = replace(Configuration(), service={"tower": Tower(bells=5)})
        service = MemoryService(church, config=config)
        self.addCleanup(service.close)
        ann = service.people("ann")["ann"]
        reply = service.at_home(ann).ask(f"bells {ann}")
        self.assertEqual((reply["bells"], reply["pipes"]), (5, 900))


class OfATest(RulesCase):
    service = church
    sections = (Organ(pipes=7),)

    def test_what_it_says_and_defaults(self) -> None:
        self.assertEqual(self.call(bells, self.person("ann")), {"bells": 3, "pipes": 7})

    def test_what_nobody_declares(self) -> None:
        error = self.failureResultOf(self.database.run(settings, Configuration), LookupError)
        self.assertIn("do not declare the section Configuration", str(error.value))
