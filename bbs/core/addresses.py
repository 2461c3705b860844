"""Addresses of servers and places to listen at, and how they are written and parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qs, quote, urlsplit

_OVER_TCP = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
}
"""The kinds of endpoint on a TCP port, each with the order of its positional arguments."""

_OF_TCP = ("port", "interface", "backlog")
_OF_TLS = ("privateKey", "certKey", "extraCertChain", "sslmethod", "dhParameters")

_ALL_IPV4 = "0.0.0.0"  # nosec B104 # Only compared: nothing here binds to it.
_ALL_IPV6 = "::"


def is_loopback(host: str) -> bool:
    """Whether `host` is the IP address of a loopback interface."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


IPV6_WIDTHS = (48, 56, 64)
"""Bits of the networks by which limits count an IPv6 address: a site has a /48 or a /56, and a host
has all addresses of its /64 (RFC 6177). Those of an IPv4 address have 16, 24 and 32."""


@lru_cache(maxsize=4096)
def networks(host: str) -> tuple[str, str, str]:
    """The networks of an address in its usual form (`usual_form`), or of what `counted_as` made of
    it, the widest first (`IPV6_WIDTHS`). All are "" without an address."""
    if not host:
        return "", "", ""
    if ":" not in host:
        return f"{host.rsplit('.', 2)[0]}.0.0/16", f"{host.rsplit('.', 1)[0]}.0/24", host
    number = int(IPv6Address(host.partition("/")[0]))
    wide, middle, narrow = (
        f"{IPv6Address(number >> 128 - bits << 128 - bits)}/{bits}" for bits in IPV6_WIDTHS
    )
    return wide, middle, narrow


def counted_as(host: str) -> str:
    """The key under which limits count an address in its usual form: the narrowest of its
    `networks`."""
    return networks(host)[2] if ":" in host else host


def weight(counts: Mapping[str, int], host: str) -> tuple[int, ...]:
    """How much the networks of `host` have, the widest first: the greediest is the greatest.
    `counts` are by all `networks`."""
    return tuple(counts.get(network, 0) for network in networks(host))


def outweighs(counts: Mapping[str, int], host: str, newcomer: str) -> bool:
    """Whether `host` should give one of what it has to `newcomer`: of the widest networks that they
    do not share, the newcomer's still has no more afterwards. Two of one address never give way to
    each other, and nobody to whoever would then be the greedier."""
    for one, other in zip(networks(host), networks(newcomer), strict=True):
        if one != other:
            return counts.get(other, 0) + 1 < counts.get(one, 0)
    return False


@dataclass(frozen=True)
class Address:
    """A host name or address, and a TCP port, at which a server is reached. As text:
    `127.0.0.1:22222` or `[::1]:22222`. An app server with an empty `host` is on this machine, at
    the address by which the peer has reached it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse what `str` writes; ValueError for a malformed text."""
        matched = re.fullmatch(r"(?:\[([^\[\] ]+)\]|([^\[\]: ]+)):([0-9]{1,5})", text, re.ASCII)
        if matched is None or not 0 < int(matched[3]) < 65536:
            raise ValueError(text)
        return cls(matched[1] or matched[2], int(matched[3]))

    @classmethod
    def told(cls, text: str, port: int) -> Address:
        """Parse `HOST:PORT`, or `HOST` with the default `port`, as an operator wrote it; ValueError
        if it is malformed, or an address to listen on, such as `0.0.0.0`."""
        try:
            address = cls(str(ip_address(text)), port)
        except ValueError:
            named = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text, re.ASCII)
            address = cls(text, port) if named else cls.parse(text)
        if address.host in (_ALL_IPV4, _ALL_IPV6):
            raise ValueError(text)  # A server can listen there, but nobody can connect to it.
        return address

    @classmethod
    def from_json(cls, value: object) -> Address:
        """Parse `value`, as `as_json` gives it; ValueError for a malformed or empty address."""
        if isinstance(value, dict):
            host, port = value.get("host"), value.get("port")
            if isinstance(host, str) and host and type(port) is int and 0 < port < 65536:
                return cls(host, port)
        raise ValueError("not an address")

    def as_json(self) -> dict[str, object]:
        """The address as replies and events carry it."""
        return {"host": self.host, "port": self.port}

    def seen_from(self, host: str) -> Address:
        """The address for a peer that reached this machine at `host`."""
        return self if self.host else Address(host, self.port)


PRIVATE = "{ip}"
"""Where a pattern for names of app servers has the machine's private IPv4 address."""


def fill_name(pattern: str, host: str) -> str:
    """`pattern`, such as `ip-{ip}.example.org`, for the machine with the IPv4 address `host`, whose
    dots become dashes."""
    return pattern.replace(PRIVATE, host.replace(".", "-"))


def is_name_of(pattern: str, host: str) -> bool:
    """Whether `host` is a name that `fill_name` makes of `pattern`."""
    if PRIVATE not in pattern:
        return False
    number = "-".join(["[0-9]{1,3}"] * 4)
    return re.fullmatch(re.escape(pattern).replace(re.escape(PRIVATE), number), host) is not None


@dataclass(frozen=True)
class ServerPlace:
    """A login server to connect to: `127.0.0.1:22222`, or with TLS
    `tls://HOST:PORT?tls_ca=FILE&tls_name=NAME`. `ca` is a file of trusted certificates; empty for
    the system's. The server's certificate may be for `name` in place of the host."""

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
        """Parse what `str` writes; ValueError if it is malformed or TLS is not installed."""
        if not text.startswith("tls://"):
            return cls(Address.parse(text))
        parts = urlsplit(text)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        once = all(len(values) == 1 and values[0] for values in options.values())
        known = once and options.keys() <= {"tls_ca", "tls_name"}
        if parts.path or parts.fragment or "@" in parts.netloc or not known or not has_tls():
            raise ValueError(text)
        ca, name = (options.get(key, [""])[0] for key in ("tls_ca", "tls_name"))
        return cls(Address.parse(parts.netloc), True, ca, name)


@dataclass(frozen=True)
class ListeningPlace:
    """An endpoint to listen at, such as `tcp:22222` or `ssl:443:privateKey=…`. `text` is as an
    operator wrote it, in the syntax of Twisted's `serverFromString`: arguments between colons, some
    of them named, with a backslash before a literal colon."""

    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> ListeningPlace:
        """Parse what Twisted can listen on; ValueError if it is malformed or TLS is missing."""
        place = cls(text)
        if place.kind in _OVER_TCP:
            valid = place.port is not None and (not place.is_tls or has_tls())
        else:
            valid = ":" in text and place.kind in {"unix", "systemd"} | _plugin_kinds()
        if not valid:
            raise ValueError(text)
        return place

    @classmethod
    def at(cls, interface: str, port: int) -> ListeningPlace:
        """`port` (0 for a free one) at an address of this machine."""
        kind = "tcp6" if ":" in interface else "tcp"
        return cls(f"{kind}:{port}").moved(interface, port)

    @classmethod
    def on_free_port(cls, *places: ListeningPlace) -> ListeningPlace:
        """A free TCP port at the address of the first of `places` that has one. Without such an
        address it is at all addresses, those of IPv6 too if one of `places` is. If one of `places`
        uses TLS, so does the new one, with the same key."""
        interface = next((place.interface for place in places if place.interface), "")
        if secure := next((place for place in places if place.is_tls), None):
            return secure.moved(interface, 0)
        if interface:
            return cls.at(interface, 0)
        return cls("tcp6:0" if any(place.kind == "tcp6" for place in places) else "tcp:0")

    @property
    def kind(self) -> str:
        """The text before the first colon: `tcp`, `tcp6`, `ssl`, `unix`, `systemd`, …"""
        return self.text.partition(":")[0]

    @property
    def port(self) -> int | None:
        """The TCP port, 0 for a free one; None for a malformed port or another kind of place."""
        port = self._argument("port") if self.kind in _OVER_TCP else ""
        number = int(port) if re.fullmatch("[0-9]{1,5}", port, re.ASCII) else None
        return number if number is not None and number < 65536 else None

    @property
    def interface(self) -> str:
        """The address to bind to, "" for all."""
        address = self._argument("interface")
        return "" if address in (_ALL_IPV4, _ALL_IPV6) else address

    @property
    def is_tls(self) -> bool:
        """Whether this server itself encrypts the connections."""
        return self.kind == "ssl"

    @property
    def files(self) -> tuple[str, ...]:
        """Where its TLS is, a path or a reference to a secret each; nothing without TLS."""
        if not self.is_tls:
            return ()
        return tuple(filter(None, (self.private_key, self.certificate, self.chain)))

    @property
    def certificate(self) -> str:
        """The file of the server's TLS certificate."""
        return self._argument("certKey") or self.private_key

    @property
    def private_key(self) -> str:
        """The file of the certificate's key."""
        return self._argument("privateKey") or "server.pem"

    @property
    def chain(self) -> str:
        """The file of intermediate certificates; "" for none."""
        return self._argument("extraCertChain")

    @property
    def tls_method(self) -> str:
        """The name in `OpenSSL.SSL` of the versions of TLS; "" for all that are secure."""
        return self._argument("sslmethod")

    @property
    def dh_parameters(self) -> str:
        """The file of Diffie-Hellman parameters; "" for none."""
        return self._argument("dhParameters")

    def without_tls(self) -> ListeningPlace:
        """This address and port, by TCP alone.

        :raises ValueError: an argument is unknown; the text is its name.
        """
        named = self._named()
        for key, _ in named:
            if key not in _OF_TCP and key not in _OF_TLS:
                raise ValueError(key)
        kept = [f"{key}={value}" for key, value in named if key in _OF_TCP and key != "port"]
        return ListeningPlace(":".join(("tcp", str(self.port), *kept)))

    def moved(self, interface: str, port: int) -> ListeningPlace:
        """A place of this kind, with the same TLS, at another address ("" for all) and port."""
        replaced = ("port", "interface", "backlog")
        kept = [f"{name}={value}" for name, value in self._named() if name not in replaced]
        if interface:
            kept.insert(0, "interface=" + interface.replace(":", "\\:"))
        return ListeningPlace(":".join((self.kind, str(port), *kept)))

    def with_backlog(self, connections: int) -> ListeningPlace:
        """The place with a backlog of `connections`, if it is a TCP port and has none yet."""
        if self.kind not in _OVER_TCP or self._argument("backlog"):
            return self
        return ListeningPlace(f"{self.text}:backlog={connections}")

    def _argument(self, name: str) -> str:
        """An argument, given by its name or by its position; "" if it is not given."""
        escaped = next((value for key, value in self._named() if key == name), "")
        return re.sub(r"\\(.)", r"\1", escaped, flags=re.DOTALL)

    def _named(self) -> list[tuple[str, str]]:
        """Every argument with its name, still escaped; those that were given by name first."""
        arguments = re.findall(r":(?:(\w+)=)?((?:\\.|[^:\\])*)", self.text, re.ASCII | re.DOTALL)
        named = [(key, value) for key, value in arguments if key]
        unnamed = [value for key, value in arguments if not key]
        by_position = zip(_OVER_TCP.get(self.kind, ()), unnamed, strict=False)
        return named + [(key, value) for key, value in by_position if value]


def has_tls() -> bool:
    """Whether what TLS needs is installed (`txbbs[tls]`)."""
    return find_spec("OpenSSL") is not None and find_spec("service_identity") is not None


def _plugin_kinds() -> set[str]:
    """The kinds of endpoint that Twisted plugins add."""
    from twisted.internet.interfaces import IStreamServerEndpointStringParser
    from twisted.plugin import getPlugins

    return {parser.prefix for parser in getPlugins(IStreamServerEndpointStringParser)}


def reached_at(host: str) -> str:
    """The address at which this machine reaches a port that it has bound to `host`."""
    return {_ALL_IPV4: "127.0.0.1", "": "127.0.0.1", _ALL_IPV6: "::1"}.get(host, host)


def usual_form(host: str) -> str:
    """An IP address in its usual form; ValueError for a malformed address. An IPv4 address that an
    IPv6 socket has mapped (RFC 4291, section 2.5.5.2) becomes IPv4 again. The zone is removed: it
    has a meaning on one machine only."""
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
