"""Text is bytes and back in each encoding, and has its columns."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.gateway.encodings import BIG5, UTF8, named


class EncodingTests(SynchronousTestCase):
    def test_names(self) -> None:
        for name in ("utf-8", "UTF-8", "utf8"):
            self.assertIs(named(name), UTF8)
        for name in ("big5", "BIG5", "Big-5", "cp950"):
            self.assertIs(named(name), BIG5)
        self.assertIsNone(named("latin-1"))

    def test_big5_has_what_eten_added(self) -> None:
        self.assertEqual(BIG5.encode("中文碁銹"), b"\xa4\xa4\xa4\xe5\xf9\xd6\xf9\xd7")
        self.assertEqual(BIG5.decode(b"\xa4\xa4\xa4\xe5\xf9\xd6\xf9\xd7\xf9\xf9"), "中文碁銹═")

    def test_what_an_encoding_lacks_is_an_escape(self) -> None:
        self.assertEqual(BIG5.encode("a\U0001f600é"), rb"a\U0001f600\xe9")
        self.assertEqual(UTF8.encode("a\udc80"), rb"a\udc80")

    def test_bytes_that_are_no_text_are_escapes(self) -> None:
        self.assertEqual(UTF8.decode(b"a\xffb\xe4\xb8"), r"a\xffb\xe4\xb8")
        self.assertEqual(BIG5.decode(b"a\xffb"), r"a\xffb")

    def test_characters_may_be_cut_anywhere(self) -> None:
        for encoding in (UTF8, BIG5):
            data = encoding.encode("a中文b")
            decoder = encoding.decoder()
            text = "".join(decoder.decode(bytes([byte])) for byte in data)
            self.assertEqual(text, "a中文b")

    def test_bad_bytes_cut_anywhere_are_shown(self) -> None:
        for encoding, data, text in (
            (UTF8, b"\xe4\xb8a", r"\xe4\xb8a"),
            (BIG5, b"\xffa", r"\xffa"),
        ):
            decoder = encoding.decoder()
            found = "".join(decoder.decode(bytes([byte])) for byte in data)
            self.assertEqual(found, text)

    def test_columns(self) -> None:
        self.assertEqual(UTF8.width("a中\u0301\U0001f600"), 1 + 2 + 0 + 2)
        self.assertEqual(UTF8.width("─"), 1)
        self.assertEqual(BIG5.width("a中─"), 1 + 2 + 2)

    def test_what_acts_is_shown_as_an_escape(self) -> None:
        self.assertEqual(
            [UTF8.shown(each) for each in "a\x1b\u202e中"], ["a", "\\x1b", "\\u202e", "中"]
        )
        self.assertEqual(UTF8.shown("\u200d"), "")
        self.assertEqual(BIG5.shown("\U0001f600"), "\\U0001f600")
