"""Which names look alike, by Unicode Technical Standard 39, and which do not."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.core import confusables
from bbs.core.confusables import LONGEST, look_alike, skeletons

TABLE = Path(confusables.__file__).with_suffix(".txt")


class LookAlike(SynchronousTestCase):
    def test_names_that_look_alike(self) -> None:
        for one, other in (
            ("ann", "ANN"),
            ("ann", "Ann"),
            ("ann", "\N{CYRILLIC SMALL LETTER A}nn"),
            ("ann", "\N{CYRILLIC CAPITAL LETTER A}NN"),
            ("ann", "\N{CHEROKEE LETTER GO}nn"),
            ("ann", "ａｎｎ"),
            ("ann", "ＡＮＮ"),
            ("ann", "\N{MATHEMATICAL BOLD SMALL A}nn"),
            ("ann1", "annl"),
            ("Ian", "lan"),
            ("Ian", "ian"),
            ("bob", "b0b"),
            ("tom", "torn"),
            ("ｱﾝ", "アン"),
            ("änn", "a\N{COMBINING DIAERESIS}nn"),
            ("änn", "Änn"),
            ("strasse", "straße"),
            ("paypal", "р\N{CYRILLIC SMALL LETTER A}ypal"),
            ("scope", "ѕсоре"),
        ):
            self.assertTrue(look_alike(one, other), (one, other))
            self.assertTrue(look_alike(other, one), (other, one))

    def test_names_that_do_not(self) -> None:
        for one, other in (
            ("ann", "ann"),
            ("ann", "anna"),
            ("ann", "änn"),
            ("lan", "ian"),
            ("bob", "rob"),
            ("小明", "小朋"),
            ("анна", "анны"),
            ("", "a"),
        ):
            self.assertFalse(look_alike(one, other), (one, other))

    def test_the_skeletons_of_the_standard(self) -> None:
        for name, skeleton in (
            ("paypal", "paypal"),
            ("\N{CYRILLIC SMALL LETTER ER}aypal", "paypal"),
            ("1", "l"),
            ("m", "rn"),
            ("ø", "o\N{COMBINING LONG SOLIDUS OVERLAY}"),
        ):
            self.assertIn(skeleton, skeletons(name))

    def test_what_is_too_long_looks_like_nothing_else(self) -> None:
        long = "a" * (LONGEST + 1)
        self.assertEqual(skeletons(long), {long})
        self.assertFalse(look_alike(long, long.upper()))
        self.assertTrue(look_alike(long[1:], long[1:].upper()))

    def test_each_character_of_the_table(self) -> None:
        lines = TABLE.read_text("utf-8").split("\n")
        entries = [line.split("\t") for line in lines if "\t" in line]
        self.assertGreater(len(entries), 1000)
        for prototype, characters in entries:
            for each in characters:
                self.assertTrue(look_alike(each, prototype), (each, prototype))
