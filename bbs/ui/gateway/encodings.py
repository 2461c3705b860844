"""The encodings of terminals: UTF-8, and Big5 with the widths of its characters.

Text that a terminal cannot show, such as characters that Big5 lacks or malformed bytes, is shown as
an escape such as `\\U0001f600`, so that nothing is lost silently.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from wcwidth import wcwidth

from bbs.ui.output import visible_in_line

_ERRORS = "backslashreplace"


@dataclass(frozen=True)
class Encoding:
    """An encoding: IANA's `name`, as in CHARSET (RFC 2066), and the `columns` of a character."""

    name: str
    codec: str
    columns: Callable[[str], int]

    def decoder(self) -> codecs.IncrementalDecoder:
        """A decoder of bytes that may be cut anywhere."""
        return codecs.getincrementaldecoder(self.codec)(_ERRORS)

    def decode(self, data: bytes) -> str:
        return data.decode(self.codec, _ERRORS)

    def encode(self, text: str) -> bytes:
        return text.encode(self.codec, _ERRORS)

    def shown(self, character: str) -> str:
        """A character as shown in a line that is edited."""
        return _shown(self.codec, character)

    def width(self, text: str) -> int:
        return len(text) if is_plain(text) else sum(map(self.columns, text))


def is_plain(text: str) -> bool:
    """Whether each character of a text shows as itself in one column, in any encoding. Most drawn
    text is so, and saves a look at each character."""
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=4096)
def _shown(codec: str, character: str) -> str:
    # Cached, as drawing a line needs this for each character of a row.
    return visible_in_line(character).encode(codec, _ERRORS).decode(codec, _ERRORS)


UTF8 = Encoding("UTF-8", "utf-8", lambda character: max(0, wcwidth(character)))

BIG5 = Encoding("BIG5", "cp950", lambda character: len(character.encode("cp950", "replace")))
"""Code page 950 is Big5 with the characters that ETEN added and Windows kept (碁, 銹, 裏, and box
drawing), as today's terminals show it. Python's `big5` lacks these, and `big5hkscs` lacks ～ and €.
A terminal in Big5 draws every character of two bytes in two columns, box drawing too."""

_NAMES = {"utf-8": UTF8, "utf8": UTF8, "big5": BIG5, "big-5": BIG5, "cp950": BIG5, "csbig5": BIG5}


def named(name: str | bytes) -> Encoding | None:
    text = name if isinstance(name, str) else name.decode("ascii", "replace")
    return _NAMES.get(text.lower())
