"""What the fleet's keeper does about the shelf (`bbs.scaling.shelf`).

What is decided is written down first, as always: a server is warm before its machine is stopped,
and launching before it is started, and whoever keeps the fleet then asks until it is so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from twisted.logger import Logger

from bbs.rules import keeping
from bbs.rules.servers import ServerRow
from bbs.scaling import shelf
from bbs.scaling.ages import Ages
from bbs.scaling.interfaces import IKeepsWarm, LaunchFailed, LaunchRefused
from bbs.scaling.means import Means
from bbs.scaling.plan import Seen
from bbs.scaling.sight import Sight
from bbs.scaling.steps import Steps, in_vain
from bbs.values import Instance, State

_log = Logger()


class Shelving:
    """Takes the shelf's steps, where `means.provider` can stop and start machines.

    :param steps: takes all others.
    :param version: what runs: servers that another one launched do not come off the shelf.
    """

    def __init__(self, means: Means, sight: Sight, ages: Ages, steps: Steps, version: str) -> None:
        self._me = means.me
        self._run = means.database.run
        self._policy = means.policy
        self._wall = means.wall
        self._scope = means.provider.scope
        able = IKeepsWarm.providedBy(means.provider)
        self._provider = cast("IKeepsWarm", means.provider) if able else None
        self._sight = sight
        self._ages = ages
        self._steps = steps
        self._version = version
        self._stood_by: set[str] = set()

    def forget(self) -> None:
        """Know nothing of what is stopped: somebody else may have started it since."""
        self._stood_by = set()

    def seen(self, row: ServerRow, seen: Seen) -> Seen:
        """`seen`, with what the plan of the shelf asks of the server."""
        instance = self._sight.instances.get(row.id)
        stopped = self._is_stopped(row)
        if not (stopped or row.shelved or row.state is State.WARM):
            return seen
        alive, detail = seen.alive, seen.detail
        if row.state is State.WARM and (row.scope != self._scope or self._provider is None):
            # Nobody here can start it.
            stopped, alive, detail = False, False, "this fleet cannot start it"
        elif stopped and row.state is not State.WARM and self._provider:
            # It is being started, or has been and the list is behind: whether it lives it says
            # itself.
            alive, detail = None, ""
        return replace(
            seen,
            shelved=row.shelved,
            stopped=stopped,
            alive=alive,
            detail=detail,
            outdated=instance is not None and self._is_outdated(instance),
        )

    def running(self, rows: Iterable[ServerRow]) -> int:
        """How many warm servers count to the maximum, as their machines are not known to have
        stopped."""
        warm = [row for row in rows if row.state is State.WARM]
        self._stood_by.intersection_update(row.id for row in warm)
        return sum(not self._is_stopped(row) for row in warm)

    def _is_stopped(self, row: ServerRow) -> bool:
        """Whether its machine is, as far as is known. Of a warm one that a list lacks it is what
        the lists before have said: nobody else starts it."""
        instance = self._sight.instances.get(row.id)
        if row.state is not State.WARM:
            return instance is not None and instance.stopped
        if instance and instance.stopped:
            self._stood_by.add(row.id)
        elif instance:
            self._stood_by.discard(row.id)
        return row.id in self._stood_by

    async def take(self, step: shelf.Fill | shelf.Shelve | shelf.Stop | shelf.Wake) -> None:
        """Take `step`."""
        match step:
            case shelf.Fill(count):
                await self._steps.add(count, shelved=True)
            case shelf.Shelve(id):
                if await self._run(keeping.shelve, self._me, id, self._wall()):
                    _log.info("server {server} has booted, and is stopped to stand by", server=id)
                    self._ages.begin_anew(id)
                    self._steps.begin(id, self._stop)
            case shelf.Stop(id):
                self._steps.begin(id, self._stop)
            case shelf.Wake(id):
                room = self._policy.maximum - self._steps.strays
                if await self._run(keeping.wake, self._me, id, room, self._wall()):
                    _log.info("server {server} comes off the shelf", server=id)
                    if id in self._stood_by:
                        self._ages.begin_anew(id)
                        self._steps.retries.forget(id)
                        self._steps.begin(id, self._start)

    def start_again(self, rows: Iterable[ServerRow]) -> set[str]:
        """Start what was launched and is stopped, as its row says that it should run: one that has
        come off the shelf, or that somebody else has stopped. Returns all of which nothing else is
        to be asked."""
        if self._provider is None:
            return set()
        ids = set()
        for row in rows:
            if row.state is State.LAUNCHING and row.scope == self._scope:
                instance = self._sight.instances.get(row.id)
                # Not launched again: EC2 forgets a launch's token, but not the machine.
                if instance.stopped if instance else row.instance_id is not None:
                    ids.add(row.id)
        for id in ids:
            self._steps.begin(id, self._start)
        return ids

    async def _stop(self, id: str) -> None:
        assert self._provider is not None
        if not self._steps.retries.due(id):
            return
        self._steps.retries.later(id)
        try:
            await self._provider.stop(id)
        except LaunchFailed as error:
            await self._steps.fail(id, f"failed: cannot be stopped: {error}", self._ages.began(id))
        except Exception as error:
            in_vain("stop", id, error)
        else:
            self._steps.failures = 0
            self._sight.stopped(id)

    async def _start(self, id: str) -> None:
        assert self._provider is not None
        if not self._steps.retries.due(id):
            return
        self._steps.retries.later(id)
        try:
            await self._provider.start(id)
        except LaunchRefused as error:
            await self._run(keeping.put_back, self._me, id, self._wall())
            await self._steps.holding.hold(f"cannot start what stands by: {error}")
        except LaunchFailed as error:
            # Another is launched at once: that this one cannot be started says nothing of those.
            await self._steps.lose(id, f"cannot be started: {error}")
        except Exception as error:
            in_vain("start", id, error)
        else:
            await self._steps.holding.accepted()

    def _is_outdated(self, instance: Instance) -> bool:
        return bool(instance.version) and instance.version != self._version
