"""Names of users and groups: who may be called what, and how a name is stored that can be typed in
several ways.

PRECIS (RFC 8265, UsernameCasePreserved) is not what decides. It refuses what has always been
allowed here: emoji and other symbols, Roman numerals, and names that mix directions of writing. It
also takes wide letters for narrow ones, so that two people of today would be one.
"""

from __future__ import annotations

import unicodedata

import peewee

from bbs.core.values import NAME_LENGTH
from bbs.storage.models import User

_FORMS = 4 * NAME_LENGTH
"""Characters that a name may have in any form: one has four at the most when it is taken apart
(Unicode Standard Annex 15, table 4). To normalize 64 KiB of marks takes a second, so what is
longer is left as it is: nobody is called so."""

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
"""Control characters, formats (those that turn the direction of writing are among them), halves of
characters, private use, unassigned, white space."""


def _characters(*ranges: tuple[int, int]) -> frozenset[str]:
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


_SEEN_FORMATS = _characters(
    *((0x0600, 0x0605), (0x06DD, 0x06DD), (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2)),
    *((0x110BD, 0x110BD), (0x110CD, 0x110CD)),
)
"""Formats that are seen: Unicode's Prepended_Concatenation_Mark, such as the Arabic number sign."""

_UNSEEN = _characters(
    # Unicode's Default_Ignorable_Code_Point, as far as it is not in the categories above.
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors and vowel separator
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xE0100, 0xE01EF),  # more variation selectors
    # What is blank though it counts as a letter or a symbol.
    (0x2800, 0x2800),  # Braille pattern without dots
    (0x16FE4, 0x16FE4),  # Khitan filler
    (0x1D159, 0x1D159),  # musical symbol null notehead
    (0x13441, 0x13442),  # Egyptian hieroglyph blanks
)


def is_valid_name(name: str) -> bool:
    """Whether people and groups may be called so: not too long, and each character in it is seen.

    That leaves out control characters, invisible ones, white space, those that turn the direction
    of writing, and what Unicode has not assigned (by the version of it that this Python knows) or
    leaves to private use.
    """
    if len(name) > NAME_LENGTH:
        return False
    if name.isascii():
        return name.isprintable() and " " not in name
    # Few names become longer in the form in which they are stored.
    return len(normalized(name)) <= NAME_LENGTH and all(map(_is_seen, name))


def _is_seen(character: str) -> bool:
    if unicodedata.category(character) in _UNSEEN_CATEGORIES:
        return character in _SEEN_FORMATS
    return character not in _UNSEEN and not character.isspace()


def normalized(name: str) -> str:
    """The form in which a new name is stored: NFC (Unicode Standard Annex 15)."""
    if name.isascii() or len(name) > _FORMS:
        return name
    return unicodedata.normalize("NFC", name)


def as_stored(name: str, among: peewee.Field = User.name) -> str:
    """What somebody is called whose name was typed as `name`: just so, if somebody is called so,
    else in NFC. `among` is the column of names, as `Group.name`.

    It asks the database only if `name` is not in NFC, so nearly never.
    """
    form = normalized(name)
    if form == name or among.model.select(among).where(among == name).exists():
        return name
    return form
