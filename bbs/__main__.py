"""The `bbs` command of the board, also run by `python -m bbs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bbs.board import CLIENT
from bbs.cli import Program, run

if TYPE_CHECKING:
    from bbs.framework import Service


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bbs` with `argv`, by default the process's arguments; return the exit code."""
    return run(Program("bbs", _board, CLIENT), sys.argv[1:] if argv is None else argv)


def _board() -> Service:
    # Imported here, as clients do not need it.
    from bbs.board import board
    from bbs.commands.extensions import extended

    return extended(board)


if __name__ == "__main__":
    sys.exit(main())
