"""What is known of each app server, put together for the plan: its row, its heartbeats, its ages,
and what its provider says of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from bbs.rules.servers import OPERATOR, ServerRow
from bbs.scaling.ages import Ages
from bbs.scaling.needs import is_consolidated, is_replaced
from bbs.scaling.plan import Seen
from bbs.scaling.shelving import Shelving
from bbs.scaling.sight import Sight
from bbs.values import Instance, State


@dataclass(frozen=True)
class _Known:
    """What one was seen as, and of what that was put together."""

    row: ServerRow
    instance: Instance
    seen: Seen


class Seeing:
    """Puts it together.

    Most of a large fleet serve as they did the last time. Of one of which that is certain what was
    put together then is good still, but for its age, which tells only which of several as empty is
    the youngest: that can be wrong by the time for which rows are known.

    :param scope: that of the provider's servers.
    :param interval: seconds between heartbeats.
    """

    def __init__(
        self, scope: str, sight: Sight, ages: Ages, shelving: Shelving, interval: float
    ) -> None:
        self._scope = scope
        self._sight = sight
        self._ages = ages
        self._shelving = shelving
        self._interval = interval
        self._known: dict[str, _Known] = {}

    def servers(
        self, rows: Iterable[ServerRow], dead: Collection[str], silence: Mapping[str, float]
    ) -> list[Seen]:
        """All servers, as they are now: of whose launchers those of the identities `dead` are, and
        of which some have been silent for so many seconds."""
        before, self._known = self._known, {}
        servers = []
        for row in rows:
            instance, silent = self._sight.instances.get(row.id), silence.get(row.id, 0.0)
            known = before.get(row.id)
            # The same objects, and no others that are equal: that costs next to nothing.
            same = known and known.row is row and known.instance is instance
            beats = silent <= self._interval and not dead
            if known and same and beats:
                seen = known.seen
            else:
                seen = self._as_seen(row, dead, silent)
                known = _steady(row, instance, seen) if beats and instance else None
            if known:
                self._known[row.id] = known
            servers.append(seen)
        return servers

    def is_another(self, row: ServerRow) -> bool:
        """Whether the list has only an instance of this launch that has ended, and is not the one
        that the server is known to run on: two keepers launched it, and one too many was ended."""
        instance = self._sight.instances.get(row.id)
        if instance is None or instance.alive or not instance.instance_id:
            return False
        return row.instance_id not in (None, instance.instance_id)

    def _as_seen(self, row: ServerRow, dead: Collection[str], silence: float) -> Seen:
        instance = self._sight.instances.get(row.id)
        host = row.host if instance is None or instance.host is None else instance.host
        server = Seen(
            id=row.id,
            state=row.state,
            taken=row.taken,
            capacity=row.capacity,
            reported=row.port is not None,
            # Nobody can be sent to where it is until it or the provider has said that.
            addressed=host is not None,
            age=self._ages.age(row.id),
            silence=silence,
            # One that an operator runs is the operator's to end.
            idle=0.0 if row.scope == OPERATOR else self._ages.idle(row.id),
            leaving=row.leaving,
            drain_asked=row.drain_asked,
            alive=False if dead and row.launcher in dead else self._alive(row, silence),
            detail=instance.detail if instance and not instance.alive else "",
            warned=row.warned or "",
            by_hand=row.scope == OPERATOR,
            consolidating=is_consolidated(row),
            version=row.version,
            replace_asked=row.replace_asked,
            replacing=is_replaced(row),
        )
        return self._shelving.seen(row, server)

    def _alive(self, row: ServerRow, silence: float) -> bool | None:
        if row.scope != self._scope:
            return None
        # (What stands by does not beat, and is not silent either.)
        beats = silence <= 2 * self._interval and row.state is not State.WARM
        if beats and self.is_another(row):
            return None
        return self._sight.alive(row.id, spared=beats or row.state is State.LAUNCHING)


def _steady(row: ServerRow, instance: Instance, seen: Seen) -> _Known | None:
    """What is good as long as row and instance are the same and the server beats; None where there
    is more to it: one that is empty grows idle, and one that does not serve too old."""
    return _Known(row, instance, seen) if row.state is State.READY and row.taken else None
