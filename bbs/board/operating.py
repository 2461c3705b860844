"""What acts of operators share. Each part has its own in `operators.py`.

An act is one rule, for the command line and the page. Servers know of it by the database alone, as
the command line may know no broker.
"""

from __future__ import annotations

from argparse import ArgumentTypeError

from bbs.board.lists import LAST_ID
from bbs.framework import Refusal


class NotDone(Refusal):
    text = "{}"
    code = ""  # Only operators are told, in words.


def number(text: str) -> int:
    """The argparse type of an id."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= LAST_ID):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def read_id(text: str) -> int:
    """Read an id; 0, which nothing has, for another text."""
    try:
        return number(text)
    except ArgumentTypeError:
        return 0
