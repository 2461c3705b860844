"""Lines of JSON, and lists in them that are encoded already."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.line import EncodedList, encode_entry
from bbs.protocols.line.interfaces import encode

ENTRIES: list[object] = [
    {"id": "ann", "message": 'quotes "\\ and \x1b[31m, NUL \0, \u2028'},
    {"id": "b\N{LATIN SMALL LETTER O WITH DIAERESIS}b", "time": 1764086400.2512345, "post": 2**62},
    "%s {} \N{GRINNING FACE}",
    None,
    [],
]


class Encoding(SynchronousTestCase):
    def encoded(self, entries: list[object]) -> EncodedList:
        return EncodedList([encode_entry(entry) for entry in entries])

    def test_the_line_is_the_same(self) -> None:
        for entries in (ENTRIES, ENTRIES[:1], []):
            plain = {"status": 0, "post": entries, "more": "a cursor \N{BULLET}"}
            line = encode({**plain, "post": self.encoded(entries)})
            self.assertEqual(line, encode(plain))
            self.assertEqual(json.loads(line), plain)

    def test_who_reads_an_entry_gets_it_decoded(self) -> None:
        found = self.encoded(ENTRIES)
        self.assertEqual(len(found), len(ENTRIES))
        self.assertEqual([*found], ENTRIES)
        self.assertEqual((found[0], found[-2], found[1:3]), (ENTRIES[0], None, ENTRIES[1:3]))
        self.assertEqual(found, ENTRIES)
        self.assertNotEqual(found, ENTRIES[1:])
        self.assertNotEqual(found, "a text")
        self.assertEqual(repr(found), repr(ENTRIES))

    def test_what_json_has_no_words_for(self) -> None:
        for value, error in ((float("inf"), ValueError), (object(), TypeError)):
            self.assertRaises(error, encode_entry, value)
            self.assertRaises(error, encode, {"post": self.encoded([]), "other": value})
