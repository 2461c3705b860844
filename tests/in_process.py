"""`bbs …` in the test's own process: for commands that end by themselves, and need no reactor.

A process of its own takes a third of a second of a processor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import MappingProxyType
from unittest import mock

from bbs.__main__ import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and all that it said."""

    exit_code: int
    output: str
    errors: str


def run_here(*argv: object, environ: Mapping[str, str] = MappingProxyType({})) -> Ended:
    """Run a command to its end, with no configuration but that in `environ` and the arguments."""
    output, errors = StringIO(), StringIO()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("BBS_")}
    with (
        mock.patch.dict(os.environ, {**inherited, **environ}, clear=True),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as ended:  # argparse's
            code = int(ended.code or 0)
    return Ended(code, output.getvalue(), errors.getvalue())
