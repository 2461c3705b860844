"""Rows of a text at a terminal: words stay whole, under the text."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.layout import table_edge, wrap, wrapped_text


def columns(character: str) -> int:
    return 2 if ord(character) >= 0x1100 else 0 if unicodedata.combining(character) else 1


class WrapTests(SynchronousTestCase):
    def rows(self, text: str, width: int, edge: int | None = None, cut: bool = False) -> list[str]:
        slices, indent = wrap(text, width, columns, edge, cut)
        rows = [text[begin:end] for begin, end in slices]
        return [rows[0], *(" " * indent + row for row in rows[1:])]

    def test_words_stay_whole(self) -> None:
        self.assertEqual(self.rows("one two three", 9), ["one two", "three"])
        self.assertEqual(self.rows("one two  three", 9), ["one two", "three"])
        self.assertEqual(self.rows("one two three", 7), ["one two", "three"])
        self.assertEqual(self.rows("one two ", 7), ["one two"])
        self.assertEqual(self.rows("", 7), [""])

    def test_under_the_edge(self) -> None:
        line = "14:03 bob  one two three"
        self.assertEqual(self.rows(line, 22, 11), ["14:03 bob  one two", " " * 11 + "three"])
        self.assertEqual(
            self.rows("14:03 bob  one\u2028two three\u2028", 80, 11),
            ["14:03 bob  one", " " * 11 + "two three", " " * 11],
        )

    def test_a_narrow_window_has_a_small_indent(self) -> None:
        rows = self.rows("14:03 bob  one\u2028two", 20, 11)
        self.assertEqual(rows, ["14:03 bob  one", "  two"])
        self.assertEqual(self.rows("x\u2028y", 80, 0), ["x", "  y"])
        self.assertEqual(self.rows("x\u2028y", 80), ["x", "  y"])

    def test_a_long_word_stays_whole_or_is_cut(self) -> None:
        line = "see https://example.com/a now"
        self.assertEqual(self.rows(line, 12), ["see", "https://example.com/a", "now"])
        self.assertEqual(self.rows(line, 12, cut=True), ["see https://", "example.com/", "a now"])

    def test_nothing_like_a_blank_comes_to_the_first_column(self) -> None:
        """A terminal breaks a word that is longer than its row there."""
        for blank in ("\u00a0", "\u2007", "\u2003"):
            said = f"13:46 bob  {'x' * 69}13:46 carol{blank}{blank}I{blank}quit"
            for row in self.rows(said, 80, 11)[1:]:
                self.assertEqual(row[:11], " " * 11)
                self.assertLessEqual(len(row), 80)

    def test_chinese_may_end_anywhere(self) -> None:
        self.assertEqual(self.rows("中文很好", 5), ["中文", "很好"])
        self.assertEqual(self.rows("a 中文很好", 7), ["a 中文", "很好"])
        self.assertEqual(self.rows("中文e\u0301", 4), ["中文", "e\u0301"])

    @given(
        st.text(st.sampled_from("ab \u2028中e\u0301"), max_size=60),
        st.integers(2, 20),
        st.one_of(st.none(), st.integers(0, 5)),
    )
    def test_nothing_is_lost(self, text: str, width: int, edge: int | None) -> None:
        slices, indent = wrap(text, width, columns, edge, cut=True)
        kept = "".join(text[begin:end] for begin, end in slices)
        # Only blanks and line ends go, where a row ends.
        self.assertEqual(re.sub(r"[ \u2028]", "", kept), re.sub(r"[ \u2028]", "", text))
        for row, (begin, end) in enumerate(slices):
            used = sum(map(columns, text[begin:end].rstrip(" "))) + (indent if row else 0)
            self.assertLessEqual(used, max(width, indent + 2))
        # Names have no line ends.
        if count := text[edge or 0 :].count("\u2028"):
            self.assertGreater(len(slices), count)
            self.assertGreaterEqual(indent, 2)

    def test_as_one_text(self) -> None:
        text = wrapped_text("ann  one two\u2028three", 9, columns, 5)
        self.assertEqual(text, "ann  one\n  two\n  three")

    def test_tables(self) -> None:
        self.assertEqual(table_edge("  end   Ends the conversation."), 8)
        for line in ("end   Ends it.", "  end", "  one two", ""):
            self.assertIsNone(table_edge(line))
