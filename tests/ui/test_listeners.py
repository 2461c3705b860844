"""Who listens at a port of this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.listeners import is_ours

PORT = 22222

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"


def entry(owner: int, port: int = PORT, state: str = "0A", address: str = "0100007F") -> str:
    """A line of /proc/net/tcp, as Linux writes it."""
    place = f"{address}:{port:04X} 00000000:0000 {state}"
    return f"   0: {place} 00000000:00000000 00:00000000 00000000  {owner:4}        0 8 1 0"


class Owners(SynchronousTestCase):
    def check(self, *entries: str) -> bool:
        table = Path(self.mktemp())
        table.write_text("\n".join((HEAD, *entries, "")))
        return is_ours(PORT, (table, table.with_name("none")))

    def test_a_real_one(self) -> None:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.create_server((host, 0), family=family) as ours:
                port = ours.getsockname()[1]
                self.assertTrue(is_ours(port), host)
            self.assertFalse(is_ours(port), host)

    def test_ourselves_and_root(self) -> None:
        self.assertTrue(self.check(entry(os.getuid())))
        self.assertTrue(self.check(entry(0)))
        self.assertTrue(self.check(entry(0), entry(os.getuid(), address="00000000")))

    def test_somebody_else(self) -> None:
        other = os.getuid() + 1000
        self.assertFalse(self.check(entry(other)))
        # On another address of this machine: nobody knows which is reached.
        self.assertFalse(self.check(entry(os.getuid()), entry(other, address="00000000")))

    def test_who_does_not_listen_there(self) -> None:
        other = os.getuid() + 1000
        self.assertTrue(self.check(entry(0), entry(other, PORT + 1), entry(other, state="01")))
        self.assertFalse(self.check(entry(os.getuid(), PORT + 1)))

    def test_where_it_cannot_be_known(self) -> None:
        self.assertFalse(is_ours(PORT, (Path(self.mktemp()),)))
