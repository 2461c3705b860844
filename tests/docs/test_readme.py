"""The README's conversation is what a script of `bbs client` prints, and its picture is there."""

from __future__ import annotations

import re

from tests.paths import CHECKOUT
from tests.ui.test_script import ScriptTestCase

README = CHECKOUT / "README.md"


class Readme(ScriptTestCase):
    def test_the_conversation(self) -> None:
        (block,) = re.findall(r"```\n(register .*?)```", README.read_text(), re.S)
        lines = block.splitlines()
        printed = [line for line in lines if line.startswith(("Success!", "<<<"))]
        typed = [line for line in lines if line not in printed]
        # A message may come before the reply to `send`, or after it.
        self.assertCountEqual(self.type(*typed), printed)

    def test_the_picture(self) -> None:
        ((alternative, path),) = re.findall(r"^!\[(.*)\]\((.*)\)$", README.read_text(), re.M)
        picture = (CHECKOUT / path).read_text()
        for name in ("ann", "bob", "carol", "chess"):
            self.assertIn(name, alternative)
            self.assertIn(name, picture)
