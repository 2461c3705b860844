"""Where a request belongs that is not served here (`docs/protocol.md`, section 5)."""

from __future__ import annotations

from bbs.addresses import Address
from bbs.errors import Refusal
from bbs.rules.accounts import Caller


class Moved(Refusal):
    """The user is served at `address`; the request was not carried out."""

    text = "Moved to {}"

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.address = address


class AskLoginServer(Refusal):
    """The login server knows: the command is its own, or the user has no place yet."""

    text = "Ask the login server"


def where_served(caller: Caller) -> Refusal:
    """The redirect to where `caller` is served."""
    return Moved(caller.seat.address) if caller.seat else AskLoginServer()
