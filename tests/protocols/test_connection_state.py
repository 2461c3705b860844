"""The states of a connection's life, and what leads from one to the next."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.connection_state import LINGER, ConnectionState, Input, Phase
from tests.protocols.line.tools import SocketWire

OPEN, FINISHING, CLOSING, LINGERING, LOST = Phase
READING, PAUSED, ENDED = Input

WRITE_TIMEOUT = 30.0

EVENTS = (
    *("block", "unblock", "stop_reading", "read_on", "input_ended"),
    *("finish", "close", "output_ended", "lost"),
)

WAYS = {
    OPEN: (),
    FINISHING: ("finish",),
    CLOSING: ("close",),
    LINGERING: ("close", "output_ended"),
    LOST: ("lost",),
}
"""What leads to each phase."""


class Strict(SocketWire):
    """A transport that is told nothing twice."""

    def pauseProducing(self) -> None:
        assert self.reading
        super().pauseProducing()

    def resumeProducing(self) -> None:
        assert not self.reading
        super().resumeProducing()

    def loseWriteConnection(self) -> None:
        assert not self.write_closed
        super().loseWriteConnection()

    def unregisterProducer(self) -> None:
        assert self.producer is not None
        super().unregisterProducer()


class Case(SynchronousTestCase):
    has_socket = True

    def setUp(self) -> None:
        self.start()

    def start(self) -> None:
        self.clock = Clock()
        self.wire = Strict(has_socket=self.has_socket)
        self.outstayed = 0
        self.life = ConnectionState(self.clock, WRITE_TIMEOUT)
        producer: Any = self
        self.life.begin(self.wire, producer)

    def happens(self, *names: str) -> object:
        """Have that happen; what the last returns."""
        result = None
        for name in names:
            arguments = [self.outstay] if name == "output_ended" else []
            result = getattr(self.life, name)(*arguments)
        return result

    def outstay(self) -> None:
        self.outstayed += 1

    @property
    def timers(self) -> int:
        return len(self.clock.getDelayedCalls())


class PhaseTests(Case):
    def test_what_leads_where(self) -> None:
        onward = {
            "finish": {OPEN: FINISHING},
            "close": {OPEN: CLOSING, FINISHING: CLOSING},
            "output_ended": {CLOSING: LINGERING},
            "lost": dict.fromkeys(Phase, LOST),
        }
        for name in EVENTS:
            for phase, way in WAYS.items():
                self.start()
                self.happens(*way)
                self.assertIs(self.life.phase, phase)
                self.happens(name)
                expected = onward.get(name, {}).get(phase, phase)
                self.assertIs(self.life.phase, expected, (phase, name))

    def test_what_each_permits(self) -> None:
        self.assertEqual([phase for phase in Phase if phase.begins], [OPEN])
        self.assertEqual([phase for phase in Phase if phase.closed], [CLOSING, LINGERING, LOST])

    def test_it_has_no_dictionary(self) -> None:
        self.assertFalse(hasattr(self.life, "__dict__"))


class InputTests(Case):
    def test_what_leads_where(self) -> None:
        ways = {READING: (), PAUSED: ("stop_reading",), ENDED: ("input_ended",)}
        onward = {
            "stop_reading": {READING: PAUSED},
            "read_on": {PAUSED: READING},
            "close": {PAUSED: READING},  # to throw away what comes
            "input_ended": dict.fromkeys(Input, ENDED),
        }
        for name in EVENTS:
            for input, way in ways.items():
                self.start()
                self.happens(*way)
                self.assertIs(self.life.input, input)
                news = self.happens(name)
                expected = onward.get(name, {}).get(input, input)
                self.assertIs(self.life.input, expected, (input, name))
                if name in ("stop_reading", "read_on"):
                    self.assertEqual(news, expected is not input, (input, name))

    def test_what_each_is(self) -> None:
        for input in Input:
            found = (input.reading, input.paused, input.ended)
            self.assertEqual(found, (input is READING, input is PAUSED, input is ENDED))

    def test_the_transport_is_told(self) -> None:
        self.assertTrue(self.wire.reading)
        self.happens("stop_reading", "stop_reading")
        self.assertFalse(self.wire.reading)
        self.happens("read_on", "read_on")
        self.assertTrue(self.wire.reading)

    def test_nothing_is_left_unread_once_closed(self) -> None:
        for phase in (CLOSING, LINGERING, LOST):
            self.start()
            self.happens(*WAYS[phase])
            self.assertFalse(self.happens("stop_reading"))
            self.assertTrue(self.wire.reading)


class OutputTests(Case):
    def test_it_is_news_once(self) -> None:
        self.assertFalse(self.happens("unblock"))
        self.assertTrue(self.happens("block"))
        self.assertFalse(self.happens("block"))
        self.assertTrue(self.life.blocked)
        self.assertTrue(self.happens("unblock"))
        self.assertFalse(self.happens("unblock"))
        self.assertFalse(self.life.blocked)
        self.assertEqual(self.timers, 0)

    def test_who_takes_nothing_is_cut_off(self) -> None:
        self.happens("block")
        self.clock.advance(WRITE_TIMEOUT - 1)
        self.assertFalse(self.wire.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnected)

    def test_an_end_is_waited_for_in_its_own_way(self) -> None:
        for phase in (CLOSING, LINGERING, LOST):
            self.start()
            self.happens("block", *WAYS[phase])
            self.assertFalse(self.life.blocked, phase)
            self.assertFalse(self.happens("block"), phase)
            self.assertEqual(self.timers, phase is not LOST, phase)


class EndTests(Case):
    def test_one_side_first(self) -> None:
        self.happens("close")
        self.assertTrue(self.wire.write_closed)
        self.assertIsNone(self.wire.producer)
        self.assertFalse(self.wire.disconnecting)

    def test_both_sides_in_either_order(self) -> None:
        for last in (("input_ended", "output_ended"), ("output_ended", "input_ended")):
            self.start()
            self.happens("close", last[0])
            self.assertFalse(self.wire.disconnecting, last)
            self.happens(last[1])
            self.assertTrue(self.wire.disconnecting, last)

    def test_the_peer_closed_before(self) -> None:
        self.happens("stop_reading", "input_ended", "close")
        self.assertFalse(self.wire.write_closed)
        self.assertTrue(self.wire.disconnecting)
        self.assertFalse(self.wire.reading)

    def test_one_that_does_not_take_the_last_bytes(self) -> None:
        self.happens("close")
        self.clock.advance(WRITE_TIMEOUT)
        self.assertTrue(self.wire.disconnected)

    def test_one_that_does_not_close_its_side(self) -> None:
        self.happens("close")
        self.clock.advance(WRITE_TIMEOUT - 1)
        self.happens("output_ended")
        self.clock.advance(LINGER / 2)
        self.assertEqual(self.outstayed, 0)
        self.clock.advance(LINGER / 2)
        self.assertEqual(self.outstayed, 1)
        self.assertEqual(self.timers, 0)


class NoSocketTests(Case):
    """TLS, for one, closes both sides or none."""

    has_socket = False

    def test_both_sides_at_once(self) -> None:
        self.happens("stop_reading", "close")
        self.assertFalse(self.wire.write_closed)
        self.assertTrue(self.wire.disconnecting)


class AnyLifeTests(Case):
    @given(st.lists(st.sampled_from(EVENTS)))
    def test_whatever_happens(self, names: list[str]) -> None:
        self.start()
        for name in names:
            before = self.life.phase
            self.happens(name)
            life = self.life
            self.assertGreaterEqual(life.phase.value, before.value)
            self.assertFalse(life.blocked and life.phase.closed)
            waits = life.blocked or life.phase in (CLOSING, LINGERING)
            self.assertEqual(self.timers, waits)
            if not life.phase.closed and not life.input.ended:
                self.assertEqual(self.wire.reading, life.input.reading)
