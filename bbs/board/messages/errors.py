"""Refusals of messages, with the texts that peers are told. `limit` marks those by a quota."""

from __future__ import annotations

from bbs.board.people.errors import NoSuchUser
from bbs.framework import Refusal


class NoSuchFriend(Refusal):
    text = "No such user exist"  # `send` names nobody.
    shown = "There is no user called {}"
    code = NoSuchUser.code


class NotOnline(Refusal):
    text = "{} is not online"
    shown = "{} is not online. Try: mail {} TEXT"


class StoredTooMuch(Refusal):
    text = "Too many of your messages wait for their readers"  # So none of the oldest may go.
    shown = "Too many of your messages are not read yet. Try again later."
    limit = True


class InboxFull(Refusal):
    text = "{}'s inbox is full"  # `send` may succeed once the friend has listened.
    shown = "The inbox of {} has no room for more from you. Try again later."
    limit = True
