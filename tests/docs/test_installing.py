"""How documents, messages and examples say that bbs is installed: as `txbbs`. The `bbs` of the
package index is another project."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

PLACES = (".ci", "bbs", "deploy", "docs", "examples", "twisted")

ANOTHER = re.compile(
    r"""(?<![\w.-])bbs\[[a-z,-]+\]"""
    r"""|(?<![\w-])bbs-[0-9*][^\s"'/`]*\.whl"""
    r"""|\bpip (?:install|wheel)\b[^\n`;&|]*? ['"]?bbs(?=['"`\s<>=!~]|$)""",
    re.MULTILINE,
)
"""The distribution `bbs`: with extras, as a wheel, or behind `pip install`."""


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file that people or machines may follow."""
    files = [path for path in CHECKOUT.iterdir() if path.suffix in (".md", ".cfg")]
    files += [CHECKOUT / "Makefile"]
    for place in PLACES:
        files += [path for path in (CHECKOUT / place).rglob("*") if path.is_file()]
    for path in sorted(files):
        try:
            yield path, path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


class Installing(SynchronousTestCase):
    def test_nobody_gets_another_project(self) -> None:
        found = {
            str(path.relative_to(CHECKOUT)): match[0]
            for path, text in texts()
            for match in ANOTHER.finditer(text)
        }
        self.assertEqual(found, {})

    def test_examples_need_this_one(self) -> None:
        for path in (CHECKOUT / "examples").glob("*/pyproject.toml"):
            project = tomllib.loads(path.read_text("utf-8"))["project"]
            self.assertIn("txbbs >= 0.4", project["dependencies"], path)

    def test_what_is_found(self) -> None:
        for line in (
            "pip install bbs",
            "pip install -q bbs examples/lobby",
            "pip install 'bbs[tls]==0.3.0'",
            "pip install . 'bbs >= 0.3'",
            "pip install dist/bbs-*.whl",
            "deploy/image/bundle.sh dist/bbs-0.4.0-py3-none-any.whl bbs-image.tar.gz",
            'package = "--index-url https://pypi.example/simple bbs[tls]==0.1.0"',
        ):
            self.assertTrue(ANOTHER.search(line), line)
        for line in (
            "pip install '.[tls]'",
            "pip install 'txbbs[tls] >= 0.4'",
            "pip install dist/txbbs-*.whl",
            "pip install --no-index --find-links wheels bbs-poll",
            "deploy/image/bundle.sh dist/txbbs-*.whl bbs-image.tar.gz",
        ):
            self.assertFalse(ANOTHER.search(line), line)
