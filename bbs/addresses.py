"""Where servers are reached, and how such places are written and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True)
class Address:
    """Where a server is reached: a host name or address, and a TCP port.

    As text it is `127.0.0.1:22222` or `[::1]:22222`. An app server's empty host is this machine,
    under whichever address the peer itself has reached it.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read what `str` writes; ValueError for what is no such text."""
        matched = re.fullmatch(r"(?:\[([^\[\] ]+)\]|([^\[\]: ]+)):([0-9]{1,5})", text, re.ASCII)
        if matched is None or not 0 < int(matched[3]) < 65536:
            raise ValueError(text)
        return cls(matched[1] or matched[2], int(matched[3]))

    @classmethod
    def from_json(cls, value: object) -> Address:
        """Read what `as_json` gives; ValueError when it is no address that can be reached."""
        if isinstance(value, dict):
            host, port = value.get("host"), value.get("port")
            if isinstance(host, str) and host and type(port) is int and 0 < port < 65536:
                return cls(host, port)
        raise ValueError("not an address")

    def as_json(self) -> dict[str, object]:
        """The address as replies and events carry it."""
        return {"host": self.host, "port": self.port}

    def seen_from(self, host: str) -> Address:
        """The address for a peer that has reached this machine under `host`."""
        return self if self.host else Address(host, self.port)


def reached_at(host: str) -> str:
    """Where this machine itself reaches what listens at the address `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def usual_form(host: str) -> str:
    """An address as everybody writes it: IPv4 where an IPv6 socket has mapped it (RFC 4291, section
    2.5.5.2), and without a zone, which means something on one machine only.

    :raises ValueError: it is no address.
    """
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
