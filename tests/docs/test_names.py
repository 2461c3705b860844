"""`docs/developers/names.md` has each public name, and what it is."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs/developers/names.md"


def tables(page: str) -> Mapping[str, Mapping[str, str]]:
    """The names below each heading, with their meanings."""
    _, *parts = re.split(r"^## `([\w.]+)`\n", page, flags=re.M)
    return dict(zip(parts[::2], map(dict, map(rows, parts[1::2])), strict=True))


def rows(section: str) -> Iterator[tuple[str, str]]:
    for names, meaning in re.findall(r"^\| (`.*?) \| (.*) \|$", section, re.M):
        for name in re.findall(r"`(\w+)`", names):
            yield name, meaning


class Names(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "path", [*sys.path])  # The configuration of Sphinx adds its folder.
        self.tables = tables(PAGE.read_text())

    def test_the_modules(self) -> None:
        public = runpy.run_path(str(CHECKOUT / "docs/conf.py"))["public_modules"]
        self.assertEqual(sorted(self.tables), sorted(public))

    def test_each_name(self) -> None:
        for module, found in self.tables.items():
            self.assertEqual(sorted(found), sorted(import_module(module).__all__), module)

    def test_what_is_found(self) -> None:
        page = "## `a.b`\n\n| name | what |\n| --- | --- |\n| `one`, `two` | `three` |\n"
        self.assertEqual(tables(page), {"a.b": {"one": "`three`", "two": "`three`"}})
