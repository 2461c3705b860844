"""What has to hold: at any moment, and when nothing happens any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bbs.core.values import LossCause, Policy, State
from bbs.rules.servers import NOT_RUNNING
from bbs.scaling.executor import OVERTAKEN
from bbs.storage.database import rows
from bbs.storage.models import Lease, Place, Server, User
from lab.simulation.people import Person

if TYPE_CHECKING:
    from lab.simulation.fleet import Fleet

WATCH_PLACES = """
CREATE TABLE violation (what TEXT);
CREATE TRIGGER over_taken AFTER UPDATE OF taken ON server WHEN NEW.taken > NEW.capacity
BEGIN INSERT INTO violation VALUES ('a server was over capacity: ' || NEW.id); END;
CREATE TRIGGER over_moved AFTER UPDATE OF server_id ON place WHEN NEW.server_id IS NOT NULL
AND (SELECT count(*) FROM place WHERE server_id = NEW.server_id)
  > (SELECT capacity FROM server WHERE id = NEW.server_id)
BEGIN INSERT INTO violation VALUES ('a server was over capacity: ' || NEW.server_id); END;
CREATE TRIGGER over_placed AFTER INSERT ON place WHEN NEW.server_id IS NOT NULL
AND (SELECT count(*) FROM place WHERE server_id = NEW.server_id)
  > (SELECT capacity FROM server WHERE id = NEW.server_id)
BEGIN INSERT INTO violation VALUES ('a server was over capacity: ' || NEW.server_id); END;
"""
"""No one server over capacity at any moment: the database itself notices."""

WATCH = """
CREATE TABLE moves (user INTEGER);
CREATE TABLE consolidated (user INTEGER PRIMARY KEY, at REAL);
CREATE TRIGGER beating AFTER UPDATE OF state ON server
WHEN OLD.state = 'launching' AND NEW.cause = 'late' AND OLD.port IS NOT NULL
BEGIN INSERT INTO violation VALUES ('beats, and was given up: ' || NEW.id); END;
CREATE TRIGGER listed AFTER UPDATE OF state ON server
WHEN OLD.state IN ('ready', 'draining') AND NEW.state = 'lost' AND NEW.cause = 'ended'
AND beats_now(NEW.id)
BEGIN INSERT INTO violation VALUES ('beats, and was taken for ended: ' || NEW.id); END;
CREATE TRIGGER consolidating AFTER UPDATE OF state ON server
WHEN OLD.state = 'ready' AND NEW.state = 'draining' AND NEW.cause = 'consolidation'
AND EXISTS (SELECT 1 FROM server WHERE id != NEW.id AND scope != '' AND (
state = 'lost' OR (state = 'launching' AND NOT shelved) OR (state = 'draining' AND taken)))
BEGIN INSERT INTO violation VALUES ('consolidated while another is under way: ' || NEW.id); END;
CREATE TRIGGER moving AFTER UPDATE OF server_id ON place
WHEN OLD.server_id IS NOT NULL AND NEW.server_id != OLD.server_id
BEGIN INSERT INTO moves VALUES (NEW.user_id); END;
CREATE TRIGGER consolidated AFTER UPDATE OF moved ON place WHEN NEW.moved IS NOT OLD.moved
BEGIN
INSERT INTO violation SELECT 'twice moved in ten minutes: ' || user FROM consolidated
WHERE user = NEW.user_id AND seconds_now() - at < 600.0 AND clocks_are_right()
AND NOT EXISTS (SELECT 1 FROM server WHERE state = 'draining' AND cause = 'replacement');
INSERT OR REPLACE INTO consolidated VALUES (NEW.user_id, seconds_now());
END;
CREATE TRIGGER begins_anew AFTER DELETE ON place
BEGIN DELETE FROM consolidated WHERE user = OLD.user_id; END;
CREATE TRIGGER zones AFTER UPDATE OF state ON server
WHEN OLD.state = 'ready' AND NEW.state = 'draining'
AND NEW.cause IN ('idle', 'consolidation', 'recommended')
AND keeps_zones() AND zone_of(NEW.way) != ''
BEGIN
INSERT INTO violation SELECT 'all are in one zone: ' || NEW.id
WHERE (SELECT count(*) FROM server WHERE state = 'ready' AND zone_of(way) = zone_of(NEW.way)) = 0
AND (SELECT count(DISTINCT zone_of(way)) FROM server WHERE state = 'ready') = 1;
END;
CREATE TRIGGER replacing AFTER UPDATE OF state ON server
WHEN OLD.state = 'ready' AND NEW.state = 'draining' AND NEW.cause = 'replacement'
BEGIN
INSERT INTO violation SELECT 'replaced while another is under way: ' || NEW.id
WHERE EXISTS (SELECT 1 FROM server WHERE id != NEW.id AND scope != '' AND (
state = 'lost' OR (state = 'launching' AND NOT shelved) OR (state = 'draining' AND taken)));
INSERT INTO violation SELECT 'replaced before there was another: ' || NEW.id
WHERE nobody_comes() AND NEW.taken > (
SELECT coalesce(sum(capacity - taken), 0) FROM server WHERE state = 'ready' AND id != NEW.id);
END;
"""
"""What else must hold at any moment."""


def zone_of(way: str | None) -> str:
    """The subnet of a launch strategy; "" if it has none."""
    _, _, rest = (way or "").partition(" in ")
    return rest.partition(" ")[0].removesuffix(",")


def what_is_wrong(fleet: Fleet) -> list[str]:
    """What is not as it should be once everything has come to rest; nothing, when all is well."""
    fleet.database.use()
    policy, people = fleet.policy, fleet.people
    rows = {row.id: row for row in Server.select().where(Server.state != State.GONE)}
    there = Counter(m.launch_id for m in fleet.world.cloud.there() if m.owner is fleet)
    ready = [row for row in rows.values() if row.state == State.READY]
    free = sum(row.capacity - row.taken for row in ready)
    # What stands by does not count.
    full = sum(row.state != State.WARM for row in rows.values()) >= policy.maximum
    wrong = [f"{id} has {runs} instances" for id, runs in there.items() if runs > 1]
    wrong += [f"an instance without an owner: {id}" for id in there if id not in rows]
    wrong += [f"a server without an instance: {id}" for id in rows if id not in there]
    for row in rows.values():
        # One that an operator wants empty serves its people while there is no room elsewhere.
        stays = row.state == State.DRAINING and row.taken and full and free == 0
        if row.state not in (State.READY, State.WARM) and not stays:
            wrong.append(f"{row.id} is {row.state}")
        if row.replace_asked and not full:
            wrong.append(f"{row.id} is to be replaced still")
    wrong += _of_the_pool(fleet, [*rows.values()], full)
    wrong += [
        f"{row.id} is not where it is said to be"
        for row in ready
        for machine in fleet.world.cloud.alive()
        if (machine.launch_id, machine.owner) == (row.id, fleet) and machine.address != row.host
    ]
    for row in ready:
        on_it = Place.select().where(Place.server == row.id).count()
        if on_it != row.taken:
            wrong.append(f"{row.id} counts {row.taken} for {on_it} people")
    serving = (State.READY, State.DRAINING)
    without = _without_a_place(people, {id for id, row in rows.items() if row.state in serving})
    if without and not (full and free == 0):
        wrong.append(f"without a place: {' '.join(without)}")
    too_few = len(ready) < policy.minimum or (free < policy.spare and not policy.foresees)
    if not full and too_few:
        wrong.append(f"{len(ready)} ready with {free} free places are too few")
    at_places = _who_is_away_and_has_one(people)
    if at_places:
        wrong.append(f"away, and with a place: {' '.join(at_places)}")
    zones = Counter(zone_of(row.way) for row in ready)
    for row in ready:
        needed = free - row.capacity < policy.spare or len(ready) <= policy.minimum
        needed = needed or (fleet.spreads and zones[zone_of(row.way)] == 1)
        if not row.taken and not needed and not policy.foresees:
            wrong.append(f"{row.id} is kept for nobody")
    return [f"{fleet.name}: {text}" for text in wrong]


def _of_the_pool(fleet: Fleet, servers: Sequence[Server], full: bool) -> list[str]:
    """The warm pool is full, if there is room to boot one for it, and all on it is stopped."""
    warm = {row.id for row in servers if row.state == State.WARM}
    alive = fleet.world.cloud.alive()
    wrong = [
        f"{machine.launch_id} runs in the warm pool"
        for machine in alive
        if machine.owner is fleet and machine.launch_id in warm
    ]
    many, wanted = len(warm), fleet.policy.warm
    if many != wanted and not full:
        wrong.append(f"{many} of {wanted} stand by")
    return wrong


def held_up(fleet: Fleet) -> list[str]:
    """Launches that wait for an operator, because of one that was there and has ended."""
    fleet.database.use()
    reasons = rows(Lease.select(Lease.refusal).where(Lease.refusal.contains("Idempotent")))
    return [f"{fleet.name} launches nothing: {reason}" for (reason,) in reasons]


def people_on(fleet: Fleet, launch_id: str) -> int:
    """How many have a place there."""
    fleet.database.use()
    return int(Place.select().where(Place.server == launch_id).count())


def stranded(fleet: Fleet) -> list[str]:
    """Who has no place, though there is room for more servers."""
    fleet.database.use()
    many = Server.select().where(Server.state.not_in(NOT_RUNNING)).count()
    return [] if many >= fleet.policy.maximum else without_a_place(fleet)


def without_a_place(fleet: Fleet) -> list[str]:
    """Who wants a place, and has none on a server that serves."""
    fleet.database.use()
    serving = rows(Server.select(Server.id).where(Server.state.in_([State.READY, State.DRAINING])))
    return _without_a_place(fleet.people, {id for (id,) in serving})


def _without_a_place(people: Sequence[Person], serving: set[str]) -> list[str]:
    places: dict[str, str] = dict(rows(Place.select(User.name, Place.server).join(User)))
    return [p.name for p in people if p.wants and not p.away and places.get(p.name) not in serving]


def _who_is_away_and_has_one(people: Sequence[Person]) -> list[str]:
    """Nobody gives a place to people who are not there."""
    held = Place.select(User.name).join(User).where(Place.server.is_null(False))
    there = {name for (name,) in rows(held)}
    return [person.name for person in people if person.away and person.name in there]


def too_soon(policy: Policy, born: Mapping[str, float], now: float) -> list[str]:
    """Launches that were given up for their age before half of their time had passed since they
    were `born`: a clock was believed that is wrong."""
    too_old = (Server.cause == LossCause.LATE) & (Server.reason != OVERTAKEN)
    given_up = Server.select(Server.id).where(too_old)
    return [
        f"the launch {id} was given up too soon"
        for (id,) in rows(given_up)
        if now - born[id] < policy.launch_timeout / 2
    ]
