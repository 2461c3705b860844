"""No provider is known by its name outside of its own package."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

EC2 = re.compile(r"\bec2\b|EC2")

KNOWN = {
    "bbs/config/__init__.py": "the section",
    "bbs/config/sections.py": "the section is always there, as its region is that of secrets",
    "bbs/config/references.py": "the region of secrets",
}
"""The files that may name EC2, and what for."""


def naming(checkout: Path) -> set[str]:
    files = (each for each in (checkout / "bbs").rglob("*") if each.suffix in (".py", ".sh"))
    outside = (each for each in files if "ec2" not in each.parts and "templates" not in each.parts)
    found = (each for each in outside if EC2.search(each.read_text("utf-8")))
    return {str(each.relative_to(checkout)) for each in found}


class Names(SynchronousTestCase):
    def test_ec2(self) -> None:
        self.assertEqual(naming(CHECKOUT), {*KNOWN})

    def test_what_is_found(self) -> None:
        checkout = Path(self.mktemp())
        for path, text in (
            *(("bbs/a.py", 'used == "ec2"'), ("bbs/b.py", "Spec2"), ("bbs/c.sh", "# on EC2")),
            *(("bbs/scaling/ec2/d.py", "EC2"), ("bbs/d.md", "EC2")),
        ):
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_text(text)
        self.assertEqual(naming(checkout), {"bbs/a.py", "bbs/c.sh"})
