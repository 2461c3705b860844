"""Two days of three people are as `docs/screens/two-days-*.txt` shows them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.tmux import TMUX
from tests.paths import CHECKOUT

SCREENS = CHECKOUT / "docs/screens"

_TIMES = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|\b\d\d:\d\d\b|\b[A-Z][a-z]+day \d+ [A-Z][a-z]+ \d{4}\b"
)


def windows(text: str) -> list[list[str]]:
    """The lines of each window, whenever it was. They are sorted, as an event may come before the
    reply to what brought it about, or behind it."""
    parts = re.split(r"^(?=── .* ──$)", _TIMES.sub("TIME", text), flags=re.M)
    return [sorted(part.splitlines()) for part in parts]


class TwoDays(TestCase):
    timeout = 240

    if TMUX is None:
        skip = "tmux is not installed"

    async def test_screens(self) -> None:
        made = Path(self.mktemp())
        argv = ("-m", "tests.screens.days", str(made.absolute()))
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        _, err, code = await getProcessOutputAndValue(
            sys.executable, argv, env=environ, path=str(CHECKOUT)
        )
        self.assertEqual(code, 0, err.decode())
        files = sorted(SCREENS.glob("two-days-*.txt"))
        self.assertEqual([each.name for each in files], sorted(os.listdir(made)))
        for file in files:
            shown = windows((made / file.name).read_text())
            self.assertEqual(shown, windows(file.read_text()), file.name)
