"""Modules that load their names on first use, and names that have moved."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.lazy import lazy, moved


class Lazy(SynchronousTestCase):
    def setUp(self) -> None:
        self.module = ModuleType("lazily")
        self.patch(sys, "modules", {**sys.modules, "lazily": self.module})
        vars(self.module)["__all__"] = names = ["dumps"]
        get, names_of = lazy("lazily", names, {"json": "dumps"}, {"string": "digits hexdigits"})
        vars(self.module).update(__getattr__=get, __dir__=names_of)

    def run_code(self, code: str) -> tuple[dict[str, object], list[str]]:
        """The names that `code` has in the end, and the warnings that it got."""
        found: dict[str, object] = {}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            exec(compile(code, "somebody.py", "exec"), found)
        self.assertEqual({each.category for each in told} - {DeprecationWarning}, set())
        self.assertEqual({each.filename for each in told} - {"somebody.py"}, set())
        return found, [str(each.message) for each in told]

    def test_a_name(self) -> None:
        found, told = self.run_code("from lazily import dumps")
        import json

        self.assertIs(found["dumps"], json.dumps)
        self.assertEqual(told, [])

    def test_a_moved_one(self) -> None:
        found, told = self.run_code("from lazily import digits")
        self.assertEqual(found["digits"], "0123456789")
        self.assertEqual({*told}, {"lazily.digits goes in version 1.0: use string.digits"})

    def test_all_of_them(self) -> None:
        """A program of before may have imported all names, and gets them."""
        found, told = self.run_code("from lazily import *")
        self.assertLessEqual({"dumps", "digits", "hexdigits"}, found.keys())
        self.assertEqual(len(told), 2)

    def test_what_is_public(self) -> None:
        self.assertEqual([*self.module.__all__], ["dumps"])
        self.assertEqual((len(self.module.__all__), dir(self.module)), (1, ["dumps"]))
        self.assertEqual(moved(self.module), {"digits": "string", "hexdigits": "string"})
        self.assertEqual(moved(sys), {})
        self.assertRaises(IndexError, self.module.__all__.__getitem__, 3)

    def test_no_such_name(self) -> None:
        error = self.assertRaises(AttributeError, getattr, self.module, "loads")
        self.assertEqual(str(error), "lazily has no loads")
