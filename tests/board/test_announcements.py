"""Announcements: how operators' texts are kept, and who is sent them (`docs/protocol.md`, section
4)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.announcements import rules as announcements
from bbs.board.announcements.tables import Announcement
from bbs.core.errors import Unavailable
from bbs.delivery.broadcast import LOOK_INTERVAL
from bbs.testing import Peer
from tests.database_case import RulesCase, on_both_databases
from tests.slow_service import SlowService

NOW = 1000.0


@on_both_databases
class Kept(RulesCase):
    def add(self, text: str, now: float = NOW, until: float | None = None) -> int:
        return self.call(announcements.add, text, now, until)

    def texts(self, now: float = NOW) -> list[object]:
        return [each["text"] for each in self.call(announcements.current, now)]

    def test_current(self) -> None:
        self.assertEqual(self.call(announcements.current, NOW), [])
        first, second = self.add("one", 990.5), self.add("\N{GRINNING FACE}", 991.0, 1001.0)
        self.assertEqual(
            self.call(announcements.current, NOW),
            [
                {"announcement": first, "text": "one", "time": 990.5},
                {"announcement": second, "text": "\N{GRINNING FACE}", "time": 991.0},
            ],
        )
        self.assertEqual(self.texts(1001.0), ["one"])

    def test_removed(self) -> None:
        number = self.add("one")
        self.call(announcements.remove, number)
        again = self.database.run(announcements.remove, number)
        self.failureResultOf(again, announcements.NoSuchAnnouncement)
        self.assertEqual(self.texts(), [])
        self.assertGreater(self.add("two"), number)

    def test_only_so_many_at_a_time(self) -> None:
        for number in range(announcements.MOST):
            self.add(f"{number}", NOW, 2000.0 if number else 1500.0)
        adding = self.database.run(announcements.add, "more", NOW)
        self.failureResultOf(adding, announcements.TooMany)
        self.add("later", 1500.0)
        self.assertEqual(self.texts(1500.0)[-1], "later")
        self.assertEqual(Announcement.select().count(), announcements.MOST)

    def test_the_events(self) -> None:
        number = self.add("one")
        self.assertEqual(self.call(announcements.BROADCAST.current, NOW), [number])
        [event] = self.call(announcements.BROADCAST.fetch, [number, number + 1])
        self.assertEqual(event.id, number)
        self.assertEqual(
            event.members,
            {"event": "announcement", "announcement": number, "text": "one", "time": NOW},
        )


class Told(SynchronousTestCase):
    """ann and bob on one app server."""

    def setUp(self) -> None:
        self.service = SlowService(board)
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob"))

    def announce(self, text: str, seconds: float | None = None) -> int:
        now = self.service.wall()
        until = None if seconds is None else now + seconds
        return self.successResultOf(self.service.database.run(announcements.add, text, now, until))

    def connect(self, name: str, *commands: str) -> Peer:
        """A connection that says these commands: `listen`, `events` or both."""
        peer = self.service.at_home(self.tokens[name])
        for command in commands:
            said = f"listen {self.tokens[name]}" if command == "listen" else command
            self.assertEqual(peer.ask(said)["status"], 0)
        return peer

    def told(self, peer: Peer) -> list[Any]:
        """What a connection is told in some seconds."""
        self.service.advance(LOOK_INTERVAL + 1.0)
        return [each["text"] for each in peer.events() if each["event"] == "announcement"]

    def test_whoever_listens_and_wants_events(self) -> None:
        ann, bob = self.connect("ann", "listen", "events"), self.connect("bob", "events", "listen")
        others = [self.connect("ann", "listen"), self.connect("ann", "events")]
        number = self.announce("down at nine")
        self.service.advance(LOOK_INTERVAL + 1.0)
        [event], [same] = ann.events(), bob.events()
        self.assertEqual(
            [*event.items()],
            [
                ("event", "announcement"),
                ("announcement", number),
                ("text", "down at nine"),
                ("time", event["time"]),
            ],
        )
        self.assertEqual(same, event)
        for other in others:
            self.assertEqual(other.events(), [])

    def test_once_for_each_connection(self) -> None:
        ann = self.connect("ann", "listen", "events")
        self.announce("one")
        self.assertEqual(self.told(ann), ["one"])
        self.assertEqual(self.told(ann), [])
        self.announce("two")
        later = self.connect("ann", "listen", "events")
        self.assertEqual(self.told(ann), ["two"])
        self.assertEqual(later.events()[0]["text"], "one")
        # The connection stays, and listens anew.
        self.connect("ann", "listen", "events")
        self.assertEqual(ann.ask(f"listen {self.tokens['ann']}")["status"], 0)
        self.assertEqual(self.told(ann), [])

    def test_what_has_ended_or_is_removed_is_told_to_nobody(self) -> None:
        self.announce("one", 10.0)
        number = self.announce("two")
        self.service.advance(LOOK_INTERVAL + 1.0)
        self.successResultOf(self.service.database.run(announcements.remove, number))
        self.service.advance(10.0)
        ann = self.connect("ann", "listen", "events")
        self.assertEqual(self.told(ann), [])

    def test_a_connection_that_does_not_read_is_told_later(self) -> None:
        ann = self.connect("ann", "listen", "events")
        ann.protocol.pauseProducing()
        self.announce("one")
        self.assertEqual(self.told(ann), [])
        ann.protocol.resumeProducing()
        self.assertEqual(self.told(ann), ["one"])

    def test_while_the_database_is_away(self) -> None:
        ann = self.connect("ann", "listen", "events")
        self.announce("one")
        self.service.slow.hold(announcements.BROADCAST.current)
        self.service.advance(60.0)
        [call] = self.service.slow.waiting  # One look at a time.
        self.service.slow.hold_no_more()
        call.fail(Unavailable())
        self.assertEqual(self.told(ann), ["one"])
        self.assertEqual(self.flushLoggedErrors(), [])
