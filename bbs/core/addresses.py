"""Where servers are reached, and how such places are written and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from urllib.parse import parse_qs, quote, urlsplit

_OVER_TCP = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
}
"""The kinds of place that are a TCP port, each with the order of its arguments without a name."""

_ALL_IPV4 = "0.0.0.0"  # nosec B104 # A word that others write; nothing binds to it here.
_ALL_IPV6 = "::"


def is_loopback(host: str) -> bool:
    """Whether it is the IP address of a loopback interface."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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
    def told(cls, text: str, port: int) -> Address:
        """The address that an operator wrote: `HOST`, with `port` then, or `HOST:PORT`.

        :raises ValueError: it is neither.
        """
        try:
            address = cls(str(ip_address(text)), port)
        except ValueError:
            named = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text, re.ASCII)
            address = cls(text, port) if named else cls.parse(text)
        if address.host in (_ALL_IPV4, _ALL_IPV6):
            raise ValueError(text)  # Where one listens, and nobody can be reached.
        return address

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


@dataclass(frozen=True)
class ServerPlace:
    """Where a login server is, and how it is talked to: `127.0.0.1:22222`, or by TLS
    `tls://HOST:PORT?tls_ca=FILE&tls_name=NAME`.

    `ca` is a file of whom to trust, empty for the system's authorities; `name` is a host name that
    a certificate may be for, besides the host itself.
    """

    address: Address
    tls: bool = False
    ca: str = ""
    name: str = ""

    def __str__(self) -> str:
        if not self.tls:
            return str(self.address)
        options = (("tls_ca", self.ca), ("tls_name", self.name))
        query = "&".join(f"{key}={quote(value)}" for key, value in options if value)
        return f"tls://{self.address}{'?' if query else ''}{query}"

    @classmethod
    def parse(cls, text: str) -> ServerPlace:
        """Read what `str` writes.

        :raises ValueError: it is no such text, or needs what is not installed.
        """
        if not text.startswith("tls://"):
            return cls(Address.parse(text))
        parts = urlsplit(text)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        known = options.keys() <= {"tls_ca", "tls_name"} and all(map(_is_one, options.values()))
        if parts.path or parts.fragment or "@" in parts.netloc or not known or not has_tls():
            raise ValueError(text)
        ca, name = (options.get(key, [""])[0] for key in ("tls_ca", "tls_name"))
        return cls(Address.parse(parts.netloc), True, ca, name)


def _is_one(values: list[str]) -> bool:
    return len(values) == 1 and bool(values[0])


@dataclass(frozen=True)
class ListeningPlace:
    """Where a server listens: an endpoint string, such as `tcp:22222` or `ssl:443:privateKey=…`.

    `text` is as an operator wrote it. The syntax is Twisted's (`serverFromString`): arguments
    between colons, some of them named, a backslash before what is to be taken literally.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> ListeningPlace:
        """Read what Twisted can listen on; whether the place itself is free, the server finds out.

        :raises ValueError: it is no such text, or needs what is not installed.
        """
        place = cls(text)
        if place.kind in _OVER_TCP:
            right = place.port is not None and (not place.is_tls or has_tls())
        else:
            right = ":" in text and place.kind in {"unix", "systemd"} | _plugged_in()
        if not right:
            raise ValueError(text)
        return place

    @classmethod
    def at(cls, interface: str, port: int) -> ListeningPlace:
        """`port` (0: a free one) at an address of this machine."""
        kind = "tcp6" if ":" in interface else "tcp"
        escaped = interface.replace(":", "\\:")
        return cls(f"{kind}:{port}:interface={escaped}")

    @classmethod
    def on_free_port(cls, *places: ListeningPlace) -> ListeningPlace:
        """A free TCP port where the first of `places` that names an address has it; else at all
        addresses, those of IPv6 too if one of them has these. By TLS if one of them is, with that
        one's key."""
        interface = next((place.interface for place in places if place.interface), "")
        if secure := next((place for place in places if place.is_tls), None):
            return secure.moved(interface, 0)
        if interface:
            return cls.at(interface, 0)
        return cls("tcp6:0" if any(place.kind == "tcp6" for place in places) else "tcp:0")

    @property
    def kind(self) -> str:
        """What comes before the first colon: `tcp`, `tcp6`, `ssl`, `unix`, `systemd`, …"""
        return self.text.partition(":")[0]

    @property
    def port(self) -> int | None:
        """The TCP port, 0 for a free one; None where the text names none."""
        port = self._argument("port") if self.kind in _OVER_TCP else ""
        number = int(port) if re.fullmatch("[0-9]{1,5}", port, re.ASCII) else None
        return number if number is not None and number < 65536 else None

    @property
    def interface(self) -> str:
        """The address that it binds to, "" for all of them."""
        address = self._argument("interface")
        return "" if address in (_ALL_IPV4, _ALL_IPV6) else address

    @property
    def is_tls(self) -> bool:
        """Whether what is said there is encrypted by this server itself."""
        return self.kind == "ssl"

    @property
    def certificate(self) -> str:
        """The file of the certificate that a server shows there, by TLS."""
        return self._argument("certKey") or self.private_key

    @property
    def private_key(self) -> str:
        """The file of that certificate's key."""
        return self._argument("privateKey") or "server.pem"

    @property
    def chain(self) -> str:
        """The file of the certificates between that one and an authority; "" for none."""
        return self._argument("extraCertChain")

    def moved(self, interface: str, port: int) -> ListeningPlace:
        """The same kind of place, by TLS as this one is, at another address ("": all) and port."""
        kept = [
            f"{name}={value}"
            for name, value in self._named()
            if name not in ("port", "interface", "backlog")
        ]
        if interface:
            kept.insert(0, "interface=" + interface.replace(":", "\\:"))
        return ListeningPlace(":".join((self.kind, str(port), *kept)))

    def with_backlog(self, connections: int) -> ListeningPlace:
        """The place with so many connections that may wait to be accepted, unless it says itself
        how many, or is of a kind that has no such number."""
        if self.kind not in _OVER_TCP or self._argument("backlog"):
            return self
        return ListeningPlace(f"{self.text}:backlog={connections}")

    def _argument(self, name: str) -> str:
        """An argument, given by its name or by its position; "" if it is not given."""
        return _unescaped(next((value for key, value in self._named() if key == name), ""))

    def _named(self) -> list[tuple[str, str]]:
        """Every argument with its name, as it is escaped; those that are given by name first."""
        arguments = re.findall(
            r":(?:(\w+)=)?((?:\\.|[^:\\])*)", self.text, flags=re.ASCII | re.DOTALL
        )
        named = [(key, value) for key, value in arguments if key]
        unnamed = [value for key, value in arguments if not key]
        by_position = zip(_OVER_TCP.get(self.kind, ()), unnamed, strict=False)
        return named + [(key, value) for key, value in by_position if value]


def has_tls() -> bool:
    """Whether what TLS needs is installed (`bbs[tls]`)."""
    return find_spec("OpenSSL") is not None and find_spec("service_identity") is not None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _plugged_in() -> set[str]:
    """The kinds of endpoint that plugins of Twisted add, those of other packages too."""
    from twisted.internet.interfaces import IStreamServerEndpointStringParser
    from twisted.plugin import getPlugins

    return {parser.prefix for parser in getPlugins(IStreamServerEndpointStringParser)}


def reached_at(host: str) -> str:
    """Where this machine itself reaches what listens at the address `host`."""
    return {_ALL_IPV4: "127.0.0.1", "": "127.0.0.1", _ALL_IPV6: "::1"}.get(host, host)


def usual_form(host: str) -> str:
    """An address as everybody writes it: IPv4 where an IPv6 socket has mapped it (RFC 4291, section
    2.5.5.2), and without a zone, which means something on one machine only.

    :raises ValueError: it is no address.
    """
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
