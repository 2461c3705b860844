"""Writes the table of the board's commands in `docs/protocol.md`.

    python -m tests.docs.protocol

It has what each command declares: its usage, what it does and answers, and what it refuses.
`tests/docs/test_protocol.py` fails when the page is an older one.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from string import Formatter
from typing import Any

from bbs.board import board
from bbs.framework import Command, Refusal
from bbs.protocols.reply_types import Form, members, parse, records
from tests.docs.tables import table, with_tables
from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs/protocol.md"
PROGRAM = "python -m tests.docs.protocol"

WORDS = {str: "text", int: "number", float: "number", bool: "true or false", type(None): "null"}


def page(written: str) -> str:
    """The page with new tables."""
    declared = [command for commands in board.commands for command in commands]
    inner: dict[type, None] = {}
    for command in declared:
        for record in records(command.reply) if command.reply else ():
            if record is not command.reply:
                inner[record] = None
    tables = {
        "commands": table(
            ("usage", "what it does, and its success", "what it refuses, in order"),
            [(f"`{each.usage}`", _answer(each), _refusals(each)) for each in declared],
        ),
        "records": table(
            ("entry", "members", "meaning"),
            [(each.__name__, f"`{_members(each)}`", _meaning(each)) for each in inner],
        ),
    }
    return with_tables(written, tables, PROGRAM)


def _answer(command: Command) -> str:
    words = [command.help, "" if command.listed else "Not in `help`.", "`Success!`"]
    record: Any = command.reply
    if record is not None:
        answer = ", ".join(f"`{each.name}`: {shape(each.kind)}" for each in members(record))
        words[2] = f"{answer}. {_meaning(record)}"
    return " ".join(filter(None, words))


def _meaning(record: type) -> str:
    return " ".join(cleandoc(record.__doc__ or "").split())


def _members(record: type) -> str:
    """A member with `?` may be missing."""
    inner = [
        f'"{each.name}"{"" if each.needed else "?"}: {shape(each.kind)}' for each in members(record)
    ]
    return f"{{{', '.join(inner)}}}"


def shape(kind: Any) -> str:
    """The JSON of a type, in words."""
    form, parts = parse(kind)
    match form:
        case Form.RECORD:
            return str(kind.__name__)
        case Form.LIST | Form.TUPLE:
            return f"[{shape(parts[0])}, …]"
        case Form.UNION:
            return " or ".join(dict.fromkeys(shape(each) for each in parts))
        case Form.MAPPING:
            return f"{{text: {shape(parts[0])}, …}}"
        case Form.PLAIN:
            return WORDS[kind or type(None)]
    return "any JSON"


def _refusals(command: Command) -> str:
    return (
        "; ".join(
            f"`{_text(refusal, command)}` ({refusal.code})" for refusal in command.refuses or ()
        )
        or "—"
    )


def _text(refusal: type[Refusal], command: Command) -> str:
    """The text, with the parameters that it is about: those that people read of; "…" where it is
    about something else."""
    words = command.failures.get(refusal, refusal.shown)
    about = [f"<{name or command.parameters[0]}>" for name in _fields(words)]
    # A text is about people and groups: about the author of a post, and not the number.
    about = ["…" if each == "<post>" else each for each in about]
    return refusal.text.format(*about, "…")


def _fields(text: str) -> Iterator[str]:
    return (name for _, name, _, _ in Formatter().parse(text) if name is not None)


def main() -> None:
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
