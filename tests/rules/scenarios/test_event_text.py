"""What happened, in the words in which everybody reads it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import Counter
from bbs.rules.page_history import EventKind, FleetEvent, sentence, short

COUNTED = (Counter("joins"), Counter("leaves"))

SENTENCES = {
    FleetEvent(EventKind.LAUNCHING, 1.0, "0123456789abcdef"): "Server 01234567 is being launched.",
    FleetEvent(EventKind.READY, 1.0, "0123456789abcdef", number=2.12): (
        "Server 01234567 is ready after 2.1 s."
    ),
    FleetEvent(EventKind.READY, 1.0, "s1"): "Server s1 is ready.",
    FleetEvent(EventKind.WARM, 1.0, "s1"): "Server s1 has booted, and stands by.",
    FleetEvent(EventKind.DRAINING, 1.0, "s1", "drains: idle"): "Server s1 drains: idle.",
    FleetEvent(EventKind.KEPT, 1.0, "s1"): "Server s1 is needed after all, and takes people.",
    FleetEvent(EventKind.FAILED, 1.0, "s1"): "Server s1 could not be launched.",
    FleetEvent(
        EventKind.LOST, 1.0, "s1", "was killed (SIGKILL)"
    ): "Server s1 was killed (SIGKILL).",
    FleetEvent(
        EventKind.GONE, 1.0, "s1", "has ended: it is idle"
    ): "Server s1 has ended: it is idle.",
    FleetEvent(EventKind.LAUNCH_ASKED, 1.0, "s1"): "An operator asked to start server s1.",
    FleetEvent(EventKind.DRAIN_ASKED, 1.0, "s1"): "An operator asked to drain server s1.",
    FleetEvent(EventKind.REPLACE_ASKED, 1.0, detail="3 servers"): (
        "An operator asked for others in place of 3 servers."
    ),
    FleetEvent(EventKind.REPLACE_CANCELLED, 1.0, detail="1 server"): (
        "An operator asked to keep 1 server."
    ),
    FleetEvent(EventKind.PEOPLE_WAIT, 1.0, number=1.0): "1 person waits for a place.",
    FleetEvent(EventKind.PEOPLE_WAIT, 1.0, number=3.0): "3 people wait for a place.",
    FleetEvent(EventKind.NOBODY_WAITS, 1.0): "Nobody waits for a place any more.",
    FleetEvent(
        EventKind.LAUNCHES_REFUSED, 1.0
    ): "Nothing can be launched: the provider refuses it.",
    FleetEvent(EventKind.LAUNCHES_ACCEPTED, 1.0): "Servers can be launched again.",
    FleetEvent(EventKind.DATABASE_AWAY, 1.0): (
        "The database is away: nobody can log in, and the fleet is shown as last known."
    ),
    FleetEvent(EventKind.DATABASE_BACK, 1.0): "The database is back.",
    FleetEvent(EventKind.BROKER_AWAY, 1.0): (
        "The broker is away: what happens reaches people late, or not at all."
    ),
    FleetEvent(EventKind.BROKER_BACK, 1.0): "The broker is back.",
}


class Sentences(SynchronousTestCase):
    def test_every_kind(self) -> None:
        self.assertEqual({event.kind for event in SENTENCES}, {*EventKind})
        for event, words in SENTENCES.items():
            self.assertEqual(sentence(event), words)

    def test_what_arrives_late_without_a_broker(self) -> None:
        away = FleetEvent(EventKind.BROKER_AWAY, 1.0)
        waves = Counter("waves", arrival="waves come")
        nods = Counter("nods", arrival="nods are seen")
        for counters, words in (
            ((waves,), "The broker is away: waves come later."),
            ((*COUNTED, waves, nods), "The broker is away: waves come and nods are seen later."),
            (COUNTED, sentence(away)),
        ):
            self.assertEqual(sentence(away, counters), words)

    def test_ids(self) -> None:
        self.assertEqual((short("s1"), short("0123456789")), ("s1", "01234567"))
