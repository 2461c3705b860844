"""The bulletin board: the first service on the framework.

The service is loaded when it is first used: the board's client needs none of its rules and tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.board.service import board

__all__ = ["board"]

CLIENT = "bbs.board.client.face:face"
"""Where the board's presentation is."""


def __getattr__(name: str) -> object:
    if name != "board":
        raise AttributeError(f"bbs.board has no {name}")
    from bbs.board.service import board

    return board
