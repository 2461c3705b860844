"""Launching instances: one for each launch, by one way after the other, whatever answers are lost.

Each way to launch, a type in a subnet, on demand or as Spot, has a ClientToken of its own, made
from the launch's id: whoever asks again for what may exist finds it. The next way is tried after a
clear answer that capacity lacks; where the answer to an earlier try is not known, EC2 is first
asked for instances of the launch; and so it is while another keeper may have launched by another
way (`provider.py`). Should two have done so all the same, as EC2 describes nothing at once, the
later instance is ended when both are seen.

Spot is asked of RunInstances, not of CreateFleet: that would need a launch template in every
account, another shape of answers and errors, and gives nothing here for one instance at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.config import EC2
from bbs.scaling.ec2.bases import Bases
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import LATER, EC2Error, Verdict
from bbs.scaling.ec2.machines import Machines, machines
from bbs.scaling.ec2.request import Attempt
from bbs.scaling.ec2.template import Basis
from bbs.scaling.ec2.where import Where

_LACKS = (Verdict.ELSEWHERE, Verdict.NO_SPOT)

_log = Logger()


class Launches:
    """Makes launches.

    :param known: gets the instances that are launched, and learns of those that `find` finds.
    :param request: the parameters of RunInstances for a launch, by a way, on a basis.
    :param find: describes the instances of a launch.
    """

    def __init__(
        self,
        client: EC2Client,
        config: EC2,
        known: Machines,
        seconds: Callable[[], float],
        request: Callable[[str, Attempt, Basis], dict[str, Any]],
        find: Callable[[str], Deferred[None]],
    ) -> None:
        self._client = client
        self._config = config
        self._known = known
        self._request = request
        self._find = find
        self._bases = Bases(client, config, seconds)
        self._where = Where(config, seconds)
        self._doubtful: dict[str, Attempt] = {}
        """By launch id: the way by which there may be an instance, or one is asked for."""

    async def launch(self, launch_id: str, spot: bool = True) -> None:
        """Have an instance of the launch, or know that there was one. Not by a way that is Spot,
        unless `spot`.

        :raises EC2Error: it is not known whether there is one, or there is none.
        """
        basis = await self._bases.get()
        asked_anew = False
        tried: list[Attempt] = []
        way: Attempt | None = self._doubtful.get(launch_id) or self._next(tried, spot)
        while way:
            try:
                await self._run(launch_id, way, basis)
                return
            except EC2Error as error:
                if await self._is_settled(launch_id, error):
                    return
                if error.verdict in _LACKS:
                    _log.info("no {way}: {error}", way=str(way), error=str(error))
                    self._where.lacks(way, error)
                    tried.append(way)
                    way = self._next(tried, spot)
                    if way is None:
                        raise self._nowhere(error) from None
                elif error.verdict is Verdict.REFUSED and not asked_anew:
                    asked_anew = True
                    if not await self._bases.changed():
                        raise
                    _log.info("the launch template has changed")
                    basis = await self._bases.get()
                else:
                    raise

    def forget(self, launch_id: str) -> None:
        """The launch is ended: nobody doubts any more."""
        self._doubtful.pop(launch_id, None)

    def _next(self, tried: list[Attempt], spot: bool) -> Attempt | None:
        living = self._known.living()
        # Those that are asked for at the same moment spread.
        living.update(way.subnet or "" for way in self._doubtful.values())
        return self._where.next(living, tried, spot)

    async def _run(self, launch_id: str, way: Attempt, basis: Basis) -> None:
        parameters = self._request(launch_id, way, basis)
        doubtful_before = launch_id in self._doubtful
        self._doubtful[launch_id] = way
        try:
            answer = await self._client.run_instances(**parameters)
        except EC2Error as error:
            clear = not error.doubtful and error.verdict is not Verdict.TOKEN_USED
            if clear and not doubtful_before:
                self._doubtful.pop(launch_id, None)
            raise
        self._doubtful.pop(launch_id, None)
        self._where.works(way)
        for machine in machines(answer, self._config.address):
            self._known.launched(machine)
            _log.info("launched {id}: {instance}", id=launch_id, instance=f"{machine.id}, {way}")

    async def _is_settled(self, launch_id: str, error: EC2Error) -> bool:
        """Whether there is or was an instance of the launch, though a call for it failed.

        :raises EC2Error: `error`, where it says nothing of the launch.
        """
        if error.verdict is Verdict.TOKEN_ENDED:
            self._known.has_ended(launch_id)
        elif error.verdict in LATER:
            raise error
        elif launch_id in self._doubtful:
            await self._find(launch_id)
        settled = bool(self._known.of(launch_id))
        if settled:
            self._doubtful.pop(launch_id, None)
        return settled

    def _nowhere(self, last: EC2Error) -> EC2Error:
        """What is said when capacity lacks in every way there is."""
        lacking = self._where.lacking()
        if "," not in lacking:
            return last
        text = f"EC2 has no capacity: {lacking}"
        return EC2Error(last.verdict, last.code, text)
