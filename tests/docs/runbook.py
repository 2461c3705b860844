"""The runbook as a machine follows it: `docs/runbook.md`, section by section.

A `console` block has commands behind a prompt, and what they print: `$ ` is the machine that the
section is about, `new$ ` the one that takes its place. What is indented by `> ` goes on. A `toml`
block is the file that the line before it names. Every other block is one that no test runs: the
line before it says so, by `NOT_RUN`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.paths import CHECKOUT

RUNBOOK = CHECKOUT / "docs/runbook.md"

NOT_RUN = "**Not run by the tests**"
"""How the line begins that stands before what no test runs."""

ANYTHING = "…"
"""In what is printed: any lines, also none, or the rest of one."""

_BLOCK = re.compile(r"(?P<head>[^\n]*)\n\n```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.S | re.M)
_PROMPT = re.compile(r"^(?P<where>[\w-]*)\$ (?P<command>.*(?:\n> .*)*)\n", re.M)
_FILE = re.compile(r".*`(?P<path>/[^`]+)`:")

_SAME = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)|\d\d:\d\d UTC"), "TIME"),
    (re.compile(r"\bi-[0-9a-f]{17}\b"), "INSTANCE"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "ID"),
    (re.compile(r"\b\d+(?:\.\d+){3}\b"), "ADDRESS"),
    (re.compile(r"\b\d[\d,]*(?:\.\d+)?(?=\b|[a-z])"), "NUMBER"),
    (re.compile(r"\b(server|session)s\b"), r"\1"),
    (re.compile(r"\bpeople\b"), "person"),
    (re.compile(r"[ \t]+"), " "),
)
"""What is never the same twice, and what stands for it."""


@dataclass(frozen=True)
class Command:
    """One command: on which machine (`""` or `new`), and what it prints."""

    where: str
    text: str
    printed: str


@dataclass(frozen=True)
class Block:
    """One block: its section, the line before it, its language and its text."""

    section: str
    head: str
    kind: str
    text: str

    @property
    def is_run(self) -> bool:
        """Whether a test has to run it."""
        return not self.head.startswith(NOT_RUN)

    @property
    def file(self) -> str:
        """The path of the file that it is, `""` for none."""
        found = _FILE.fullmatch(self.head)
        return found["path"] if found and self.kind == "toml" else ""

    def commands(self) -> Iterator[Command]:
        """The commands of a console, with what each prints."""
        found = [*_PROMPT.finditer(self.text)]
        ends = [match.start() for match in found[1:]] + [len(self.text)]
        for match, end in zip(found, ends, strict=True):
            text = match["command"].replace("\n> ", "\n")
            yield Command(match["where"], text, self.text[match.end() : end])


def blocks(text: str) -> list[Block]:
    """The blocks of a document, in their order."""
    found = []
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        section, _, rest = part.partition("\n")
        found += [Block(section, **match.groupdict()) for match in _BLOCK.finditer(rest)]
    return found


def shape(text: str) -> list[str]:
    """What is printed, line by line, without what is never the same."""
    for pattern, usual in _SAME:
        text = pattern.sub(usual, text)
    return [line.rstrip() for line in text.splitlines()]


def fits(said: str, printed: str) -> bool:
    """Whether what a command `said` has the shape of what the document says that it prints."""
    pattern = "".join(r"(?:.*\n)*" if line == ANYTHING else _line(line) for line in shape(printed))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in shape(said))) is not None


def _line(line: str) -> str:
    return re.escape(line).replace(re.escape(ANYTHING), ".*") + r"\n"
