"""The board's part of a client: its presentation, and a library with a method for each command.

A client starts without a database library: nothing here imports the board's rules or tables.
"""

from bbs.board.client.face import face
from bbs.board.client.library import BBSClient
from bbs.board.client.records import (
    GroupInfo,
    Missed,
    News,
    Post,
    Presence,
    Reply,
    ThreadPost,
)

__all__ = [
    "BBSClient",
    "GroupInfo",
    "Missed",
    "News",
    "Post",
    "Presence",
    "Reply",
    "ThreadPost",
    "face",
]
