"""What people and groups may be called, and in which form it is stored."""

from __future__ import annotations

import unicodedata
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.groups.tables import Group
from bbs.framework import is_valid_name
from bbs.framework.names import as_stored, normalized
from bbs.rules import accounts
from tests.database_case import RulesCase, on_both_databases

TAKEN_APART, COMPOSED = "a\N{COMBINING DIAERESIS}nn", "änn"

FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")

UNSEEN = {
    "controls": "\0\t\n\r\x1b\x7f\x85\x9b",
    "white space": " \u00a0\u1680\u2000\u2003\u2028\u2029\u202f\u205f\u3000",
    "directions": "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "joiners": "\u00ad\u034f\u200b\u200c\u200d\u2060\u2064\ufeff",
    "fillers": "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800\U0001d159",
    "variation selectors": "\u180b\u180f\ufe00\ufe0f\U000e0100\U000e01ef",
    "tags": "\U000e0001\U000e0041\U000e007f",
    "unassigned": "\u0378\u2065\ufff0\ufdd0\uffff\U000e0fff\U0010ffff",
    "private use": "\ue000\uf8ff\U000f0000\U0010fffd",
    "halves of characters": "\ud800\udfff",
}

SEEN = [
    *("ann", "Ann", "a.n-n_1", "{}", "%s", "a'b", '"', "<b>", "ann%", "$(ls)", "\\"),
    *("änn", TAKEN_APART, "аnn", "αβγ", "דנה", "علي", "aא1", "日本", "한글", "नमस्ते", "ｗｉｄｅ"),
    *("\N{GRINNING FACE}", "★", "€", "½", "Ⅳ", "x²", "\u0600\u0661", "\N{REPLACEMENT CHARACTER}"),
]


class Valid(SynchronousTestCase):
    def test_what_is_seen(self) -> None:
        for name in SEEN:
            self.assertTrue(is_valid_name(name), name)

    def test_what_is_not(self) -> None:
        for kind, characters in UNSEEN.items():
            for character in characters:
                for name in (character, f"a{character}b", f"ä{character}"):
                    self.assertFalse(is_valid_name(name), f"{kind}: {name!a}")

    def test_the_longest(self) -> None:
        for character in ("a", "ä", "\N{GRINNING FACE}"):
            self.assertTrue(is_valid_name(character * 100))
            self.assertFalse(is_valid_name(character * 101))

    def test_what_becomes_too_long(self) -> None:
        """A note of music is three characters in NFC."""
        self.assertTrue(is_valid_name("\U0001d160" * 33))
        self.assertFalse(is_valid_name("\U0001d160" * 34))

    def test_marks_on_one_character(self) -> None:
        """As many as any script's names have, in whatever form they are typed."""
        acute, below = "\N{COMBINING ACUTE ACCENT}", "\N{COMBINING DOT BELOW}"
        for name in (
            *(
                "Nguyễn",
                "Thị Mệnh".replace(" ", ""),
                "שִׁמְעוֹן",
                "עֲמִינָדָב",
                "དཀོན་མཆོག",
                "བསྒྲུབས",
                "ကြွယ်",
                "สมศักดิ์",
            ),
            *(
                "กฤษณ์",
                "ក្រុម",
                "हृषीकेश",
                "क़ृँ",
                "ᠮᠣᠩᠭᠣᠯ",
                f"a{4 * acute}",
                f"á{3 * below}",
                25 * f"x{3 * acute}",
            ),
        ):
            for form in FORMS:
                self.assertTrue(is_valid_name(unicodedata.normalize(form, name)), name)
        for name in (
            f"a{99 * acute}",
            f"a{5 * acute}",
            f"á{4 * below}",
            f"x{5 * chr(0x20DD)}",
            5 * acute,
        ):
            for form in FORMS:
                self.assertFalse(is_valid_name(unicodedata.normalize(form, name)), ascii(name))

    def test_it_is_where_it_has_been(self) -> None:
        self.assertIs(accounts.is_valid_name, is_valid_name)

    @given(st.text(max_size=20))
    def test_what_is_stored_may_be_stored(self, name: str) -> None:
        if is_valid_name(name):
            self.assertTrue(is_valid_name(normalized(name)))
        self.assertEqual(normalized(normalized(name)), normalized(name))
        self.assertEqual(normalized(unicodedata.normalize("NFD", name)), normalized(name))


class Long(SynchronousTestCase):
    def test_the_longest_in_any_form_is_found(self) -> None:
        name = "\u1f82" * 100
        self.assertEqual(normalized(unicodedata.normalize("NFD", name)), name)

    def test_what_is_nobodys_is_left_alone(self) -> None:
        """To put many marks in order takes a second of a thread, and of the reactor's."""
        name = "a" + "\u0301" * 16_000 + "\u0316" * 16_000
        self.assertIs(normalized(name), name)


@on_both_databases
class Stored(RulesCase):
    def stored(self, name: str) -> str:
        return self.call(as_stored, name)

    def test_of_a_user(self) -> None:
        self.account("ann")
        self.account(COMPOSED)
        for name in (COMPOSED, TAKEN_APART):
            self.assertEqual(self.stored(name), COMPOSED)
        for name in ("ann", "bob", "a" * 60_000):
            self.assertEqual(self.stored(name), name)

    def test_what_is_typed_just_so_comes_first(self) -> None:
        old = {"name": TAKEN_APART, "channel": "c"}
        Group.insert(old).execute()
        Group.insert({**old, "name": COMPOSED}).execute()
        for name in (COMPOSED, TAKEN_APART):
            self.assertEqual(self.call(as_stored, name, Group.name), name)
        self.assertEqual(self.stored(TAKEN_APART), COMPOSED)
