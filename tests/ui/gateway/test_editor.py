"""Keys are told from text, however the characters are cut, and edit the line."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.gateway.editor import (
    MOST_CHARACTERS,
    MOST_LINES,
    MOST_MARKS,
    EditBuffer,
    EditKey,
    KeyReader,
)
from tests.retained import retained

SEQUENCES = {
    "\x1b[A": EditKey.UP,
    "\x1bOA": EditKey.UP,
    "\x1b[B": EditKey.DOWN,
    "\x1b[C": EditKey.RIGHT,
    "\x1b[D": EditKey.LEFT,
    "\x1b[H": EditKey.HOME,
    "\x1bOH": EditKey.HOME,
    "\x1b[1~": EditKey.HOME,
    "\x1b[7~": EditKey.HOME,
    "\x1b[F": EditKey.END,
    "\x1b[4~": EditKey.END,
    "\x1b[8~": EditKey.END,
    "\x1b[3~": EditKey.DELETE,
    "\x7f": EditKey.BACKSPACE,
    "\b": EditKey.BACKSPACE,
    "\n": EditKey.ENTER,
    "\t": EditKey.TAB,
    "\x01": EditKey.HOME,
    "\x03": EditKey.INTERRUPT,
    "\x04": EditKey.END_OF_INPUT,
    "\x05": EditKey.END,
    "\x0b": EditKey.KILL_REST,
    "\x0c": EditKey.REDRAW,
    "\x15": EditKey.KILL_LINE,
    "\x17": EditKey.KILL_WORD,
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


def read(*pieces: str) -> list[str | EditKey]:
    keys = KeyReader()
    return [each for piece in pieces for each in keys.read(piece)]


def joined(found: list[str | EditKey]) -> list[str | EditKey]:
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
        self.assertEqual(read("\x1b[12\nb"), [EditKey.ENTER, "b"])
        self.assertEqual(read("\x1b[12", "中"), ["中"])
        self.assertEqual(read("\x1b[[\n"), [EditKey.ENTER])
        self.assertEqual(read("\x1b[[", "中"), ["中"])

    def test_an_escape_before_a_control_character_is_by_itself(self) -> None:
        self.assertEqual(read("\x1b\n", "\x1b", "\n"), [EditKey.ENTER, EditKey.ENTER])
        self.assertEqual(read("\x1b\x03"), [EditKey.INTERRUPT])
        self.assertEqual(read("\x1b\x1b[Aa", "\x1b\x1bOA"), [EditKey.UP, "a", EditKey.UP])
        self.assertEqual(read("\x1b\x1b\x1b[[Aa"), ["a"])

    def test_a_sequence_without_an_end_is_not_kept(self) -> None:
        self.assertEqual(read("\x1b[" + "1" * 30, "a"), [])
        self.assertEqual(read("\x1b[" + "1" * 31, "a"), ["a"])
        keys = KeyReader()
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


def edited(*pressed: str | EditKey, most: int = 1000) -> EditBuffer:
    editor = EditBuffer(most)
    press(editor, *pressed)
    return editor


def press(editor: EditBuffer, *pressed: str | EditKey) -> None:
    for each in pressed:
        if isinstance(each, str):
            editor.insert(each)
        else:
            editor.press(each)


class EditingTests(SynchronousTestCase):
    def check(self, expected: str, *pressed: str | EditKey) -> None:
        """`expected` has a | where the cursor is to be."""
        editor = edited(*pressed)
        found = f"{editor.text[: editor.position]}|{editor.text[editor.position :]}"
        self.assertEqual(found, expected)

    def test_text_goes_in_at_the_cursor(self) -> None:
        self.check("abc|", "ab", "c")
        self.check("aXY|b", "ab", EditKey.LEFT, "XY")

    def test_moving(self) -> None:
        self.check("|ab", "ab", EditKey.HOME)
        self.check("|ab", "ab", EditKey.LEFT, EditKey.LEFT, EditKey.LEFT)
        self.check("a|b", "ab", EditKey.HOME, EditKey.RIGHT)
        self.check("ab|", "ab", EditKey.HOME, EditKey.END)
        self.check("ab|", "ab", EditKey.RIGHT)

    def test_taking_away(self) -> None:
        self.check("a|", "ab", EditKey.BACKSPACE)
        self.check("|", "a", EditKey.BACKSPACE, EditKey.BACKSPACE)
        self.check("|b", "ab", EditKey.HOME, EditKey.DELETE)
        self.check("ab|", "ab", EditKey.DELETE)
        self.check("|b", "ab", EditKey.LEFT, EditKey.KILL_LINE)
        self.check("a|", "abc", EditKey.LEFT, EditKey.LEFT, EditKey.KILL_REST)
        self.check("one |", "one two  ", EditKey.KILL_WORD)
        self.check("|", "one", EditKey.KILL_WORD)

    def test_characters_are_whole(self) -> None:
        self.check("中|", "中文", EditKey.BACKSPACE)
        self.check("|e\u0301a", "e\u0301a", EditKey.LEFT, EditKey.LEFT)
        self.check("|a", "e\u0301a", EditKey.LEFT, EditKey.BACKSPACE)
        self.check("|a", "e\u0301a", EditKey.HOME, EditKey.DELETE)
        self.check(
            "\U0001f469|",
            "\U0001f469\u200d\U0001f680",
            EditKey.BACKSPACE,
            EditKey.BACKSPACE,
            "\U0001f469",
        )

    def test_marks_without_an_end_are_not_followed(self) -> None:
        text = "a" + "\u0301" * 1000
        self.assertEqual(edited(text, EditKey.LEFT, most=9999).position, 1000 - MOST_MARKS)
        self.assertEqual(
            edited(text, EditKey.HOME, EditKey.RIGHT, most=9999).position, 1 + MOST_MARKS
        )

    def test_other_keys_do_nothing(self) -> None:
        self.check("ab|", "ab", EditKey.REDRAW, EditKey.INTERRUPT)
        self.check("ab|", "ab", EditKey.UP, EditKey.DOWN)


class LengthTests(SynchronousTestCase):
    def test_as_many_bytes_as_may_be(self) -> None:
        self.assertFalse(edited("abc", "中", most=6).overlong)

    def test_more_is_not_taken(self) -> None:
        editor = edited("abcd", "中", most=6)
        self.assertTrue(editor.overlong)
        self.assertEqual(editor.text, "abcd")
        press(editor, "x")
        self.assertEqual(editor.text, "abcd")
        self.assertEqual(edited("abcd", "efghi", most=6).text, "abcdef")

    def test_an_empty_line_is_not_too_long(self) -> None:
        for way_out in (EditKey.KILL_LINE, EditKey.KILL_WORD):
            editor = edited("abcd", "efg", way_out, most=6)
            self.assertFalse(editor.overlong)
        editor = edited("abcd", "efg", EditKey.BACKSPACE, most=6)
        self.assertTrue(editor.overlong)
        editor.take()
        self.assertFalse(editor.overlong)

    def test_nor_is_a_line_that_was_called_back(self) -> None:
        editor = edited(most=6)
        editor.remember("ping")
        press(editor, "abcdefgh", EditKey.UP)
        self.assertEqual((editor.text, editor.overlong), ("ping", False))
        press(editor, EditKey.DOWN)
        self.assertEqual((editor.text, editor.overlong), ("", False))


class HistoryTests(SynchronousTestCase):
    def typed(self, *lines: str) -> EditBuffer:
        editor = EditBuffer(1000)
        for line in lines:
            editor.insert(line)
            editor.remember(editor.take())
        return editor

    def texts(self, editor: EditBuffer, *keys: EditKey) -> list[str]:
        found = []
        for key in keys:
            editor.press(key)
            found.append(editor.text)
        return found

    def test_back_and_forth(self) -> None:
        editor = self.typed("one", "two")
        editor.insert("thr")
        found = self.texts(
            editor, EditKey.UP, EditKey.UP, EditKey.UP, EditKey.DOWN, EditKey.DOWN, EditKey.DOWN
        )
        self.assertEqual(found, ["two", "one", "one", "two", "thr", "thr"])
        self.assertEqual(editor.position, 3)

    def test_what_was_called_back_may_be_changed_and_taken(self) -> None:
        editor = self.typed("one", "two")
        press(editor, EditKey.UP, EditKey.UP, "!")
        self.assertEqual(editor.take(), "one!")
        self.assertEqual(self.texts(editor, EditKey.UP), ["two"])

    def test_blanks_and_repetitions_are_not_kept(self) -> None:
        editor = self.typed("one", "", "one", " ")
        self.assertEqual(self.texts(editor, EditKey.UP, EditKey.UP), ["one", "one"])
        press(editor, EditKey.DOWN)
        self.assertEqual(editor.text, "")

    def test_who_looks_back_meanwhile_stays_where_they_are(self) -> None:
        editor = self.typed("one", "two")
        press(editor, EditKey.UP, EditKey.UP)
        editor.remember("three")
        self.assertEqual(self.texts(editor, EditKey.DOWN, EditKey.DOWN), ["two", "three"])

    def test_it_is_bounded(self) -> None:
        editor = self.typed(*map(str, range(MOST_LINES + 5)))
        self.assertEqual(self.texts(editor, *[EditKey.UP] * (MOST_LINES + 9))[-1], "5")
        press(editor, *[EditKey.DOWN] * (MOST_LINES + 9))
        longest = "x" * MOST_CHARACTERS
        editor.remember(longest)
        self.assertEqual(self.texts(editor, EditKey.UP, EditKey.UP), [longest, longest])
        press(editor, EditKey.DOWN)
        editor.remember(longest + "y")
        self.assertEqual(self.texts(editor, EditKey.UP), [""])
