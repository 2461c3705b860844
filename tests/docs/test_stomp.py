"""The example of `docs/stomp.md` runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT


class Example(SynchronousTestCase):
    def test_it_prints_what_the_page_says(self) -> None:
        page = (CHECKOUT / "docs" / "stomp.md").read_text()
        example = page.split("```python\n")[1].split("```")[0]
        ended = subprocess.run(
            [sys.executable, "-c", example],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((ended.stdout, ended.stderr, ended.returncode), ("b'hello'\n", "", 0))
        self.assertIn(f"This program prints `{ended.stdout.strip()}`.", page)
