"""Names of users and groups: which ones are valid, and how they are normalized.

These are not the rules of PRECIS (RFC 8265, UsernameCasePreserved). PRECIS refuses names that have
always been allowed here: with emoji and other symbols, Roman numerals, or both directions of
writing. PRECIS also maps wide letters to narrow ones, which would merge two existing users.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import peewee

from bbs.core.values import NAME_LENGTH
from bbs.storage.models import User

_FORMS = 4 * NAME_LENGTH
"""Characters of the longest name in any form: decomposition makes at most four of one (Unicode
Standard Annex 15, table 4). To normalize 64 KiB of marks takes a second, so longer texts are not
normalized: they are not valid names."""

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
"""Control characters, formats (with those that change the direction of writing), surrogates,
private use, unassigned, white space."""


def _characters(*ranges: tuple[int, int]) -> frozenset[str]:
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


_VISIBLE_FORMATS = _characters(
    *((0x0600, 0x0605), (0x06DD, 0x06DD), (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2)),
    *((0x110BD, 0x110BD), (0x110CD, 0x110CD)),
)
"""Visible formats: Unicode's Prepended_Concatenation_Mark, such as the Arabic number sign."""

_INVISIBLE = _characters(
    # Unicode's Default_Ignorable_Code_Point, without the categories above.
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors and vowel separator
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xE0100, 0xE01EF),  # more variation selectors
    # Blank characters that count as letters or symbols.
    (0x2800, 0x2800),  # Braille pattern without dots
    (0x16FE4, 0x16FE4),  # Khitan filler
    (0x1D159, 0x1D159),  # musical symbol null notehead
    (0x13441, 0x13442),  # Egyptian hieroglyph blanks
)


def is_valid_name(name: str) -> bool:
    """Whether a user or group can have this name: not too long, with visible characters only.

    That excludes control characters, invisible ones, white space, those that change the direction
    of writing, private use, and characters that this Python's version of Unicode does not assign.
    """
    if len(name) > NAME_LENGTH:
        return False
    if name.isascii():
        return name.isprintable() and " " not in name
    # Normalization makes a few names longer.
    return len(normalized(name)) <= NAME_LENGTH and all(map(_is_visible, name))


def _is_visible(character: str) -> bool:
    if unicodedata.category(character) in _INVISIBLE_CATEGORIES:
        return character in _VISIBLE_FORMATS
    return character not in _INVISIBLE and not character.isspace()


def normalized(name: str) -> str:
    """Return the form in which a new name is stored: NFC (Unicode Standard Annex 15)."""
    if name.isascii() or len(name) > _FORMS:
        return name
    return unicodedata.normalize("NFC", name)


def contains(column: peewee.Field, text: str) -> Any:
    """The condition that a name in `column` has `text` in it. The case of letters is ignored, on
    SQLite only in ASCII."""
    found: Any = peewee.fn.INSTR(peewee.fn.LOWER(column), normalized(text).lower()) > 0
    for form in sorted({text, normalized(text)}):
        found |= peewee.fn.INSTR(column, form) > 0
    return found


def as_stored(name: str, among: peewee.Field = User.name) -> str:
    """Return the stored form of a typed `name`: as typed, if such a row exists, else in NFC.

    `among` is the column of names, such as `Group.name`. The database is queried only if `name` is
    not in NFC, which is rare.
    """
    form = normalized(name)
    if form == name or among.model.select(among).where(among == name).exists():
        return name
    return form
