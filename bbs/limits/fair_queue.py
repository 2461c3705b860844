"""A fair queue for expensive work, such as hashing a password.

Networks take turns, so many jobs of one network wait for each other and delay no other network.
This is hierarchical fair queueing (Bennett and Zhang, 1996) by round robins within round robins:
the /16s of IPv4 and the /48s of IPv6 take turns, within each its /24s or /56s, and within these the
addresses or /64s. A network that had no turn lately comes before those that had, as the new flows
of FQ-CoDel do (RFC 8290): when thousands of networks ask without end, a newcomer is not the last.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.addresses import networks
from bbs.core.errors import Refusal, Unavailable
from bbs.limits.connections import Networks

T = TypeVar("T")

Job = Callable[[], Coroutine[Deferred[Any], Any, T]]
"""Does the work, once the job has its turn."""

MOST_WAITING = 2000
"""Jobs that may wait in a lane: some 20 s of hashing on two cores, and clients wait no longer."""

MOST_OF_AN_ADDRESS = 4
"""Jobs of one address that run at once."""

STARTS_PER_TURN = 50
"""Jobs that start in one turn of the reactor. A job that is refused when it starts takes no time,
and 2,000 of these in a row would make everybody wait."""

REFUSAL_DELAY = 1.0
"""Seconds after which a job that lost its place is refused. 300 attackers who were told at once
came back 900 times a second, and a ping took 2 s."""

LATELY = 300.0
"""Seconds for which a network that had a turn comes after those that had none. Attackers in 2,300
networks get 8 early turns a second by it, and two cores hash some 100 passwords."""

MOST_REMEMBERED = 50_000
"""Networks whose last turns are remembered: some 8 MB. Beyond that, the oldest are forgotten."""

NEW_IN_A_ROW = 3
"""Turns of networks that had none lately before one of the others, so that nobody who has any
number of networks starves those."""

_log = Logger()


@dataclass(eq=False, repr=False)
class FairQueue:
    """Queues jobs by address. `at_once` run at the same time, `MOST_OF_AN_ADDRESS` of one address.

    Jobs of known people have a lane of their own: every other job that starts is one of theirs, if
    any waits. In each lane, a new job waits for at most one job of each other wide network. When
    more than `most` wait, the network with the most jobs loses one. Of several, one that had a turn
    lately loses, by chance: so nobody who asks for little is refused for those who ask for much.

    :param per_address: jobs of one address that may wait in a lane, unless it is trusted.
    :param clock: schedules the rest for the reactor's next turn.
    :param chance: chooses who is refused.
    """

    at_once: int
    per_address: int
    trusted: Networks
    clock: IReactorTime
    most: int = MOST_WAITING
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        turns = _LastTurns(self.clock)
        self._strangers, self._known = _Network(turns), _Network(turns)
        self._running: Counter[str] = Counter()
        self._was_known = False  # Whether the last job that started was in the lane of the known.
        self._is_starting = False
        """Whether jobs are being started, or will be in the reactor's next turn."""

    def run(self, host: str, job: Job[T], known: bool = False) -> Deferred[T]:
        """Run `job` for `host` (an address in its usual form, "" for none) when its turn comes; the
        Deferred fires with its result, or fails with `Unavailable` if too many jobs wait.

        Cancelling the Deferred ends the wait. A job that has started goes on to its end and keeps
        its turn, so hanging up gives nobody more turns.

        :param known: whether the job is for somebody who was at this network before.
        """
        lane = self._known if known else self._strangers
        place = lane.place_of(host)
        queued = _QueuedJob(self, place, job)
        is_counted = bool(host) and host not in self.trusted
        if is_counted and place.count >= self.per_address:
            queued.answer.errback(Unavailable())
            return queued.answer
        place.add(queued)
        if self._running[place.name] < MOST_OF_AN_ADDRESS:
            place.make_ready()
        self._start_jobs()
        if lane.count > self.most:
            refused = lane.choose_refused(self.chance)
            self.remove(refused)
            refused.refuse(self.clock)
        return queued.answer

    def remove(self, queued: _QueuedJob[Any]) -> None:
        """Remove a job that no longer waits."""
        if queued.turn is not None:
            queued.turn.end()
        queued.place.remove(queued)

    def finish(self, address: str) -> None:
        """Note that a job of `address` has ended."""
        self._running[address] -= 1
        if not self._running[address]:
            del self._running[address]
        for lane in (self._known, self._strangers):
            if place := lane.find(address):
                place.make_ready()
        self._start_jobs()

    def _start_jobs(self) -> None:
        if self._is_starting:
            return  # A job that ends at once comes here while others are being started.
        self._is_starting = True
        for _ in range(STARTS_PER_TURN):
            lane = self._next_lane()
            if lane is None or self._running.total() >= self.at_once:
                self._is_starting = False
                return
            self._start_next(lane)
        self.clock.callLater(0, self._continue)

    def _continue(self) -> None:
        self._is_starting = False
        self._start_jobs()

    def _next_lane(self) -> _Network | None:
        """The lane that the next job comes from; None if no job is ready."""
        lanes = [self._known, self._strangers]
        if self._was_known:
            lanes.reverse()
        return next((lane for lane in lanes if lane.is_ready), None)

    def _start_next(self, lane: _Network) -> None:
        self._was_known = lane is self._known
        queued = lane.take_next()
        address = queued.place.name
        if queued.turn is not None:
            queued.turn.end()
        self._running[address] += 1
        if self._running[address] >= MOST_OF_AN_ADDRESS:
            for each in (self._known, self._strangers):
                if place := each.find(address):
                    place.make_unready()
        queued.start()


class _LastTurns:
    """Remembers which networks had a turn lately."""

    def __init__(self, clock: IReactorTime) -> None:
        self._seconds = clock.seconds
        self._at: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, network: str) -> bool:
        at = self._at.get(network)
        return at is not None and self._seconds() - at < LATELY

    def add(self, network: str) -> None:
        self._at[network] = self._seconds()
        self._at.move_to_end(network)
        if len(self._at) > MOST_REMEMBERED:
            self._at.popitem(last=False)


class _Network:
    """A lane, or a network in it, and the jobs that wait there.

    The networks within it that have a job which may start take turns in two rings: `new` has those
    that had no turn lately. The narrowest networks have the jobs themselves.
    """

    __slots__ = ("_new_turns", "count", "inner", "jobs", "name", "new", "old", "outer", "turns")

    def __init__(self, turns: _LastTurns, name: str = "", outer: _Network | None = None) -> None:
        self.turns = turns
        self.name = name
        self.outer = outer
        self.count = 0  # jobs that wait in it
        self.inner: dict[str, _Network] = {}
        self.jobs: OrderedDict[_QueuedJob[Any], None] = OrderedDict()
        self.new: OrderedDict[_Network, None] = OrderedDict()
        self.old: OrderedDict[_Network, None] = OrderedDict()
        self._new_turns = 0  # in a row, while others wait

    def find(self, host: str) -> _Network | None:
        """The narrowest network of `host` in this lane; None if no job waits there."""
        place: _Network | None = self
        for name in networks(host):
            place = place and place.inner.get(name)
        return place

    def place_of(self, host: str) -> _Network:
        """The narrowest network of `host` in this lane, perhaps a new one: it is in the lane from
        its first job to its last."""
        place = self
        for name in networks(host):
            place = place.inner.get(name) or _Network(self.turns, name, place)
        return place

    @property
    def is_ready(self) -> bool:
        """Whether a job within may start."""
        return bool(self.new or self.old)

    def add(self, queued: _QueuedJob[Any]) -> None:
        self.jobs[queued] = None
        for network in self._outwards():
            network.count += 1
            if network.outer is not None:
                network.outer.inner[network.name] = network

    def remove(self, queued: _QueuedJob[Any]) -> None:
        """Remove a job that waits here, and each network in which none waits any more."""
        del self.jobs[queued]
        for network in self._outwards():
            network.count -= 1
            if network.outer is not None and not network.count:
                del network.outer.inner[network.name]
        if not self.count:
            self.make_unready()

    def make_ready(self) -> None:
        """Let the jobs of this network, a narrowest one, have turns."""
        for network in self._outwards():
            outer = network.outer
            if outer is None or network in outer.new or network in outer.old:
                return
            (outer.old if network.name in self.turns else outer.new)[network] = None

    def make_unready(self) -> None:
        """Let no job of this network, a narrowest one, have a turn."""
        for network in self._outwards():
            if network.outer is None or network.is_ready:
                return
            network.outer.new.pop(network, None)
            network.outer.old.pop(network, None)

    def take_next(self) -> _QueuedJob[Any]:
        """Remove the job of this lane whose turn it is."""
        network = self
        while not network.jobs:
            network = network._pass_turn()
        queued = next(iter(network.jobs))
        network.remove(queued)
        return queued

    def _pass_turn(self) -> _Network:
        """The network within whose turn it is; its next turn comes after those of the others."""
        take_old = bool(self.old) and (not self.new or self._new_turns >= NEW_IN_A_ROW)
        self._new_turns = self._new_turns + 1 if self.old and not take_old else 0
        network, _ = (self.old if take_old else self.new).popitem(last=False)
        self.old[network] = None
        self.turns.add(network.name)
        return network

    def choose_refused(self, chance: random.Random) -> _QueuedJob[Any]:
        """The job of this lane that is refused when too many wait."""
        network = self
        while not network.jobs:
            most = max(each.count for each in network.inner.values())
            longest = [each for each in network.inner.values() if each.count == most]
            lately = [each for each in longest if each not in network.new]
            network = chance.choice(lately or longest)
        return next(reversed(network.jobs))

    def _outwards(self) -> Iterator[_Network]:
        network: _Network | None = self
        while network is not None:
            yield network
            network = network.outer


class _QueuedJob(Generic[T]):
    """A job that waits or runs."""

    def __init__(self, queue: FairQueue, place: _Network, job: Job[T]) -> None:
        self.place = place
        self.answer: Deferred[T] = Deferred(self._cancelled)
        self._queue = queue
        self._job = job
        self._is_waiting = True
        self._refusal: IDelayedCall | None = None
        self._span = tracing.here()
        self.turn = tracing.begin("turn")

    def start(self) -> None:
        self._is_waiting = False
        # This runs within the span of the job that has just ended.
        with tracing.within(self._span):
            Deferred.fromCoroutine(self._job()).addBoth(self._ended)

    def refuse(self, clock: IReactorTime) -> None:
        """Say later that too many wait. The job waits no more."""
        self._is_waiting = False
        self._refusal = clock.callLater(REFUSAL_DELAY, self.answer.errback, Unavailable())

    def _ended(self, result: T | Failure) -> None:
        self._queue.finish(self.place.name)
        if not self.answer.called:
            self.answer.callback(result)
        elif isinstance(result, Failure) and not result.check(Refusal):
            _log.failure("work for somebody who is gone failed", failure=result)

    def _cancelled(self, answer: Deferred[T]) -> None:
        if self._is_waiting:
            self._queue.remove(self)
        elif self._refusal is not None and self._refusal.active():
            self._refusal.cancel()
