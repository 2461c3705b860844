"""Known vulnerabilities make the check fail; data that cannot be reached does not."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.audit import CANARY, KEPT, SILENCE_KEPT, main

INSTALLED = ["attrs==1.0", "twisted==26.1"]
NOW = 1_000_000.0
UNREACHED = "known vulnerabilities were not looked for: their data cannot be reached\n"


def flawed(requirement: str) -> dict[str, Any]:
    """What a source says of one that has a vulnerability."""
    name, _, version = requirement.partition("==")
    flaw = {
        "id": "PYSEC-0" if requirement == CANARY else "PYSEC-1",
        "fix_versions": ["2.0"],
        "aliases": [],
    }
    return {"name": name, "version": version, "vulns": [flaw]}


class AuditTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.asked: list[tuple[str, str]] = []
        self.sources = {"pypi", "osv"}
        """Those that have data."""
        self.flawed: set[str] = set()

    def audit(self, source: str, requirements: str) -> Any:
        self.asked.append((source, requirements))
        if source not in self.sources:
            return None if source == "osv" else {"dependencies": [{"name": "x", "skip_reason": ""}]}
        known = [
            flawed(each) if each in self.flawed | {CANARY} else {"name": each, "vulns": []}
            for each in requirements.split("\n")
        ]
        return {"dependencies": known}

    def check(
        self,
        now: float = NOW,
        installed: list[str] = INSTALLED,
        accepted: Collection[str] = (),
    ) -> tuple[int, str]:
        """Its exit code, and what it says."""
        self.asked.clear()
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = main(self.folder, self.audit, installed, now, accepted)
        return code, output.getvalue()

    def test_nothing_is_known(self) -> None:
        self.assertEqual(self.check(), (0, ""))
        self.assertEqual(self.asked, [("pypi", CANARY), ("pypi", "\n".join(INSTALLED))])

    def test_something_is_and_stays_so_until_it_is_mended(self) -> None:
        self.flawed = {"attrs==1.0"}
        for _ in range(2):
            self.assertEqual(self.check(), (1, "attrs 1.0: PYSEC-1, fixed in 2.0\n"))
        self.assertEqual(self.check(installed=["attrs==2.0"]), (0, ""))

    def test_one_that_concerns_nothing_here(self) -> None:
        self.flawed = {"attrs==1.0"}
        self.assertEqual(self.check(accepted={"PYSEC-1": "why"}), (0, ""))

    def test_a_mirror_without_the_data_is_not_believed(self) -> None:
        self.sources = {"osv"}
        self.flawed = {"attrs==1.0"}
        self.assertEqual(self.check()[0], 1)

    def test_where_none_is_reached_the_check_goes_on(self) -> None:
        self.sources = set()
        self.assertEqual(self.check(), (0, UNREACHED))
        self.assertEqual(self.check(NOW + SILENCE_KEPT - 1), (0, UNREACHED))
        self.assertEqual(self.asked, [])
        self.sources = {"pypi"}
        self.assertEqual(self.check(NOW + SILENCE_KEPT), (0, ""))

    def test_it_asks_once_a_day(self) -> None:
        self.check()
        self.assertEqual(self.check(NOW + KEPT - 1), (0, ""))
        self.assertEqual(self.asked, [])
        for now in (NOW + KEPT, NOW):  # A clock that is set back is not believed either.
            self.check(now)
            self.assertEqual(len(self.asked), 2)

    def test_it_asks_when_something_else_is_installed(self) -> None:
        self.check()
        self.check(installed=["attrs==1.1"])
        self.assertEqual(len(self.asked), 2)

    def test_half_a_file_is_none(self) -> None:
        (self.folder / "audited.json").write_text("{")
        self.assertEqual(self.check(), (0, ""))
