"""Secrets that all servers of a service share, and nobody else: they never leave the database.

Their table also has which fleet this is, which is none (`bbs.rules.fleets`)."""

from __future__ import annotations

import secrets

from bbs.storage.models import Secret

HINTS = "hints"
"""The secret by which servers know each other's hints."""

HINT_KEY_BYTES = 32
"""As long as what SHA-256 makes, as RFC 2104 advises for HMAC."""


def hint_key() -> bytes:
    """The key that proves hints; whoever asks first makes it."""
    row = Secret.get_or_none(Secret.name == HINTS)
    if row is None:
        # Of two who make it at once one loses the race, runs again and finds the other's.
        row = Secret.create(name=HINTS, value=secrets.token_hex(HINT_KEY_BYTES))
    return bytes.fromhex(row.value)
