"""Known vulnerabilities make the check fail; data that cannot be reached does not."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.audit import CANARY, KEPT, SILENCE_KEPT, NoAdvisoriesError, main, say

INSTALLED = ["attrs==1.0", "twisted==26.1"]
NOW = 1_000_000.0
UNREACHED = f"not audited: pypi: none on {CANARY}, osv: away; "
NEVER = "no advisories so far\n"


def flawed(requirement: str) -> dict[str, Any]:
    """What a source says of one that has a vulnerability."""
    name, _, version = requirement.partition("==")
    flaw = {
        "id": "PYSEC-0" if requirement == CANARY else "PYSEC-1",
        "fix_versions": ["2.0"],
        "aliases": [],
    }
    return {"name": name, "version": version, "vulns": [flaw]}


def sound(requirement: str) -> dict[str, Any]:
    """What a source says of one that has none."""
    name, _, version = requirement.partition("==")
    return {"name": name.upper(), "version": version, "vulns": []}


class AuditTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.asked: list[tuple[str, str]] = []
        self.sources = {"pypi", "osv"}
        """Those that have data."""
        self.skipped: set[str] = set()
        """Requirements that a source knows nothing of."""
        self.flawed: set[str] = set()

    def audit(self, source: str, requirements: str) -> Any:
        self.asked.append((source, requirements))
        if source not in self.sources:
            if source == "osv":
                raise NoAdvisoriesError("away")
            return {"dependencies": [{"name": "x", "skip_reason": ""}]}
        known = [
            flawed(each) if each in self.flawed | {CANARY} else sound(each)
            for each in requirements.split("\n")
            if each not in self.skipped
        ]
        skipped = [{"name": "x", "skip_reason": "unknown"} for _ in self.skipped]
        return {"dependencies": [*known, *skipped]}

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
        """It says so each time, and what a run of checks says at its end."""
        self.sources = set()
        self.assertEqual(self.check(), (0, UNREACHED + NEVER))
        self.assertEqual(self.check(NOW + SILENCE_KEPT - 1), (0, UNREACHED + NEVER))
        self.assertEqual(self.asked, [])
        self.assertEqual(say(self.folder) + "\n", UNREACHED + NEVER)
        self.sources = {"pypi"}
        self.assertEqual(self.check(NOW + SILENCE_KEPT), (0, ""))
        self.assertEqual(say(self.folder), "audited: advisories of 1970-01-12 by pypi")

    def test_the_day_of_the_last_advisories_is_kept(self) -> None:
        self.check()
        self.sources = set()
        last = "advisories of 1970-01-12 by pypi\n"
        for days in (1, 9):
            self.assertEqual(self.check(NOW + days * KEPT), (0, UNREACHED + last))
        self.sources = {"osv"}
        self.assertEqual(self.check(NOW + 10 * KEPT), (0, ""))
        self.assertEqual(say(self.folder), "audited: advisories of 1970-01-22 by osv")

    def test_packages_that_a_source_does_not_know(self) -> None:
        self.skipped = {"attrs==1.0"}
        told = "not audited: pypi does not know attrs==1.0; advisories of 1970-01-12 by pypi\n"
        self.assertEqual(self.check(), (0, told))
        many = [f"a{number}==1" for number in range(9)]
        self.skipped = {*many}
        told = self.check(installed=many)[1]
        self.assertIn("does not know a0==1, a1==1, a2==1 and 6 more; ", told)

    def test_nobody_has_looked(self) -> None:
        for content in ("{", "[]", "{}"):
            self.assertEqual(say(self.folder), "not audited: nobody has looked")
            (self.folder / "audited.json").write_text(content)

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
