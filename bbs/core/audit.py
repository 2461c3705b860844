"""Security events for operators and programs such as fail2ban: who came in, who was kept out."""

from __future__ import annotations

from twisted.logger import LogPublisher

publisher = LogPublisher()  # Passes each event to its observers.


def record(what: str, outcome: str, *, address: str, name: str = "", by: str = "") -> None:
    """Record that `what` (`login`, `register`, `delete`, `connect`, `work`, …) was tried from
    `address` (in its usual form, "" for none) for the user `name`, with this `outcome` (`right`,
    `wrong`, `refused`, `delayed`, …), by the operator `by`. Never with a password or a token."""
    publisher({"what": what, "outcome": outcome, "address": address, "name": name, "by": by})
