"""The quotas that every service had up to version 0.4.0, though only the board used them.

Services that declare no limits of their own still have them, until a minor version removes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from bbs.core.values import UNITS, Rate

_SIXTY_AN_HOUR = Rate(60, UNITS["hour"])


@dataclass(frozen=True)
class Quotas:
    """How much is kept of one user: `friends`, `groups` made, `members` of one group, bytes of
    messages that wait in an `inbox`, the latest `posts`, `post_bytes` of all of them, bytes of the
    messages that the user has sent (`stored`), and the rate of `invitations`. Deprecated: a service
    declares its own (`Service.limits`)."""

    friends: int = 1000
    groups: int = 100
    members: int = 1000
    inbox: int = 16 * 2**20
    posts: int = 10_000
    post_bytes: int = 16 * 2**20
    stored: int = 256 * 2**20
    invitations: Rate = _SIXTY_AN_HOUR
