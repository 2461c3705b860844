"""What the examples are: short, and written with public names alone."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.examples import EXAMPLES, examples

LINES = {"lobby": 230, "poll": 90, "popen_provider": 220}
"""Lines of Python that each example may have, without its tests."""

PUBLIC = {
    *("bbs.board", "bbs.client", "bbs.framework", "bbs.framework.fast"),
    *("bbs.operators", "bbs.providers", "bbs.testing"),
}
"""What examples import of bbs; `bbs.testing` only in their tests."""


class Sources(SynchronousTestCase):
    def test_there_are_examples(self) -> None:
        self.assertLessEqual({"lobby", "poll"}, {each.name for each in examples()})

    def test_as_short_as_promised(self) -> None:
        for example in examples():
            files = (example / "src").rglob("*.py")
            lines = sum(len(each.read_text().splitlines()) for each in files)
            self.assertLessEqual(lines, LINES[example.name], example.name)

    def test_on_public_names_alone(self) -> None:
        for file in EXAMPLES.rglob("*.py"):
            found = r"^\s*(?:from|import) (bbs(?:\.[\w.]+)?)\s"
            imported = re.findall(found, file.read_text(), re.M)
            allowed = PUBLIC if file.name.startswith("test_") else PUBLIC - {"bbs.testing"}
            self.assertLessEqual(set(imported), allowed, file)
