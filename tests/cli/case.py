"""Commands that an operator runs on the database, in the test's own process."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from typing import ClassVar, Protocol

from bbs.board import board
from bbs.cli import Program
from tests.database_case import DatabaseCase

BOARD = Program("bbs", lambda: board)


class Main(Protocol):
    """The function of a command: nothing that a class makes a method of."""

    def __call__(self, argv: Sequence[str], program: Program, /) -> int: ...


class CommandCase(DatabaseCase):
    """A test of the command whose function is `main`, configured for the test's database."""

    main: ClassVar[Main]
    program = BOARD

    def setUp(self) -> None:
        super().setUp()
        others = {name: value for name, value in os.environ.items() if not name.startswith("BBS_")}
        self.patch(os, "environ", {**others, "BBS_DATABASE_URL": self.url})

    def bbs(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command; returns the exit code, and what it says on each stream."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = self.main(arguments, self.program)
            except SystemExit as end:
                code = int(end.code or 0)
        return code, output.getvalue(), errors.getvalue()
