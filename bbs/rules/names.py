"""Names of users and groups: which ones are valid, and how they are normalized.

These are not the rules of PRECIS (RFC 8265, UsernameCasePreserved). PRECIS refuses names that have
always been allowed here: with emoji and other symbols, Roman numerals, or both directions of
writing. PRECIS also maps wide letters to narrow ones, which would merge two existing users.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import peewee

from bbs.core.characters import BLANKS, DEFAULT_IGNORABLE, VISIBLE_FORMATS, characters
from bbs.core.values import NAME_LENGTH
from bbs.storage.models import User

_FORMS = 4 * NAME_LENGTH
"""Characters of the longest name in any form: decomposition makes at most four of one (Unicode
Standard Annex 15, table 4). To normalize 64 KiB of marks takes a second, so longer texts are not
normalized: they are not valid names."""

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
"""Control characters, formats (with those that change the direction of writing), surrogates,
private use, unassigned, white space."""


_VISIBLE_FORMATS = characters(*VISIBLE_FORMATS)

_INVISIBLE = characters(*DEFAULT_IGNORABLE, *BLANKS)

MOST_MARKS = 4
"""Marks on one character of a name, each character taken apart (NFD): "Forbid sequences of more
than 4 nonspacing marks (gc=Mn or gc=Me)" (Unicode Technical Standard 39, section 5.4). Vietnamese
has two, Hebrew with vowels and accents, Burmese, and Tibetan stacks in names have four. The 30 of
Stream-Safe Text (Unicode Standard Annex 15, section 13) spare a program's memory; they cover the
lines above and below."""

_MARKS = ("Mn", "Me")


def is_valid_name(name: str) -> bool:
    """Whether a user or group can have this name: not too long, with visible characters only.

    That excludes control characters, invisible ones, white space, those that change the direction
    of writing, private use, and characters that this Python's version of Unicode does not assign.
    No character has more than `MOST_MARKS` marks. (Names of before may: nobody asks this of them.)
    """
    if len(name) > NAME_LENGTH:
        return False
    if name.isascii():
        return name.isprintable() and " " not in name
    # Normalization makes a few names longer.
    return (
        len(normalized(name)) <= NAME_LENGTH
        and all(map(_is_visible, name))
        and _has_few_marks(name)
    )


def _has_few_marks(name: str) -> bool:
    several = 0
    for character in unicodedata.normalize("NFD", name):
        several = several + 1 if unicodedata.category(character) in _MARKS else 0
        if several > MOST_MARKS:
            return False
    return True


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
