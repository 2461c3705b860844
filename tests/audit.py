"""Whether what is installed has known vulnerabilities, by pip-audit: part of `make lint`.

    python tests/audit.py FOLDER

What is found is kept in FOLDER for a day, as `make check` is run before every commit, and is looked
for anew when other versions are installed. Where the data cannot be reached nothing is found, which
one line says, and the check goes on: it is for machines without a network too.

pip-audit says "no known vulnerabilities" also where a mirror of PyPI has no such data. So it is
first asked about a release that is known to have some, and believed only if it finds them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

CANARY = "twisted==22.2.0"
"""A release with vulnerabilities that every source has (PYSEC-2022-195 is the first)."""

SOURCES = ("pypi", "osv")
"""What pip-audit can ask, in the order in which it is asked."""

ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that concern nothing here, by id, each with the reason."""

KEPT, SILENCE_KEPT = 86400.0, 3600.0
"""Seconds for which what was found is kept, and that nothing could be found."""

PATIENCE = 120.0
"""Seconds that a source has for its answer."""

OURS = "txbbs"

Audit = Callable[[str, str], Any]
"""What a source says of requirements: pip-audit's JSON; None if it cannot be had."""


def main(
    folder: Path,
    audit: Audit,
    installed: Sequence[str],
    now: float,
    accepted: Collection[str] = ACCEPTED,
) -> int:
    """Say what is known of `installed` but for what is `accepted`; returns the exit code, 1 where
    something is."""
    kept = folder / "audited.json"
    found = _kept(kept, installed, now)
    if found is None:
        found = look(audit, installed, accepted)
        kept.write_text(json.dumps({"at": now, "installed": [*installed], "found": found}))
    if found["source"] is None:
        print("known vulnerabilities were not looked for: their data cannot be reached")
    for line in found["vulnerable"]:
        print(line)
    return 1 if found["vulnerable"] else 0


def look(audit: Audit, installed: Sequence[str], accepted: Collection[str]) -> dict[str, Any]:
    """What the first source says that can be reached, and which that was."""
    for source in SOURCES:
        if not _vulnerable(audit(source, CANARY), ()):
            continue
        answer = audit(source, "\n".join(installed))
        if answer is not None:
            return {"source": source, "vulnerable": _vulnerable(answer, accepted)}
    return {"source": None, "vulnerable": []}


def pip_audit(source: str, requirements: str) -> Any:
    """`Audit`, by pip-audit."""
    argv = [sys.executable, "-m", "pip_audit", "--vulnerability-service", source]
    argv += ["--requirement", "/dev/stdin", "--no-deps", "--disable-pip", "--format", "json"]
    argv += ["--progress-spinner", "off"]
    try:
        done = subprocess.run(
            argv, input=requirements, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # It ends with a traceback, and no JSON.
        return None


def all_installed() -> list[str]:
    """The distributions of this environment, but for this project's own."""
    found = {each.metadata["Name"]: each.version for each in distributions()}
    return sorted(f"{name}=={version}" for name, version in found.items() if name != OURS)


def _vulnerable(answer: Any, accepted: Collection[str]) -> list[str]:
    return [
        f"{each['name']} {each['version']}: {flaw['id']}, fixed in "
        f"{', '.join(flaw['fix_versions']) or 'no release yet'}"
        for each in (answer or {}).get("dependencies", [])
        for flaw in each.get("vulns", [])
        if flaw["id"] not in accepted
    ]


def _kept(kept: Path, installed: Sequence[str], now: float) -> dict[str, Any] | None:
    try:
        last = json.loads(kept.read_text())
    except (OSError, ValueError):
        return None
    found: dict[str, Any] = last["found"]
    longest = KEPT if found["source"] else SILENCE_KEPT
    fresh = 0 <= now - last["at"] < longest and last["installed"] == [*installed]
    return found if fresh and not found["vulnerable"] else None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), pip_audit, all_installed(), time.time()))
