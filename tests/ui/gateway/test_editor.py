"""What keys do to a line, and which lines come back."""

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.gateway.editor import MOST_CHARACTERS, MOST_LINES, MOST_MARKS, Editor
from bbs.ui.gateway.keys import Key


def edited(*pressed: str | Key, most: int = 1000) -> Editor:
    editor = Editor(most)
    press(editor, *pressed)
    return editor


def press(editor: Editor, *pressed: str | Key) -> None:
    for each in pressed:
        if isinstance(each, str):
            editor.insert(each)
        else:
            editor.press(each)


class EditingTests(SynchronousTestCase):
    def check(self, expected: str, *pressed: str | Key) -> None:
        """`expected` has a | where the cursor is to be."""
        editor = edited(*pressed)
        found = f"{editor.text[: editor.position]}|{editor.text[editor.position :]}"
        self.assertEqual(found, expected)

    def test_text_goes_in_at_the_cursor(self) -> None:
        self.check("abc|", "ab", "c")
        self.check("aXY|b", "ab", Key.LEFT, "XY")

    def test_moving(self) -> None:
        self.check("|ab", "ab", Key.HOME)
        self.check("|ab", "ab", Key.LEFT, Key.LEFT, Key.LEFT)
        self.check("a|b", "ab", Key.HOME, Key.RIGHT)
        self.check("ab|", "ab", Key.HOME, Key.END)
        self.check("ab|", "ab", Key.RIGHT)

    def test_taking_away(self) -> None:
        self.check("a|", "ab", Key.BACKSPACE)
        self.check("|", "a", Key.BACKSPACE, Key.BACKSPACE)
        self.check("|b", "ab", Key.HOME, Key.DELETE)
        self.check("ab|", "ab", Key.DELETE)
        self.check("|b", "ab", Key.LEFT, Key.KILL_LINE)
        self.check("a|", "abc", Key.LEFT, Key.LEFT, Key.KILL_REST)
        self.check("one |", "one two  ", Key.KILL_WORD)
        self.check("|", "one", Key.KILL_WORD)

    def test_characters_are_whole(self) -> None:
        self.check("中|", "中文", Key.BACKSPACE)
        self.check("|e\u0301a", "e\u0301a", Key.LEFT, Key.LEFT)
        self.check("|a", "e\u0301a", Key.LEFT, Key.BACKSPACE)
        self.check("|a", "e\u0301a", Key.HOME, Key.DELETE)
        self.check(
            "\U0001f469|", "\U0001f469\u200d\U0001f680", Key.BACKSPACE, Key.BACKSPACE, "\U0001f469"
        )

    def test_marks_without_an_end_are_not_followed(self) -> None:
        text = "a" + "\u0301" * 1000
        self.assertEqual(edited(text, Key.LEFT, most=9999).position, 1000 - MOST_MARKS)
        self.assertEqual(edited(text, Key.HOME, Key.RIGHT, most=9999).position, 1 + MOST_MARKS)

    def test_other_keys_do_nothing(self) -> None:
        self.check("ab|", "ab", Key.REDRAW, Key.INTERRUPT)
        self.check("ab|", "ab", Key.UP, Key.DOWN)


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
        for way_out in (Key.KILL_LINE, Key.KILL_WORD):
            editor = edited("abcd", "efg", way_out, most=6)
            self.assertFalse(editor.overlong)
        editor = edited("abcd", "efg", Key.BACKSPACE, most=6)
        self.assertTrue(editor.overlong)
        editor.take()
        self.assertFalse(editor.overlong)

    def test_nor_is_a_line_that_was_called_back(self) -> None:
        editor = edited(most=6)
        editor.remember("ping")
        press(editor, "abcdefgh", Key.UP)
        self.assertEqual((editor.text, editor.overlong), ("ping", False))
        press(editor, Key.DOWN)
        self.assertEqual((editor.text, editor.overlong), ("", False))


class HistoryTests(SynchronousTestCase):
    def typed(self, *lines: str) -> Editor:
        editor = Editor(1000)
        for line in lines:
            editor.insert(line)
            editor.remember(editor.take())
        return editor

    def texts(self, editor: Editor, *keys: Key) -> list[str]:
        found = []
        for key in keys:
            editor.press(key)
            found.append(editor.text)
        return found

    def test_back_and_forth(self) -> None:
        editor = self.typed("one", "two")
        editor.insert("thr")
        found = self.texts(editor, Key.UP, Key.UP, Key.UP, Key.DOWN, Key.DOWN, Key.DOWN)
        self.assertEqual(found, ["two", "one", "one", "two", "thr", "thr"])
        self.assertEqual(editor.position, 3)

    def test_what_was_called_back_may_be_changed_and_taken(self) -> None:
        editor = self.typed("one", "two")
        press(editor, Key.UP, Key.UP, "!")
        self.assertEqual(editor.take(), "one!")
        self.assertEqual(self.texts(editor, Key.UP), ["two"])

    def test_blanks_and_repetitions_are_not_kept(self) -> None:
        editor = self.typed("one", "", "one", " ")
        self.assertEqual(self.texts(editor, Key.UP, Key.UP), ["one", "one"])
        press(editor, Key.DOWN)
        self.assertEqual(editor.text, "")

    def test_who_looks_back_meanwhile_stays_where_they_are(self) -> None:
        editor = self.typed("one", "two")
        press(editor, Key.UP, Key.UP)
        editor.remember("three")
        self.assertEqual(self.texts(editor, Key.DOWN, Key.DOWN), ["two", "three"])

    def test_it_is_bounded(self) -> None:
        editor = self.typed(*map(str, range(MOST_LINES + 5)))
        self.assertEqual(self.texts(editor, *[Key.UP] * (MOST_LINES + 9))[-1], "5")
        press(editor, *[Key.DOWN] * (MOST_LINES + 9))
        longest = "x" * MOST_CHARACTERS
        editor.remember(longest)
        self.assertEqual(self.texts(editor, Key.UP, Key.UP), [longest, longest])
        press(editor, Key.DOWN)
        editor.remember(longest + "y")
        self.assertEqual(self.texts(editor, Key.UP), [""])
