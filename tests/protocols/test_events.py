"""Declarations of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.events import Event
from bbs.protocols.forms import Line
from bbs.protocols.presentation import ChatEvent


@dataclass(frozen=True)
class Odd:
    when: set[str]


class Events(SynchronousTestCase):
    def test_forms(self) -> None:
        one, other = Line("{id:text}"), Line("{by:text}")
        self.assertEqual(Event("left").forms, {})
        self.assertEqual(Event("left", shown=one).forms, {"left": one})
        both = Event("left", shown={"": one, "by": other})
        self.assertEqual(both.forms, {"left": one, "left by": other})

    def test_malformed(self) -> None:
        for name, more, why in (
            ("", {}, "'' is not a name"),
            ("left by", {}, "'left by' is not a name"),
            ("moved", {}, "event moved: that event is the framework's own"),
            ("said", {"chat": ChatEvent("told")}, "event said: chat is of another event"),
            ("said", {"chat": ChatEvent("said"), "shown": Line()}, "or shown is given, too"),
            ("said", {"record": Odd}, "event said: .* is not a type of a reply's member"),
            ("said", {"record": 1}, "event said: the reply 1 is not a dataclass"),
        ):
            values: dict[str, Any] = {**more}
            with self.assertRaisesRegex(ValueError, why):
                Event(name, **values)
