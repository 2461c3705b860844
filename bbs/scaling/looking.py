"""Looks at the fleet for its keeper: how old a list of the provider's may be, and what is kept of
what it says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from bbs.rules import keeping
from bbs.rules.members import Observation, Watch
from bbs.rules.servers import ServerRow
from bbs.scaling import plan
from bbs.scaling.ages import Ages
from bbs.scaling.means import Means
from bbs.scaling.nowhere import Nowhere
from bbs.scaling.seeing import Seeing
from bbs.scaling.shelving import Shelving
from bbs.scaling.sight import Sight
from bbs.values import State

SETTLED_INTERVAL, UNSETTLED_INTERVAL = 30.0, 5.0
"""Seconds between looks at what a cloud has: while all is well, and while something changes. Who
is well the heartbeats say, for less; to read a list of 200 instances takes 40 ms of this process
(`ec2/answers.py`)."""


class Looking:
    """Follows what rounds see of the servers.

    :param sight: what is known of the provider's launches.
    :param ages: since when the keeper knows of each launch.
    :param shelving: adds what the plan of the shelf asks of a server.
    :param interval: seconds between heartbeats.
    """

    def __init__(
        self, means: Means, sight: Sight, ages: Ages, shelving: Shelving, interval: float
    ) -> None:
        self._me = means.me
        self._run = means.database.run
        self._provider = means.provider
        self._sight = sight
        self._interval = interval
        self._seeing = Seeing(means.provider.scope, sight, ages, shelving, interval)
        self._listening = Watch()
        self._nowhere = Nowhere(means.policy.launch_timeout)
        self._silence: Mapping[str, float] = {}

    async def look(self, seen: Observation, elapsed: float, strays: int) -> None:
        """Have a list that is new enough, if that can be had soon.

        :param elapsed: seconds since the last look, as far as they may be held against the silent.
        :param strays: how many instances run that no server has.
        """
        self._silence = self._listening.silences(seen.beats, elapsed)
        await self._sight.look(self._oldest(seen, strays), wait=not self._presses(seen))

    async def note_instances(self, rows: Iterable[ServerRow]) -> None:
        """Keep what the provider told of its launches, for when it cannot be asked."""
        news = []
        for row in rows:
            instance = self._sight.instances.get(row.id)
            if instance and row.state is State.WARM:
                instance = replace(instance, host=None)  # It will be another one.
            if instance and instance.instance_id:
                known = row.instance_id == instance.instance_id or self._seeing.is_another(row)
                if not known or (row.host is None and instance.host is not None):
                    news.append(instance)
        if news:
            await self._run(keeping.note_instances, self._me, news)

    def servers(self, rows: Iterable[ServerRow], dead: Collection[str]) -> Sequence[plan.Seen]:
        """The servers as the plan is to see them; `dead` are the processes that certainly are."""
        servers = self._seeing.servers(rows, dead, self._silence)
        self._nowhere.note(servers)
        return servers

    def _oldest(self, seen: Observation, strays: int) -> float:
        """How many seconds old the provider's list may be: a cloud's is asked for by need."""
        if not self._provider.shared:
            return 0.0
        scope = self._provider.scope
        # Those that serve, which are most, are silent at the worst.
        others = [row for row in seen.others if row.scope == scope]
        # Of a launch it is asked where it is as soon as it is made, and not once it serves.
        if self._sight.is_behind or any(map(self._nowhere.next_may_tell, others)):
            return 0.0
        silent = {id for id, seconds in self._silence.items() if seconds > 2 * self._interval}
        late = [row for row in seen.servers if row.id in silent] if silent else []
        if any(row.port and row.leaving for row in others) or any(
            row.port and row.scope == scope for row in late
        ):
            return self._interval
        # (Of a warm one whose machine still runs the strays know.)
        unsettled = any(row.state not in (State.READY, State.WARM) for row in others)
        settled = not unsettled and not strays
        return SETTLED_INTERVAL if settled else UNSETTLED_INTERVAL

    def _presses(self, seen: Observation) -> bool:
        """Whether somebody waits for what can be decided without a new list: for a launch, or for a
        server that has said that it serves, and of which it is known where it is."""
        if any(map(self._nowhere.next_may_tell, seen.others)):
            return False
        served = [row for row in seen.others if row.state is State.LAUNCHING and row.port]
        return bool(seen.waiting) or any(row.host is not None for row in served)
