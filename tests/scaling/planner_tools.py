"""Servers, fleets and policies to ask the planner about."""

from dataclasses import fields, replace

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import Policy, State
from bbs.scaling.fleet_view import (
    Demand,
    FleetView,
    Health,
    Launches,
    Machine,
    Owner,
    ServerView,
)
from bbs.scaling.planner import Plan, plan

POLICY = Policy(
    minimum=0,
    maximum=20,
    spare=0,
    capacity=10,
    idle_grace=120.0,
    launch_timeout=180.0,
    lost_after=10.0,
)
QUIET = Demand(waiting=0)

CALM = FleetView()
"""A fleet of no servers, where nothing is the matter."""

BREAKS = (Launches.FAILED_LATELY, Launches.BACK_OFF, Launches.REFUSED)
"""All that can be the matter with launches while it is known what runs."""


def server(id, state, taken=0, causes=(), **others):
    """One in good health."""
    values = {
        "owner": Owner.PROVIDER,
        "machine": Machine.RUNS,
        "health": Health.UNHEARD if state is State.LAUNCHING else Health.BEATING,
        "capacity": 10,
        "age": 20.0,
        "idle": 0.0,
        **others,
    }
    return ServerView(id=id, state=state, taken=taken, causes=frozenset(causes), **values)


def launching(id="a", **others):
    return server(id, State.LAUNCHING, **others)


def ready(id="a", taken=1, **others):
    return server(id, State.READY, taken, **others)


def draining(id="a", taken=0, **others):
    return server(id, State.DRAINING, taken, **others)


def lost(id="a", taken=0, **others):
    return server(id, State.LOST, taken, **others)


def warm(id="a", **others):
    """One that stands by."""
    stands = {"machine": Machine.STOPPED, "health": Health.UNHEARD, "age": 60.0}
    return server(id, State.WARM, **{"pooled": True, **stands, **others})


def booting(id="a", **others):
    """One that boots for the pool."""
    return launching(id, **{"pooled": True, "age": 2.0, **others})


def of(steps, *kinds):
    """Those of `steps` that are of these kinds."""
    return [step for step in steps if isinstance(step, kinds)]


class PlannerCase(SynchronousTestCase):
    """Asks for plans. `others` are of the demand, of the fleet and of the policy."""

    demand, fleet, policy = QUIET, CALM, POLICY

    def plan(self, *servers, **others):
        def known(value):
            names = {field.name for field in fields(value)} & others.keys()
            return replace(value, **{name: others.pop(name) for name in names})

        demand, fleet, policy = known(self.demand), known(self.fleet), known(self.policy)
        self.assertFalse(others)
        by_id = {server.id: server for server in servers}
        return plan(replace(fleet, servers=by_id), demand, policy)

    def planned(self, *servers, **others):
        """The steps alone."""
        return self.plan(*servers, **others).steps

    def assert_plan(self, servers, *steps, blocker=None, **others):
        self.assertEqual(self.plan(*servers, **others), Plan(steps, blocker))
