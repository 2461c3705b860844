"""Why servers are given up or were lost, as older versions wrote it down: in words alone."""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from bbs.storage.models import Server
from bbs.values import Cause, DrainCause, LossCause, State

_DRAINS: Sequence[tuple[str, DrainCause]] = (
    ("consolidated: %", DrainCause.CONSOLIDATION),
    ("replaced: %", DrainCause.REPLACEMENT),
    ("idle for %", DrainCause.IDLE),
    ("asked for", DrainCause.OPERATOR),
)
"""The cause by the words of a server that drains: the first pattern that fits."""

_ENDS: Sequence[tuple[str, Cause]] = (
    ("failed: not ready %", LossCause.LATE),
    ("failed: %", LossCause.FAILED),
    ("refused: %", LossCause.REFUSED),
    ("ended", LossCause.ENDED),
    ("ended: %", LossCause.ENDED),
    ("it has said that it stops", LossCause.LEFT),
    ("silent for more than %", LossCause.SILENT),
    ("cannot be started: %", LossCause.UNSTARTABLE),
    ("beyond fleet.warm", DrainCause.SURPLUS),
    ("of another version", DrainCause.OUTDATED),
    ("runs on the shelf", DrainCause.UNSTOPPABLE),
    ("replaced%", DrainCause.REPLACEMENT),
    ("asked for", DrainCause.OPERATOR),
    ("idle for %", DrainCause.IDLE),
    ("consolidated: %", DrainCause.CONSOLIDATION),
)
"""The cause by the words of a server that is lost or gone."""


def fill_causes() -> None:
    """Derive the cause of every server from its `state` and its `reason`.

    Versions up to 0.3.0 write only these two, and leave whatever cause is there. One of them may
    keep the fleet while newer login servers run on the same database. Therefore the causes are
    derived when the column is added, and again by every login server of this version that takes
    the lease, before it decides anything. While it holds the lease no older version writes a
    reason. Causes that this version wrote stay as they are, and so does the cause of a server that
    ended with words that say nothing, such as `drained`.

    Only this function may derive a cause from words. It can go when schema 9 is the oldest whose
    programs can work on the database.
    """
    drains = Server.state == State.DRAINING
    ended = Server.state.in_([State.LOST, State.GONE])
    # The provider's own words can be anything.
    warned = [(Server.reason == Server.warned, DrainCause.WARNED.value)]
    drain = peewee.Case(None, [*warned, *_told(_DRAINS)], DrainCause.WARNED.value)
    end = peewee.Case(None, _told(_ENDS), Server.cause)
    right = peewee.Case(None, [(drains, drain), (ended, end)], "")
    Server.update(cause=right).where(Server.cause != right).execute()


def _told(
    causes: Sequence[tuple[str, Cause]],
) -> list[tuple[peewee.Expression, str]]:
    return [(Server.reason.ilike(words), cause.value) for words, cause in causes]
