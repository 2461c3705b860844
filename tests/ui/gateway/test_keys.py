"""Keys are told from text, however the characters are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.gateway.keys import Key, Keys
from tests.retained import retained

SEQUENCES = {
    "\x1b[A": Key.UP,
    "\x1bOA": Key.UP,
    "\x1b[B": Key.DOWN,
    "\x1b[C": Key.RIGHT,
    "\x1b[D": Key.LEFT,
    "\x1b[H": Key.HOME,
    "\x1bOH": Key.HOME,
    "\x1b[1~": Key.HOME,
    "\x1b[7~": Key.HOME,
    "\x1b[F": Key.END,
    "\x1b[4~": Key.END,
    "\x1b[8~": Key.END,
    "\x1b[3~": Key.DELETE,
    "\x7f": Key.BACKSPACE,
    "\b": Key.BACKSPACE,
    "\n": Key.ENTER,
    "\t": Key.TAB,
    "\x01": Key.HOME,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END_OF_INPUT,
    "\x05": Key.END,
    "\x0b": Key.KILL_REST,
    "\x0c": Key.REDRAW,
    "\x15": Key.KILL_LINE,
    "\x17": Key.KILL_WORD,
}

NOTHING = (
    "\x1b[200~",
    "\x1b[1;5C",
    "\x1b[?25h",
    "\x1bx",
    "\x1b[5~",
    "\0",
    "\x1a",
    "\x1b[ q",
    "\x1b[[A",  # F1 of Linux's console
)


def read(*pieces: str) -> list[str | Key]:
    keys = Keys()
    return [each for piece in pieces for each in keys.read(piece)]


def joined(found: list[str | Key]) -> list[str | Key]:
    """With text in single characters: how it is cut into pieces says nothing."""
    return [one for each in found for one in (each if isinstance(each, str) else [each])]


class KeysTests(SynchronousTestCase):
    def test_each_key(self) -> None:
        for sequence, key in SEQUENCES.items():
            self.assertEqual(read(f"a{sequence}b"), ["a", key, "b"], repr(sequence))

    def test_what_means_nothing_is_swallowed_whole(self) -> None:
        for sequence in NOTHING:
            self.assertEqual(read(f"a{sequence}b"), ["a", "b"], repr(sequence))

    def test_text_of_every_kind_is_text(self) -> None:
        self.assertEqual(read("né中\U0001f600\u0301\x9b"), ["né中\U0001f600\u0301\x9b"])

    def test_cut_anywhere(self) -> None:
        for sequence in (*SEQUENCES, *NOTHING):
            stream = f"a{sequence}b"
            for cut in range(len(stream)):
                self.assertEqual(
                    joined(read(stream[:cut], stream[cut:])), read(stream), repr((stream, cut))
                )

    def test_a_sequence_that_is_none_ends_where_it_goes_wrong(self) -> None:
        self.assertEqual(read("\x1b[12\nb"), [Key.ENTER, "b"])
        self.assertEqual(read("\x1b[12", "中"), ["中"])
        self.assertEqual(read("\x1b[[\n"), [Key.ENTER])
        self.assertEqual(read("\x1b[[", "中"), ["中"])

    def test_an_escape_before_a_control_character_is_by_itself(self) -> None:
        self.assertEqual(read("\x1b\n", "\x1b", "\n"), [Key.ENTER, Key.ENTER])
        self.assertEqual(read("\x1b\x03"), [Key.INTERRUPT])
        self.assertEqual(read("\x1b\x1b[Aa", "\x1b\x1bOA"), [Key.UP, "a", Key.UP])
        self.assertEqual(read("\x1b\x1b\x1b[[Aa"), ["a"])

    def test_a_sequence_without_an_end_is_not_kept(self) -> None:
        self.assertEqual(read("\x1b[" + "1" * 30, "a"), [])
        self.assertEqual(read("\x1b[" + "1" * 31, "a"), ["a"])
        keys = Keys()
        for _ in range(100):
            self.assertEqual(list(keys.read("\x1b[" + "1" * 40)), [])
            self.assertLessEqual(retained(keys), 32)

    @given(
        st.lists(
            st.sampled_from([*SEQUENCES, *NOTHING, "a", "中", "\x1b", "\x1b[", "["]), max_size=12
        ),
        st.lists(st.integers(0, 60)),
    )
    def test_any_keys_in_any_pieces(self, pressed: list[str], cuts: list[int]) -> None:
        stream = "".join(pressed)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        pieces = [stream[start:end] for start, end in pairwise(edges)]
        self.assertEqual(joined(read(*pieces)), joined(read(stream)))
