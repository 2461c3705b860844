"""Writes the tables of `docs/limits.md`.

    python -m tests.docs.limits

They have what the board declares of its limits: prices of commands, shares of keys, bounds of
tables. `tests/docs/test_limits.py` fails when something is not declared, or the page is an older
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bbs.board import board
from bbs.board.quotas import Quotas
from bbs.testing.limits import Limit, limits_of_commands, limits_of_keys, limits_of_tables
from tests.docs.tables import table, with_tables
from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs/limits.md"
PROGRAM = "python -m tests.docs.limits"

HOLES: Mapping[str, str] = {}
"""What is not declared, as it is not so yet. Nothing may be added here, and what is mended goes."""


def page(written: str) -> str:
    """The page with new tables; the text around them stays as it is `written`."""
    tables = {
        "commands": _table(
            ("command", "commands", "deliveries", "grows by, or why it does not"),
            limits_of_commands(board),
        ),
        "keys": _table(
            ("key", "by default", "one person's or address's share"), limits_of_keys(Quotas)
        ),
        "tables": _table(
            ("table", "rows at most", "of each", "one person's share"), limits_of_tables(board)
        ),
    }
    return with_tables(written, tables, PROGRAM)


def _table(head: Sequence[str], limits: Iterable[Limit]) -> str:
    return table(
        head,
        [(f"`{limit.what}`", *(cell or "not yet" for cell in limit.cells)) for limit in limits],
    )


def main() -> None:
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
