"""The comparison with the published conversations, and that all of these are here."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conforms import conforms
from tests.paths import CONFORMANCE


class Conforms(SynchronousTestCase):
    EXPECTED = "a\nb\na\n--\n<<<x>>>\n<<<x>>>\n<<<y>>>\n"

    def test_messages_come_in_any_order_and_place(self) -> None:
        for printed in (
            "a\nb\na\n<<<x>>>\n<<<x>>>\n<<<y>>>\n",
            "<<<y>>>\na\n<<<x>>>\nb\na\n<<<x>>>\n",
        ):
            self.assertTrue(conforms(printed, self.EXPECTED), printed)

    def test_differences(self) -> None:
        for printed in (
            "b\na\na\n<<<x>>>\n<<<x>>>\n<<<y>>>\n",
            "a\nb\na\n<<<x>>>\n<<<y>>>\n",
            "a\nb\na\n<<<x>>>\n<<<x>>>\n<<<x>>>\n<<<y>>>\n",
            "a\nb\n<<<x>>>\n<<<x>>>\n<<<y>>>\n",
            "a\nb\na\nc\n<<<x>>>\n<<<x>>>\n<<<y>>>\n",
            "",
        ):
            self.assertFalse(conforms(printed, self.EXPECTED), printed)


class Scripts(SynchronousTestCase):
    def test_all_are_here(self) -> None:
        for kind in ("txt", "expected"):
            names = sorted(path.stem for path in CONFORMANCE.glob(f"*.{kind}"))
            self.assertEqual(names, ["1", "2", "3", "4", "5", "6"])
