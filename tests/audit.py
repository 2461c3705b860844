"""Whether what is installed has known vulnerabilities, by pip-audit: part of `make lint`.

    python tests/audit.py FOLDER        # look, or say again what was found
    python tests/audit.py --say FOLDER  # one line, whether and when it could be looked

What is found is kept in FOLDER for a day, as `make check` is run before every commit, and is looked
for anew when other versions are installed. Where the data cannot be reached the check goes on, as
it is for machines without a network too. Then one line says "not audited", why, and of which day
the last advisories were; `make check` and CI say it with their results.

pip-audit says "no known vulnerabilities" also where a mirror of PyPI has no such data, and of every
package that a source does not know. So it is first asked about a release that is known to have
some, and believed only if it finds them; and each package has to be in its answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

CANARY = "twisted==22.2.0"
"""A release with vulnerabilities that every source has (PYSEC-2022-195 is the first)."""

SOURCES = ("pypi", "osv")
"""What pip-audit can ask, in the order in which it is asked."""

ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that concern nothing here, by id, each with the reason."""

KEPT_IN = "audited.json"

KEPT, SILENCE_KEPT = 86400.0, 3600.0
"""Seconds for which what was found is kept, and that nothing could be found."""

PATIENCE = 120.0
"""Seconds that a source has for its answer."""

OURS = "txbbs"

Found = dict[str, Any]
"""What is kept: `at` this time, for the versions `installed`, `vulnerable` has a line for each flaw
and `unaudited` says why nobody knows of more, "" if somebody does. `last` is the time of the latest
advisories that were had, and their source; None if there were none."""


class NoAdvisoriesError(Exception):
    """A source has none, for the reason in the text."""


Audit = Callable[[str, str], Any]
"""What a source says of requirements: pip-audit's JSON. NoAdvisoriesError if it cannot be had."""


def main(
    folder: Path,
    audit: Audit,
    installed: Sequence[str],
    now: float,
    accepted: Collection[str] = ACCEPTED,
) -> int:
    """Say what is known of `installed` but for what is `accepted`; returns the exit code, 1 where
    something is."""
    before = _read(folder)
    if before is not None and _is_fresh(before, installed, now):
        found = before
    else:
        last = before["last"] if before is not None else None
        found = look(audit, installed, now, accepted, last)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / KEPT_IN).write_text(json.dumps(found))
    for line in found["vulnerable"]:
        print(line)
    if found["unaudited"]:
        print(_verdict(found))
    return 1 if found["vulnerable"] else 0


def say(folder: Path) -> str:
    """Say in one line whether the last look found advisories, and the day of the latest."""
    found = _read(folder)
    return _verdict(found) if found is not None else "not audited: nobody has looked"


def _verdict(found: Found) -> str:
    data = "no advisories so far"
    if found["last"] is not None:
        at, source = found["last"]
        data = f"advisories of {datetime.fromtimestamp(at, UTC):%Y-%m-%d} by {source}"
    return (
        f"not audited: {found['unaudited']}; {data}" if found["unaudited"] else f"audited: {data}"
    )


def look(
    audit: Audit, installed: Sequence[str], now: float, accepted: Collection[str], last: Any
) -> Found:
    """Find what the first source says that has advisories."""
    found: Found = {"at": now, "installed": [*installed], "vulnerable": [], "last": last}
    reasons = []
    for source in SOURCES:
        try:
            if not _vulnerable(audit(source, CANARY), ()):
                raise NoAdvisoriesError(f"none on {CANARY}")
            answer = audit(source, "\n".join(installed))
        except NoAdvisoriesError as error:
            reasons.append(f"{source}: {error}")
            continue
        found |= {"vulnerable": _vulnerable(answer, accepted), "last": [now, source]}
        unknown = _unknown(answer, installed)
        return {**found, "unaudited": f"{source} does not know {unknown}" if unknown else ""}
    return {**found, "unaudited": ", ".join(reasons)}


def pip_audit(source: str, requirements: str) -> Any:
    """`Audit`, by pip-audit."""
    argv = [sys.executable, "-m", "pip_audit", "--vulnerability-service", source]
    argv += ["--requirement", "/dev/stdin", "--no-deps", "--disable-pip", "--format", "json"]
    argv += ["--progress-spinner", "off"]
    try:
        done = subprocess.run(
            argv, input=requirements, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoAdvisoriesError(f"no answer within {PATIENCE:g} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:  # It ends with a traceback, and no JSON.
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise NoAdvisoriesError(textwrap.shorten(reason, 80, placeholder=" …")) from None


def all_installed() -> list[str]:
    """The distributions of this environment, but for this project's own."""
    found = {each.metadata["Name"]: each.version for each in distributions()}
    return sorted(f"{name}=={version}" for name, version in found.items() if name != OURS)


def _vulnerable(answer: Any, accepted: Collection[str]) -> list[str]:
    return [
        f"{each['name']} {each['version']}: {flaw['id']}, fixed in "
        f"{', '.join(flaw['fix_versions']) or 'no release yet'}"
        for each in answer["dependencies"]
        for flaw in each.get("vulns", [])
        if flaw["id"] not in accepted
    ]


def _unknown(answer: Any, installed: Sequence[str]) -> str:
    """Some of the packages that a source says nothing about."""
    known = {_name(each["name"]) for each in answer["dependencies"] if "vulns" in each}
    unknown = [each for each in installed if _name(each.partition("==")[0]) not in known]
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    return ", ".join(unknown[:3]) + more


def _name(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()  # As PyPI compares them (PEP 503).


def _read(folder: Path) -> Found | None:
    try:
        found = json.loads((folder / KEPT_IN).read_text())
    except (OSError, ValueError):
        return None
    # A version of before kept it in another way.
    return found if isinstance(found, dict) and "unaudited" in found else None


def _is_fresh(found: Found, installed: Sequence[str], now: float) -> bool:
    longest = SILENCE_KEPT if found["unaudited"] else KEPT
    is_young = 0 <= now - found["at"] < longest
    return is_young and found["installed"] == [*installed] and not found["vulnerable"]


if __name__ == "__main__":
    if sys.argv[1] == "--say":
        print(say(Path(sys.argv[2])))
    else:
        sys.exit(main(Path(sys.argv[1]), pip_audit, all_installed(), time.time()))
