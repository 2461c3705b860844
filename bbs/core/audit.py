"""Security events for operators and programs such as fail2ban: who came in, who was kept out."""

from __future__ import annotations

from twisted.logger import LogPublisher

publisher = LogPublisher()  # Passes each event to its observers.


def record(what: str, outcome: str, *, address: str, name: str = "", by: str = "") -> None:
    """Record that `what` was tried, with this `outcome`; never with a password or a token.

    :param what: `login`, `register`, `delete`, `connect`, `work`, …
    :param outcome: `right`, `wrong`, `refused`, `delayed`, …
    :param address: of the peer, in its usual form; "" if there is none.
    :param name: the user's.
    :param by: the operator who did it.
    """
    publisher({"what": what, "outcome": outcome, "address": address, "name": name, "by": by})
