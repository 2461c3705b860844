"""What operators and programs such as fail2ban are told of who came in, and who was kept out."""

from __future__ import annotations

from twisted.logger import LogPublisher

publisher = LogPublisher()
"""Who observes it is told of each event."""


def tell(what: str, outcome: str, *, address: str, name: str = "", by: str = "") -> None:
    """`what` (`login`, `register`, `delete`, `connect`, `work`, …) was tried from `address` (its
    usual form, "" where there is none), in the name of a user `name`, and came to `outcome`
    (`right`, `wrong`, `refused`, `delayed`, …); `by` is the operator whose deed it was. Never a
    password or a token."""
    publisher({"what": what, "outcome": outcome, "address": address, "name": name, "by": by})
