"""The bulletin board: the first service on the framework.

The service is loaded when it is first used, as the board's client needs no rules and no tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.board.service import board

__all__ = ["board"]

CLIENT = "bbs.board.client.face:face"  # the board's presentation


def __getattr__(name: str) -> object:
    if name != "board":
        raise AttributeError(f"bbs.board has no {name}")
    from bbs.board.service import board

    return board
