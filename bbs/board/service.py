"""The declaration of the board as a service."""

from __future__ import annotations

from bbs.board import CLIENT, commands, expiring, inboxes, messages, models, numbers, waiting
from bbs.framework import Counter, Feed, Service

board = Service(
    "bbs",
    commands=(commands.commands,),
    models=models.MODELS,
    version=models.VERSION,
    steps=models.STEPS,
    feed=Feed(
        messages.open_mailbox, messages.fetch, messages.note_delivered, expire=expiring.expire
    ),
    on_register=inboxes.make,
    on_login=waiting.on_login,
    on_delete=expiring.forget_reader,
    person=numbers.of_person,
    greeting="bbs, a bulletin board.",
    client=CLIENT,
    counters=(
        Counter(
            commands.MESSAGES,
            metric="bbs_fleet_messages",
            help="Messages stored by all app servers, while this login server ran",
            member="messages_per_second",
            arrival="messages arrive",
        ),
    ),
)
