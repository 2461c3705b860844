"""Attacks on what several people share: groups, inboxes, room for posts and invitations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.attacks.filling import ATTACKER, VICTIM
from lab.attacks.values import Attack, Outcome

KEPT = 500
"""Posts that a group keeps, where that is attacked."""

INBOX, TEXT = 2**20, 1000
"""Bytes of an inbox that is attacked, and of a text that fills it."""

LONGER = 1500
"""Bytes of another's text, which does not fit into what those leave over."""

INVITERS, MOST_DECLINED = 20, 3
"""People who invite somebody, and how often each may be declined."""

SHARE = 25
"""Invitations of one person that another may have."""

LIST = 4096
"""Bytes of a list of groups in which an attacker's are a few, as they come and go."""


def _taken(flood: Mapping[str, Any]) -> int:
    """Requests that succeeded."""
    taken: int = flood["answered"] - sum(flood["codes"].values())
    return taken


def _nothing_gone(outcome: Outcome) -> Sequence[str]:
    """The oldest post of the victim, who asks for it in the second flood, is there to the end."""
    gone = outcome.floods[1]["codes"].get("no-such-post", 0)
    return ["the victim's posts are gone"] if gone else []


def _has_room(outcome: Outcome) -> Sequence[str]:
    """There is room for the second flood, another friend's."""
    full = outcome.floods[1]["codes"].get("inbox-full", 0)
    return [f"another friend was told {full} times that the inbox is full"] if full else []


def _short_list(outcome: Outcome) -> Sequence[str]:
    """The list of all groups, which the second flood asks for, stays short."""
    lists = outcome.floods[1]
    size = lists["received"] // max(1, lists["answered"])
    return [f"the list of groups has {size:,} bytes"] if size > LIST else []


def _few_invitations(outcome: Outcome) -> Sequence[str]:
    """No more invitations to groups were stored than one person's share."""
    (flood,) = outcome.floods
    made = flood["answered"] // 2 - flood["codes"].get("too-many-groups", 0)
    invited = _taken(flood) - made
    return [f"{invited} invitations wait"] if invited > SHARE + 1 else []


def _declined_for_good(outcome: Outcome) -> Sequence[str]:
    """Nobody invited again who was declined three times."""
    _, *inviters = outcome.floods
    invited = sum(map(_taken, inviters))
    if invited <= MOST_DECLINED * INVITERS:
        return []
    return [f"{INVITERS} people invited {invited} times, and were declined"]


SHARES: tuple[Attack, ...] = (
    Attack(
        "dots",
        "one user posts dots in a group on 2 connections, while another reads what they wrote",
        (
            {"port": "app", "connections": 2, "payload": "post-group {token} club .\n"},
            {
                "port": "app",
                "connections": 1,
                "user": 1,
                "payload": "thread {token} 1\n",
                "in_turn": True,
                "pause": 0.1,
            },
        ),
        ("shared-posts",),
        users=(ATTACKER, VICTIM),
        options={"limits.posts": KEPT},
        shows=_nothing_gone,
    ),
    Attack(
        "one-friend",
        "one user fills a friend's inbox on 2 connections, while another friend writes, too",
        (
            {
                "port": "app",
                "connections": 2,
                "payload": f"mail {{token}} author {'x' * TEXT}\n",
            },
            {
                "port": "app",
                "connections": 1,
                "user": 1,
                "payload": f"mail {{token}} author {'y' * LONGER}\n",
                "in_turn": True,
                "pause": 0.1,
            },
        ),
        ("shared-inboxes",),
        users=(ATTACKER, VICTIM),
        options={"limits.inbox": INBOX},
        shows=_has_room,
    ),
    Attack(
        "group-inboxes",
        "one user fills the inboxes of a group on 2 connections, while another writes to a member",
        (
            {
                "port": "app",
                "connections": 2,
                "payload": f"send-group {{token}} club {'x' * TEXT}\n",
            },
            {
                "port": "app",
                "connections": 1,
                "user": 1,
                "payload": f"mail {{token}} {VICTIM} {'y' * LONGER}\n",
                "in_turn": True,
                "pause": 0.1,
            },
        ),
        ("shared-inboxes",),
        # A message to a group is stored for whoever has a place.
        users=(ATTACKER, "author", VICTIM),
        options={"limits.inbox": INBOX},
        shows=_has_room,
    ),
    Attack(
        "empty-groups",
        "one user makes groups and leaves them in a loop, while another lists all groups",
        (
            {
                "port": "app",
                "connections": 1,
                "payload": "create-group {token} void-{n}\nleave-group {token} void-{n}\n",
            },
            {
                "port": "app",
                "connections": 1,
                "user": 1,
                "payload": "list-group {token}\n",
                "in_turn": True,
                "pause": 0.2,
            },
        ),
        ("ended-groups",),
        users=(ATTACKER, VICTIM),
        shows=_short_list,
    ),
    Attack(
        "invitations-to-groups",
        "one user makes groups, and invites the same person to each of them",
        (
            {
                "port": "app",
                "connections": 1,
                "payload": f"create-group {{token}} n{{n}}\n"
                f"invite-group {{token}} n{{n}} {VICTIM}\n",
            },
        ),
        ("shared-invitations", "invitations"),
        users=(ATTACKER,),
        shows=_few_invitations,
    ),
    Attack(
        "declined",
        f"{INVITERS} users invite somebody in a loop, who declines all in a loop",
        (
            {
                "port": "app",
                "connections": 1,
                "payload": "decline-all {token}\n",
                "in_turn": True,
                "pause": 0.02,
            },
            *(
                {
                    "port": "app",
                    "connections": 1,
                    "user": number,
                    "payload": f"invite {{token}} {VICTIM}\n",
                    "in_turn": True,
                    "pause": 0.02,
                }
                for number in range(1, INVITERS + 1)
            ),
        ),
        ("shared-invitations", "invitations"),
        users=(VICTIM, *(f"{ATTACKER}{number}" for number in range(INVITERS))),
        shows=_declined_for_good,
    ),
)
