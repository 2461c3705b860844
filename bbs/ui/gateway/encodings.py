"""How a terminal's bytes are text, and how many columns its characters take.

What a terminal cannot show is shown as an escape, such as `\\U0001f600`: nothing is lost silently,
neither what others wrote in characters that Big5 lacks, nor bytes that are no text.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from wcwidth import wcwidth

from bbs.ui.text import visible_in_line

_ERRORS = "backslashreplace"


@dataclass(frozen=True)
class Encoding:
    """`name` is IANA's, which CHARSET has (RFC 2066); `columns` counts those of a character."""

    name: str
    codec: str
    columns: Callable[[str], int]

    def decoder(self) -> codecs.IncrementalDecoder:
        """Makes text of bytes that are cut anywhere."""
        return codecs.getincrementaldecoder(self.codec)(_ERRORS)

    def decode(self, data: bytes) -> str:
        return data.decode(self.codec, _ERRORS)

    def encode(self, text: str) -> bytes:
        return text.encode(self.codec, _ERRORS)

    def shown(self, character: str) -> str:
        """What stands for a character in a line that is edited, in what the terminal has."""
        return _shown(self.codec, character)

    def width(self, text: str) -> int:
        """The columns that `text` takes, as `shown` gives it."""
        return len(text) if is_plain(text) else sum(map(self.columns, text))


def is_plain(text: str) -> bool:
    """Whether all of a text is shown as itself, each character in a column, in any encoding: as
    most that is drawn is, so that nothing has to be asked about each of its characters."""
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=4096)
def _shown(codec: str, character: str) -> str:
    # Whenever a line is drawn this is asked about each character of a row.
    return visible_in_line(character).encode(codec, _ERRORS).decode(codec, _ERRORS)


UTF8 = Encoding("UTF-8", "utf-8", lambda character: max(0, wcwidth(character)))

BIG5 = Encoding("BIG5", "cp950", lambda character: len(character.encode("cp950", "replace")))
"""Code page 950 is Big5 with the characters that ETEN added and Windows kept (碁, 銹, 裏, and the
lines of boxes), which is what the terminals show that people still have. Python's `big5` lacks
them, and `big5hkscs` lacks ～ and €. A terminal in Big5 draws whatever takes two bytes in two
columns, lines of boxes too."""

_NAMES = {
    "utf-8": UTF8,
    "utf8": UTF8,
    "big5": BIG5,
    "big-5": BIG5,
    "cp950": BIG5,
    "csbig5": BIG5,
}


def named(name: str) -> Encoding | None:
    """The encoding that somebody calls so, however it is written."""
    return _NAMES.get(name.lower())
