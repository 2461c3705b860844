"""Messages: stored once, for each who is to have them, and read in order.

Ids rise in the order in which a reader's messages are committed: whoever stores one first locks
the inboxes that it is for. So a reader who has seen an id has seen all before it, and "what comes
after the last I saw" loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bbs.board import errors, friends, groups
from bbs.board.models import Delivery, Group, Inbox, Membership, Message
from bbs.framework import (
    BATCH,
    Caller,
    Cursor,
    Mailbox,
    Place,
    Stored,
    User,
    for_update,
    read_only,
    rows,
)


@dataclass(frozen=True)
class Sent:
    """A message that is safe: the event that its readers get, and the channel to hint it on."""

    channel: str
    event: Stored


def make_inbox(user: int) -> None:
    """For somebody new."""
    Inbox.insert(user=user).execute()


def send(caller: Caller, name: str, text: str) -> Sent:
    """Store a message to the friend `name`."""
    friend = User.get_or_none(User.name == name)
    if friend is None:
        raise errors.NoSuchFriend()
    if not friends.are_friends(caller.id, friend.id):
        raise errors.NotFriends(name)
    if Place.get_or_none(Place.user == friend.id) is None:
        raise errors.NotOnline(name)
    number = _store(caller, name, False, text, [friend.id])
    return Sent(friend.channel, _event(number, caller.name, name, False, text))


def send_group(caller: Caller, name: str, text: str) -> Sent:
    """Store a message to every member of the group `name` who is online."""
    group = Group.get_or_none(Group.name == name)
    if group is None:
        raise errors.NoSuchTarget()
    if not groups.is_member(caller.id, group.id):
        raise errors.NotMember(name)
    online = (
        Membership.select(Membership.user)
        .join(Place, on=(Place.user == Membership.user))
        .where(Membership.group == group.id)
    )
    number = _store(caller, name, True, text, [user for (user,) in rows(online)])
    return Sent(groups.channel_of(group.channel), _event(number, caller.name, name, True, text))


@read_only
def open_mailbox(caller: Caller, after: int | None) -> Mailbox:
    """Where listening begins: after the message `after`, or else after the last that was sent."""
    resumes = after is not None
    if after is None:
        after = Inbox.get(Inbox.user == caller.id).delivered
    return Mailbox(Cursor(caller.id, after), resumes, tuple(groups.channels(caller.id)))


@read_only
def fetch(cursors: Sequence[Cursor]) -> Mapping[Cursor, Sequence[Stored]]:
    """The next events for each cursor, oldest first, `BATCH` of them at the most."""
    return {cursor: _after(cursor) for cursor in cursors}


def note_delivered(cursors: Sequence[Cursor]) -> None:
    """Keep what has been sent, so that a later `listen` without an id begins behind it."""
    for cursor in sorted(cursors, key=lambda cursor: cursor.user):
        Inbox.update(delivered=cursor.last).where(
            (Inbox.user == cursor.user) & (Inbox.delivered < cursor.last)
        ).execute()


def expire(before: float, most: int = 500) -> int:
    """Remove messages stored before `before`; returns how many, `most` in one transaction."""
    expired = Message.select(Message.id).where(Message.stored < before).limit(most)
    old = [number for (number,) in rows(expired)]
    Message.delete().where(Message.id.in_(old)).execute()
    return len(old)


def _store(caller: Caller, target: str, to_group: bool, text: str, readers: list[int]) -> int:
    # In the order of the key, as everybody does: two senders then never wait for each other.
    for_update(Inbox.select().where(Inbox.user.in_(readers)).order_by(Inbox.user)).execute()
    number: int = Message.insert(
        sender=caller.name, target=target, to_group=to_group, text=text, stored=caller.now
    ).execute()
    Delivery.insert_many([{"user": reader, "message": number} for reader in readers]).execute()
    return number


def _after(cursor: Cursor) -> list[Stored]:
    query = (
        Delivery.select(Message.id, Message.sender, Message.target, Message.to_group, Message.text)
        .join(Message)
        .where((Delivery.user == cursor.user) & (Delivery.message > cursor.last))
        .order_by(Delivery.message)
        .limit(BATCH)
    )
    return [_event(*row) for row in rows(query)]


def _event(number: int, sender: str, target: str, to_group: bool, text: str) -> Stored:
    place = "group" if to_group else "to"
    return Stored(
        number,
        {"event": "message", "id": number, "from": sender, place: target, "message": text},
    )
