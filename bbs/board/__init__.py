"""The bulletin board: the first service on the framework."""

from __future__ import annotations

from bbs.board import commands, messages, models
from bbs.framework import Feed, Service

__all__ = ["board"]

board = Service(
    "bbs",
    commands=(commands.commands,),
    models=models.MODELS,
    version=models.VERSION,
    feed=Feed(
        messages.open_mailbox, messages.fetch, messages.note_delivered, expire=messages.expire
    ),
    on_register=messages.make_inbox,
    greeting="bbs, a bulletin board.",
    counters=(commands.MESSAGES,),
)
