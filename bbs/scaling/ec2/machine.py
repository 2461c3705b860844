"""The instance that an app server runs on, as its metadata say (`metadata.py`)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from bbs.core.values import REBALANCE
from bbs.scaling.ec2.metadata import Metadata
from bbs.scaling.interfaces import IMachine, MachineNotice

T = TypeVar("T")

POLL = 5.0
"""Seconds between looks for a notice, as AWS advises:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""

POLL_SCHEDULED = 60.0
"""Seconds between looks of an instance on demand. Scheduled events are days ahead."""


_log = Logger()


@implementer(IMachine)
class EC2Machine:
    """An instance. `wanted`: its address for people, as `ec2.address` has it."""

    def __init__(self, metadata: Metadata, wanted: str) -> None:
        self._metadata = metadata
        self._wanted = wanted
        self._is_spot: bool | None = None  # Not known yet.
        self._lacks_address = False

    @property
    def notice_interval(self) -> float:
        return POLL_SCHEDULED if self._is_spot is False else POLL

    def address(self) -> Deferred[str | None]:
        return _asked(self._address())

    async def _address(self) -> str | None:
        address = await self._metadata.address(self._wanted)
        if address is None and not self._lacks_address:
            self._lacks_address = True  # Said once.
            _log.warn("this instance has no address (ec2.address: {wanted})", wanted=self._wanted)
        return address

    def instance_id(self) -> Deferred[str | None]:
        return _asked(self._metadata.instance_id())

    def zone(self) -> Deferred[str | None]:
        return _asked(self._metadata.get("placement/availability-zone"))

    def notice(self) -> Deferred[MachineNotice | None]:
        return _asked(self._notice())

    async def _notice(self) -> MachineNotice | None:
        if self._is_spot is None:
            self._is_spot = await self._metadata.is_spot()
        why = await self._metadata.notice(self._is_spot)
        return MachineNotice(why, certain=why != REBALANCE) if why else None


def _asked(question: Coroutine[Any, Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(question)
