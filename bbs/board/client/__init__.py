"""The board's part of a client: its presentation, and a library with a method for each command.

Nothing here imports the board's rules or tables: a client starts without a database library.
"""

from bbs.board.client.face import face
from bbs.board.client.library import BBSClient, Missed, Post, Presence, Reply

__all__ = ["BBSClient", "Missed", "Post", "Presence", "Reply", "face"]
