"""What documents and messages say of how bbs is installed: the `bbs` of PyPI is somebody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

FROM_AN_INDEX = re.compile(r"pip install(?: --\S+)* ['\"]?bbs(?![\w.-]|\[[a-z,-]+\] @)[^'\"`\s]*")
"""`pip install` with bbs by its name alone, with extras and a version or without."""

FORBIDDEN = "`pip install bbs` gets you that"
"""The one place that says what one gets."""


def texts() -> Iterator[Path]:
    """Everything that tells people what to type."""
    yield CHECKOUT / "README.md"
    for folder, pattern in (
        ("bbs", "*.py"),
        ("deploy", "*.md"),
        ("docs", "*.md"),
        ("examples", "*.md"),
    ):
        yield from sorted((CHECKOUT / folder).rglob(pattern))


class Installing(SynchronousTestCase):
    def test_nobody_is_sent_to_an_index(self) -> None:
        found = {
            str(path.relative_to(CHECKOUT)): match[0]
            for path in texts()
            for match in FROM_AN_INDEX.finditer(path.read_text("utf-8").replace(FORBIDDEN, ""))
        }
        self.assertEqual(found, {})

    def test_what_is_recognised(self) -> None:
        for line in (
            "pip install bbs",
            "pip install bbs examples/lobby",
            "pip install 'bbs[tls]==0.3.0'",
            "pip install --quiet 'bbs[tracing]'",
        ):
            self.assertTrue(FROM_AN_INDEX.search(line), line)
        for line in (
            "pip install '.[tls]'",
            "pip install dist/bbs-*.whl",
            "pip install 'bbs[tls] @ https://wheels.example/bbs-0.3.0-py3-none-any.whl'",
        ):
            self.assertFalse(FROM_AN_INDEX.search(line), line)
