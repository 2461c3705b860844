"""Options are agreed on without loops, whatever the other side says (RFC 1143)."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.telnet import (
    BINARY,
    CHARSET,
    DO,
    DONT,
    ECHO,
    IAC,
    NAWS,
    WILL,
    WONT,
    Negotiation,
    Options,
    Side,
    TelnetReader,
    Token,
    escaped,
    subnegotiation,
)

UNKNOWN = 24

saying = st.builds(
    Negotiation, st.sampled_from((WILL, WONT, DO, DONT)), st.sampled_from((ECHO, NAWS, UNKNOWN))
)

some = st.sets(st.sampled_from((ECHO, NAWS, BINARY))).map(tuple)
Willing = tuple[tuple[int, ...], tuple[int, ...]]
willing = st.tuples(some, some)


def options() -> Options:
    return Options(ours=(ECHO, BINARY), theirs=(NAWS, BINARY))


def answer(verb: int, option: int) -> bytes:
    return bytes((IAC, verb, option))


class OptionsTests(SynchronousTestCase):
    def test_an_offer_asks_once_for_everything(self) -> None:
        one = options()
        wanted = ((WILL, ECHO), (WILL, BINARY), (DO, NAWS), (DO, BINARY))
        self.assertEqual(one.offer(), b"".join(answer(*each) for each in wanted))
        self.assertEqual(one.offer(), b"")
        self.assertFalse(one.settled)

    def test_what_was_asked_for_and_is_agreed_needs_no_answer(self) -> None:
        one = options()
        one.offer()
        for verb, option in ((DO, ECHO), (DONT, BINARY), (WILL, NAWS), (WONT, BINARY)):
            self.assertEqual(one.receive(Negotiation(verb, option)), b"")
        self.assertTrue(one.settled)
        self.assertTrue(one.on(Side.OURS, ECHO))
        self.assertTrue(one.on(Side.THEIRS, NAWS))
        self.assertFalse(one.on(Side.OURS, BINARY))
        self.assertFalse(one.on(Side.THEIRS, BINARY))

    def test_what_the_other_side_asks_for_is_agreed_to_once(self) -> None:
        one = options()
        self.assertEqual(one.receive(Negotiation(DO, ECHO)), answer(WILL, ECHO))
        self.assertEqual(one.receive(Negotiation(DO, ECHO)), b"")
        self.assertEqual(one.receive(Negotiation(WILL, NAWS)), answer(DO, NAWS))
        self.assertEqual(one.offer(), answer(WILL, BINARY) + answer(DO, BINARY))

    def test_the_two_sides_of_an_option_are_apart(self) -> None:
        one = options()
        one.receive(Negotiation(DO, BINARY))
        self.assertTrue(one.on(Side.OURS, BINARY))
        self.assertFalse(one.on(Side.THEIRS, BINARY))
        self.assertEqual(one.receive(Negotiation(WILL, ECHO)), answer(DONT, ECHO))

    def test_what_is_on_can_be_ended(self) -> None:
        one = options()
        one.receive(Negotiation(DO, ECHO))
        self.assertEqual(one.receive(Negotiation(DONT, ECHO)), answer(WONT, ECHO))
        self.assertFalse(one.on(Side.OURS, ECHO))
        self.assertEqual(one.receive(Negotiation(DONT, ECHO)), b"")

    def test_everything_else_is_refused(self) -> None:
        one = options()
        for option in (UNKNOWN, CHARSET, 255):
            self.assertEqual(one.receive(Negotiation(DO, option)), answer(WONT, option))
            self.assertEqual(one.receive(Negotiation(WILL, option)), answer(DONT, option))
            self.assertEqual(one.receive(Negotiation(DONT, option)), b"")
            self.assertEqual(one.receive(Negotiation(WONT, option)), b"")
            self.assertFalse(one.on(Side.OURS, option) or one.on(Side.THEIRS, option))

    @given(willing, willing, st.randoms())
    def test_two_sides_agree_and_fall_silent(
        self, ones: Willing, others: Willing, chance: Random
    ) -> None:
        """Both offer what they would do, and what they say crosses on its way."""
        sides = (Options(*ones), Options(*others))
        ways: tuple[list[Token], list[Token]] = ([], [])
        reader = TelnetReader(0)
        for side, way in zip(sides, ways, strict=True):
            way += reader.read(side.offer())
        said = 0
        while any(ways) and said < 100:
            sender = chance.choice([number for number in (0, 1) if ways[number]])
            each = ways[sender].pop(0)
            assert isinstance(each, Negotiation)
            ways[1 - sender].extend(reader.read(sides[1 - sender].receive(each)))
            said += 1
        self.assertEqual(ways, ([], []))
        for option in (ECHO, NAWS, BINARY):
            agreed = option in ones[0] and option in others[1]
            self.assertEqual(sides[0].on(Side.OURS, option), agreed)
            self.assertEqual(sides[1].on(Side.THEIRS, option), agreed)
        self.assertTrue(sides[0].settled)

    @given(st.lists(saying, max_size=30))
    def test_an_answer_at_most_for_what_was_said(self, said: list[Negotiation]) -> None:
        one = options()
        for each in said:
            self.assertIn(len(one.receive(each)), (0, 3))


class WritingTests(SynchronousTestCase):
    def test_a_byte_that_would_begin_a_sequence_is_doubled(self) -> None:
        self.assertEqual(escaped(b"a\xffb"), b"a\xff\xffb")
        self.assertEqual(subnegotiation(NAWS, b"\0\xff"), b"\xff\xfa\x1f\0\xff\xff\xff\xf0")
