"""How documents, messages and examples say that bbs is installed: as `txbbs`. The `bbs` of the
package index is another project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

ANOTHER = re.compile(
    r"""pip install (?:--\S+ )*['"]?bbs(?![\w.-]|\[[a-z,-]+\] @)[^'"`\s]*"""
    r"""|dependencies = \[(?:[^\]]*, )?"bbs(?![\w-])[^"]*\""""
)
"""What would install the other project: `bbs` by its name alone, with extras and a version or
without, and a dependency on it."""


def texts() -> Iterator[Path]:
    """Everything that tells people what to type."""
    yield CHECKOUT / "README.md"
    for folder, pattern in (
        ("bbs", "*.py"),
        ("deploy", "*.md"),
        ("docs", "*.md"),
        ("examples", "*.md"),
        ("examples", "*.toml"),
    ):
        yield from sorted((CHECKOUT / folder).rglob(pattern))


class Installing(SynchronousTestCase):
    def test_nobody_gets_another_project(self) -> None:
        found = {
            str(path.relative_to(CHECKOUT)): match[0]
            for path in texts()
            for match in ANOTHER.finditer(path.read_text("utf-8"))
        }
        self.assertEqual(found, {})

    def test_what_is_recognised(self) -> None:
        for line in (
            "pip install bbs",
            "pip install bbs examples/lobby",
            "pip install 'bbs[tls]==0.3.0'",
            "pip install --quiet 'bbs[tracing]'",
            'dependencies = ["bbs"]',
            'dependencies = ["peewee >= 4.0", "bbs >= 0.3"]',
        ):
            self.assertTrue(ANOTHER.search(line), line)
        for line in (
            "pip install '.[tls]'",
            "pip install 'txbbs[tls] >= 0.4'",
            "pip install dist/txbbs-*.whl",
            'dependencies = ["txbbs >= 0.4", "bbs-poke"]',
            "pip install 'txbbs[tls] @ https://wheels.example/txbbs-0.4.0-py3-none-any.whl'",
        ):
            self.assertFalse(ANOTHER.search(line), line)
