"""`docs/developers/recipes.md`: each recipe's service is made, and its test passes."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import TestCase, TestResult, TestSuite, defaultTestLoader

from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.service import Service
from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs/developers/recipes.md"

_SECTION = re.compile(r"^## (.*)\n", re.M)
_CODE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def recipes() -> Iterator[tuple[str, list[str]]]:
    """Each recipe with its blocks of code."""
    _, *parts = _SECTION.split(PAGE.read_text())
    return ((name, _CODE.findall(text)) for name, text in zip(parts[::2], parts[1::2], strict=True))


class Recipes(SynchronousTestCase):
    def test_each(self) -> None:
        found = [*recipes()]
        names = ["A deadline", "A room", "Presence", "Permissions", "A setting"]
        self.assertEqual([name for name, _ in found], names)
        for name, (service, test) in found:
            module = self.run_code(name, service + test)
            self.assertIsInstance(module.service, Service, name)
            self.assertEqual(self.run_tests(module), [], name)

    def run_code(self, name: str, code: str) -> Any:
        module = ModuleType(f"recipe_{name.replace(' ', '_')}")
        self.patch(sys, "modules", {**sys.modules, module.__name__: module})
        exec(compile(ast.parse(code), name, "exec"), vars(module))
        return module

    def run_tests(self, module: ModuleType) -> list[str]:
        """What fails of its tests."""
        own = [
            each
            for each in vars(module).values()
            if isinstance(each, type) and each.__module__ == module.__name__
            if issubclass(each, TestCase)
        ]
        suite, result = TestSuite(map(defaultTestLoader.loadTestsFromTestCase, own)), TestResult()
        suite.run(result)
        self.assertEqual((len(own), result.testsRun), (1, 1))
        return [text for _, text in (*result.failures, *result.errors)]
