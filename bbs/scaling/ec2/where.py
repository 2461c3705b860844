"""Where the next instance is launched: by balance, and not where capacity lacked a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from bbs.config import EC2
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.request import Attempt, attempts

LACK_REMEMBERED = 180.0
"""Seconds for which a way is not tried again that lacked capacity; as long as Karpenter remembers
it (`UnavailableOfferingsTTL`)."""


class Where:
    """The ways to launch, and which of them lack capacity."""

    def __init__(self, config: EC2, seconds: Callable[[], float]) -> None:
        self._config = config
        self._seconds = seconds
        self._lacks: dict[Attempt, tuple[float, str]] = {}
        """When each of these was last refused, by the reactor's clock, and how."""

    def next(
        self, living: Mapping[str, int], tried: Collection[Attempt], spot: bool = True
    ) -> Attempt | None:
        """What a launch tries next that has tried these in vain, as Spot or not; None when there is
        nothing left. Where everything lacks, the way that did so longest ago is tried."""
        ways = [way for way in attempts(self._config, living) if spot or not way.spot]
        for way in ways:
            if way not in tried and not self._lacks_now(way):
                return way
        return None if tried else min(ways, key=lambda way: self._lacks[way][0])

    def lacks(self, way: Attempt, error: EC2Error) -> None:
        """There is nothing to be had by this way now, and by no other that fails for the same."""
        for other in attempts(self._config):
            same_market = error.verdict is Verdict.NO_SPOT and other.spot
            same_subnet = (
                error.code.endswith("InsufficientFreeAddressesInSubnet")
                and other.subnet == way.subnet
            )
            if other == way or same_market or same_subnet:
                self._lacks[other] = self._seconds(), error.code

    def works(self, way: Attempt) -> None:
        """Something was launched by this way."""
        self._lacks.pop(way, None)

    def lacking(self) -> str:
        """Every way that lacks now, and why, in a line."""
        said = (
            f"{way} ({self._lacks[way][1]})"
            for way in attempts(self._config)
            if self._lacks_now(way)
        )
        return ", ".join(said)

    def _lacks_now(self, way: Attempt) -> bool:
        lacked = self._lacks.get(way)
        return lacked is not None and self._seconds() - lacked[0] < LACK_REMEMBERED
