"""The limits that attacks are up against, and how each is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.attacks.patches import PATCHES

ANY_RATE = "100000000/second"
ANY_NUMBER = 1_000_000_000


@dataclass(frozen=True)
class Limit:
    """A limit. Without it a server has these `options` of the configuration; where it has no key,
    `patched` is set, and `patches.PATCHES` has one of its name."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    patched: bool = False


def _keys(name: str, **options: object) -> Limit:
    return Limit(name, {f"limits.{key}": value for key, value in options.items()})


LIMITS: Mapping[str, Limit] = {
    limit.name: limit
    for limit in (
        _keys("failed-logins", failed_logins=ANY_RATE),
        _keys("logins", logins=ANY_RATE),
        _keys("registrations", registrations=ANY_RATE),
        _keys("connections", connections=ANY_NUMBER),
        _keys("connections-per-address", connections_per_address=ANY_NUMBER),
        _keys("first-request", first_request=1e6),
        _keys("places-per-address", places_per_address=1.0),
        _keys("commands", commands=ANY_RATE),
        _keys("deliveries", deliveries=ANY_RATE),
        _keys("handshakes", handshakes=ANY_RATE),
        Limit("trusted-proxies", {"web.trusted_proxies": ()}),
        _keys("stored", stored=ANY_NUMBER),
        _keys("free-disk", free_disk=0),
        _keys("invitations", invitations=ANY_RATE),
        # Those without a key.
        *(Limit(name, patched=True) for name in PATCHES),
    )
}
