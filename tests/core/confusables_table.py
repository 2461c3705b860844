"""Makes `bbs/core/confusables.txt` from the confusables of ICU, Unicode's own library.

    python -m tests.core.confusables_table > bbs/core/confusables.txt

It needs Debian's package `libicu76`, or another version of it as the argument. Run it with the
oldest Python that is supported: a newer one knows more decompositions, and leaves these out.
"""

from __future__ import annotations

import ctypes
import sys
import unicodedata
from collections.abc import Callable, Iterator

LEFT_OUT = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs")
"""Categories of which no name has a character (`bbs.rules.names`)."""

HEADER = """\
# Characters that look alike, from the confusables of Unicode Technical Standard 39, version {0}.
# Each line has a prototype, a tab, and the characters that look like it. A character that looks
# like its compatibility decomposition is left out. tests/core/confusables_table.py makes this file.
#
# UNICODE LICENSE V3: COPYRIGHT AND PERMISSION NOTICE. Copyright © 1991-2024 Unicode, Inc.
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of data files and any
# associated documentation (the "Data Files") or software and any associated documentation (the
# "Software") to deal in the Data Files or Software without restriction, including without
# limitation the rights to use, copy, modify, merge, publish, distribute, and/or sell copies of the
# Data Files or Software, and to permit persons to whom the Data Files or Software are furnished to
# do so, provided that either (a) this copyright and permission notice appear with all copies of the
# Data Files or Software, or (b) this copyright and permission notice appear in associated
# Documentation.
#
# THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
# IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
# PURPOSE AND NONINFRINGEMENT OF THIRD PARTY RIGHTS. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
# HOLDERS INCLUDED IN THIS NOTICE BE LIABLE FOR ANY CLAIM, OR ANY SPECIAL INDIRECT OR CONSEQUENTIAL
# DAMAGES, OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
# ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE
# USE OR PERFORMANCE OF THE DATA FILES OR SOFTWARE.
#
# Except as contained in this notice, the name of a copyright holder shall not be used in
# advertising or otherwise to promote the sale, use or other dealings in these Data Files or
# Software without prior written authorization of the copyright holder."""


def icu_skeleton(version: str) -> tuple[str, Callable[[str], str]]:
    """ICU's version of Unicode, and its function for the skeleton of a text (`uspoof.h`)."""
    library = ctypes.CDLL(f"libicui18n.so.{version}")
    common = ctypes.CDLL(f"libicuuc.so.{version}")
    numbers = (ctypes.c_uint8 * 4)()
    getattr(common, f"u_getUnicodeVersion_{version}")(numbers)
    failed, room = ctypes.c_int(0), ctypes.create_string_buffer(4096)
    begin = getattr(library, f"uspoof_open_{version}")
    begin.restype = ctypes.c_void_p
    checker = ctypes.c_void_p(begin(ctypes.byref(failed)))
    get = getattr(library, f"uspoof_getSkeletonUTF8_{version}")

    def skeleton(text: str) -> str:
        given = text.encode()
        size = get(checker, 0, given, len(given), room, len(room), ctypes.byref(failed))
        if failed.value > 0:
            raise RuntimeError(f"ICU's error {failed.value}")
        return room.raw[:size].decode()

    return f"{numbers[0]}.{numbers[1]}", skeleton


class Table:
    """The prototypes of all characters. The prototype of a character that ICU has none for is that
    of its compatibility decomposition, so a wide letter looks like the usual one."""

    def __init__(self, skeleton: Callable[[str], str]) -> None:
        self._skeleton = skeleton
        self._known: dict[str, str] = {}

    def prototype(self, character: str) -> str:
        if character not in self._known:
            mapped = self._skeleton(character)  # Nothing, of an invisible character.
            if mapped in ("", character):
                self._known[character] = self.derived(character)
            else:
                self._known[character] = "".join(map(self.prototype, mapped))
        return self._known[character]

    def derived(self, character: str) -> str:
        """The prototype of a character that is not in the file."""
        plain = unicodedata.normalize("NFKD", character)
        return character if plain == character else "".join(map(self.prototype, plain))

    def lines(self) -> Iterator[str]:
        alike: dict[str, str] = {}
        for character in map(chr, range(sys.maxunicode + 1)):
            if unicodedata.category(character) in LEFT_OUT:
                continue
            if unicodedata.normalize("NFD", character) != character:
                continue  # It never is in a decomposed text.
            prototype = self.prototype(character)
            if prototype != self.derived(character) and "\t" not in prototype:
                alike[prototype] = alike.get(prototype, "") + character
        return (f"{prototype}\t{characters}" for prototype, characters in sorted(alike.items()))


def main(version: str = "76") -> None:
    unicode_version, skeleton = icu_skeleton(version)
    print(HEADER.format(unicode_version))
    for line in Table(skeleton).lines():
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
