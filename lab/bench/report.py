"""The tables on a terminal, in docs/benchmarks.md and in results.md, between their marks."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from lab.bench import compare
from lab.bench.figures import Figures, ratio
from lab.bench.goals import CONNECTIONS, Check
from lab.bench.logins import Storms
from lab.bench.many import Both
from lab.bench.processes import Failed
from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "benchmarks.md"
RESULTS = Path(__file__).with_name("results.md")

WORSE = 0.1
"""A run tells of a figure that is worse by more than this share than the table of goals says."""

Row = Sequence[str]


def machine() -> str:
    """What this runs on, and how much else it does."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{os.cpu_count()} cores ({model}), {pages / 2**30:.0f} GiB,"
        f" Python {sys.version.split()[0]}, load average {os.getloadavg()[0]:.1f}"
    )


def stamp(machine: str, *drivers: str) -> str:
    """What figures were measured on, and of what, with these drivers of MariaDB."""
    return "; ".join((machine, f"commit {compare.describe('HEAD')}", *drivers))


def number(value: float) -> str:
    """With three digits that count, or all before the point."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:.{min(decimals, 4)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


COMMANDS: Row = (
    "command",
    "connections",
    "a second",
    "p50 ms",
    "p99 ms",
    "worst",
    "of echo",
    "worst",
    "CPU µs",
    "MariaDB's µs",
    "× echo",
    "worst",
    "refused",
)


def command_row(figures: Figures) -> Row:
    """One command over so many connections."""
    return (
        figures.command,
        f"{figures.connections}{', one a command' if figures.fresh else ''}",
        number(figures.middle("rate")),
        number(figures.middle("p50")),
        number(figures.middle("p99")),
        number(figures.worst("p99")),
        number(figures.middle("share")),
        number(figures.worst("share")),
        number(figures.middle("cpu")),
        number(figures.middle("database")),
        number(figures.middle("cpu_ratio")),
        number(figures.worst("cpu_ratio")),
        str(figures.refused),
    )


COMPARED: Row = (
    "command",
    "connections",
    "this: µs",
    "× echo",
    "a second",
    "p99 ms",
    "that: µs",
    "× echo",
    "a second",
    "p99 ms",
    "µs, this ÷ that",
    "rate, this ÷ that",
    "refused, this and that",
)


def compared_row(this: Figures, that: Figures) -> Row:
    """The same of two commits; what they are to each other is the median of the rounds' ratios."""
    both = [*zip(this.rounds, that.rounds, strict=True)]
    own = [
        number(figures.middle(name))
        for figures in (this, that)
        for name in ("cpu", "cpu_ratio", "rate", "p99")
    ]
    return (
        *command_row(this)[:2],
        *own,
        number(median(ratio(one.cpu, other.cpu) for one, other in both)),
        number(median(ratio(one.rate, other.rate) for one, other in both)),
        f"{this.refused}, {that.refused}",
    )


HASHED: Row = (
    "command",
    "connections",
    "a second",
    "hashes a second",
    "of hashing",
    "worst",
    "CPU µs",
    "the hash's",
    "× the hash",
    "worst",
)


def hashed_row(service: str, figures: Figures) -> Row:
    """A command that hashes a password, beside the hash alone."""
    hashes = [each.hash for each in figures.rounds if each.hash]
    return (
        f"{service}: {figures.command}",
        command_row(figures)[1],
        number(figures.middle("rate")),
        number(median(each.rate for each in hashes)),
        number(figures.middle("of_hashing")),
        number(figures.worst("of_hashing")),
        number(figures.middle("cpu")),
        number(median(each.cpu for each in hashes)),
        number(figures.middle("over_hash")),
        number(figures.worst("over_hash")),
    )


STORMS: Row = (
    "service",
    "alone: p50 ms",
    "p99 ms",
    "while 100 log in: p50 ms",
    "p99 ms",
    "p99, × alone",
    "worst",
    "logins a second",
)


def storm_row(service: str, storms: Storms) -> Row:
    """Somebody who asks while a hundred log in."""
    names = ("alone", "alone_p99", "during", "during_p99", "ratio")
    return (
        service,
        *(number(storms.middle(name)) for name in names),
        number(max(each.ratio for each in storms.rounds)),
        number(storms.middle("logins")),
    )


MANY: Row = (
    "command",
    "connections",
    "one server: a second",
    "several: a second",
    "of one's",
    "worst",
    "p50 ms",
    "p99 ms",
    "worst",
    "longest ms",
    "refused",
)


def many_row(both: Both) -> Row:
    """Several app servers, and one."""
    return (
        both.command,
        str(both.connections),
        number(median(each.rate for each in both.one)),
        number(both.middle("rate")),
        number(median(both.shares)),
        number(min(both.shares)),
        number(both.middle("p50")),
        number(both.middle("p99")),
        number(both.worst("p99")),
        number(both.worst("most")),
        str(both.refused),
    )


def goal_rows(checks: Mapping[str, Iterable[Check]]) -> tuple[Row, list[Row]]:
    """The goals, with a column group for each service; what misses its goal is bold."""
    heading = ["what", "figure"]
    rows: dict[tuple[str, str], list[str]] = {}
    for place, (service, found) in enumerate(checks.items()):
        heading += [f"{service}: goal", "reached", "worst round"]
        for each in found:
            row = rows.setdefault((each.what, each.figure), [])
            row += [""] * (3 * place - len(row))
            sign = "" if each.goal == 0 else "≥ " if each.at_least else "≤ "
            row.append(sign + number(each.goal))
            row += [
                number(value) if each.holds(value) else f"**{number(value)}**"
                for value in (each.reached, each.worst)
            ]
    width = len(heading) - 2
    return heading, [(*what, *row, *[""] * (width - len(row))) for what, row in rows.items()]


def reached(page: Path = RESULTS) -> Mapping[tuple[str, str, str], float]:
    """The figures that the table of goals on `page` says were reached, by service, what is measured
    and the figure's name."""
    found: dict[tuple[str, str, str], float] = {}
    table = _table("goals").search(page.read_text())
    lines = re.findall(r"^\|(.*)\|$", table[0] if table else "", re.MULTILINE)
    rows = [[cell.strip(" *") for cell in line.split("|")] for line in lines]
    for row in rows[2:]:
        for place in range(2, len(row), 3):
            with contextlib.suppress(ValueError):  # Not every service has all goals.
                service = rows[0][place].removesuffix(": goal")
                found[service, row[0], row[1]] = float(row[place + 1])
    return found


def worsened(
    checks: Mapping[str, Iterable[Check]], before: Mapping[tuple[str, str, str], float]
) -> Iterator[str]:
    """Say of each figure of a goal that is worse by more than `WORSE` than it was `before`."""
    for service, found in checks.items():
        for each in found:
            was = before.get((service, each.what, each.figure))
            if was is None:
                continue
            worse = was * (1 - WORSE) if each.at_least else was * (1 + WORSE)
            if (each.reached < worse) if each.at_least else (each.reached > worse):
                change = f" ({100 * (each.reached / was - 1):+.0f} %)" if was else ""
                yield (
                    f"{each.what} on {service}: {number(each.reached)} {each.figure},"
                    f" {number(was)} in {RESULTS.name}{change}"
                )


def summary_rows(figures: Mapping[str, Iterable[Figures]]) -> tuple[Row, list[Row]]:
    """The main figures of each command over `CONNECTIONS` that stay, for each service."""
    heading = ["command"]
    rows: dict[str, list[str]] = {}
    for service, found in figures.items():
        heading += [f"{service}: a second", "p50 ms", "p99 ms", "CPU µs"]
        for each in found:
            if each.connections == CONNECTIONS and not each.fresh:
                own = [number(each.middle(name)) for name in ("rate", "p50", "p99", "cpu")]
                rows.setdefault(each.command, []).extend(own)
    return heading, [(command, *row) for command, row in rows.items()]


def markdown(heading: Row, rows: Iterable[Row]) -> str:
    """A table; columns of numbers are to the right."""
    marks = ["---" if place == 0 else "---:" for place in range(len(heading))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, marks, *rows))


def columns(heading: Row) -> str:
    """The heading of the same table on a terminal."""
    return aligned(heading, heading)


def aligned(heading: Row, row: Row) -> str:
    """A row of it."""
    first, second, *rest = (max(len(word), 7) for word in heading)
    widths = (max(first, 20), max(second, 18), *rest)
    words = [f"{word:>{width}}" for word, width in zip(row, widths, strict=True)]
    return "  ".join([f"{row[0]:<{widths[0]}}", *words[1:]])


def write(tables: Mapping[str, str], pages: Sequence[Path] = (PAGE, RESULTS)) -> None:
    """Put each of `tables` between the marks of its name, in the page that has them.

    :raises Failed: no page has such marks, or they are there twice.
    """
    texts = {page: page.read_text() for page in pages}
    for name, table in tables.items():
        marks = _table(name)
        found = [page for page, text in texts.items() for _ in marks.finditer(text)]
        if len(found) != 1:
            raise Failed(f"the table {name} has {len(found)} places in {[*map(str, pages)]}")
        between = f"\n{table}\n\n"
        texts[found[0]] = marks.sub(
            lambda mark, between=between: f"{mark[1]}{between}{mark[2]}",  # type: ignore[misc]
            texts[found[0]],
        )
    for page, text in texts.items():
        page.write_text(text)


def _table(name: str) -> re.Pattern[str]:
    """Finds the table of that name in the text of a page, with its marks."""
    return re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(^<!-- end -->$)", re.DOTALL | re.MULTILINE
    )
