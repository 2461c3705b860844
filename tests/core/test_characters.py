"""Characters that nobody sees, compared with all of Unicode."""

from __future__ import annotations

import sys
import unicodedata

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.characters import BLANKS, VISIBLE_FORMATS, characters
from bbs.framework import is_valid_name
from bbs.ui.output import visible

DERIVED = """
00AD 034F 061C 115F..1160 17B4..17B5 180B..180D 180E 180F 200B..200F 202A..202E 2060..2064 2065
2066..206F 3164 FE00..FE0F FEFF FFA0 FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000 E0001 E0002..E001F
E0020..E007F E0080..E00FF E0100..E01EF E01F0..E0FFF
"""
"""Default_Ignorable_Code_Point in DerivedCoreProperties.txt of Unicode 14 to 17."""

JOINS_OR_VARIES = "\u200c\u200d\ufe0e\ufe0f"


def ignorable() -> frozenset[str]:
    several = (each.split("..") for each in DERIVED.split())
    return characters(*((int(each[0], 16), int(each[-1], 16)) for each in several))


class OfAllOfUnicode(SynchronousTestCase):
    def setUp(self) -> None:
        self.unseen = ignorable() | characters(*BLANKS)
        shown = characters(*VISIBLE_FORMATS)
        for code in range(sys.maxunicode + 1):
            kind = unicodedata.category(chr(code))
            if kind in ("Cc", "Cf", "Cs", "Zl", "Zp") and chr(code) not in shown:
                self.unseen |= {chr(code)}

    def test_a_terminal_is_sent_an_escape_for_what_nobody_sees_and_for_nothing_else(self) -> None:
        for code in range(sys.maxunicode + 1):
            character = chr(code)
            alone, within = visible(f"a{character}b"), visible(f"é{character}é")
            if character not in self.unseen:
                # Formats that Unicode 15 has are not assigned by this Python's version.
                if unicodedata.category(character) != "Cn":
                    self.assertEqual((alone, within), (f"a{character}b", f"é{character}é"))
                continue
            self.assertTrue(alone.isascii() and alone.isprintable(), f"{code:x}")
            if character not in JOINS_OR_VARIES:
                self.assertTrue(within.strip("é").isascii(), f"{code:x}")

    def test_no_name_has_them(self) -> None:
        for character in self.unseen:
            self.assertFalse(is_valid_name(f"a{character}b"), f"{ord(character):x}")

    def test_the_controls_of_shorthand(self) -> None:
        self.assertEqual(visible("ann\U0001bca0\U0001bca3"), "ann\\U0001bca0\\U0001bca3")
