"""Characters that nobody sees, by their properties in the Unicode Standard.

Names have none of them (`bbs.rules.names`), and a terminal is sent an escape for each
(`bbs.ui.output`). Ranges are written out: Python's `unicodedata` knows categories, but not the
property Default_Ignorable_Code_Point, and a client that starts has no time to look through all
characters. The property is stable: it covers code points that later versions of Unicode assign.
`tests/core/test_characters.py` compares the ranges with all of Unicode.
"""

from __future__ import annotations

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""First and last code point of each range."""

DEFAULT_IGNORABLE: Ranges = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x061C, 0x061C),  # Arabic letter mark
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors and vowel separator
    (0x200B, 0x200F),  # zero-width space, joiners, marks of direction
    (0x202A, 0x202E),  # embeddings and overrides of direction
    (0x2060, 0x206F),  # word joiner, invisible operators, isolates of direction
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xFFF0, 0xFFF8),  # not assigned yet
    (0x1BCA0, 0x1BCA3),  # controls of shorthand
    (0x1D173, 0x1D17A),  # controls of musical notation
    (0xE0000, 0xE0FFF),  # tags, more variation selectors, and others to come
)
"""Default_Ignorable_Code_Point (DerivedCoreProperties.txt): a font without them shows nothing."""

FORMATS: Ranges = (
    (0xFFF9, 0xFFFB),  # interlinear annotation
    (0x13430, 0x1343F),  # joiners of Egyptian hieroglyphs
)
"""The other characters of the category Cf that have no shape of their own."""

VISIBLE_FORMATS: Ranges = (
    (0x0600, 0x0605),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
)
"""Those that have one: Prepended_Concatenation_Mark, such as the Arabic number sign."""

BLANKS: Ranges = (
    (0x2800, 0x2800),  # Braille pattern without dots
    (0x16FE4, 0x16FE4),  # Khitan filler
    (0x1D159, 0x1D159),  # musical symbol null notehead
    (0x13441, 0x13442),  # Egyptian hieroglyph blanks
)
"""Blank characters that count as letters or symbols."""

CONTROLS: Ranges = (
    (0x0000, 0x001F),  # C0
    (0x007F, 0x009F),  # delete, C1
    (0x2028, 0x2029),  # separators of lines and paragraphs
    (0xD800, 0xDFFF),  # surrogates: not characters at all
)
"""Characters that end a line or act on a terminal, and halves of characters."""


def characters(*ranges: tuple[int, int]) -> frozenset[str]:
    """All characters of the ranges."""
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


def pattern(ranges: Iterable[tuple[int, int]]) -> str:
    """A class of characters for a regular expression, with brackets."""
    inside = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
    return f"[{inside}]"
