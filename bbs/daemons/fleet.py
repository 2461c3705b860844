"""The process of `twistd NAME-fleet`, which controls the fleet and listens to nobody.

Strangers reach login servers. In a fleet with `fleet.controller = "own"` no login server has a
provider, and so needs none of the rights to launch and end machines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

from twisted.logger import Logger

from bbs.commands.service import Service
from bbs.config import Configuration
from bbs.config.sections import OWN
from bbs.core.clock import IReactor
from bbs.core.plugins import PluginUnusable
from bbs.core.threads import Workers
from bbs.daemons.composition import FleetServing, Launching
from bbs.daemons.daemon import EMBEDDED, CannotStart, Daemon
from bbs.daemons.logs import call_on_hangup
from bbs.rules import membership
from bbs.rules.membership import Member
from bbs.rules.servers import new_id
from bbs.scaling import identity, providers
from bbs.scaling.identity import process_identity
from bbs.scaling.interfaces import IKeepsLogs, LaunchFailed, ProviderUnavailable
from bbs.storage.database import Database, connection_limit, read_only
from bbs.storage.engines import DatabaseRefused


@read_only
def connection_shortage(config: Configuration) -> str:
    """Warn operators if the fleet may open more connections than its database takes; "" if not.

    Only warns: connections are opened as they are needed, and the limit can be raised while the
    fleet runs.
    """
    limit = connection_limit()
    launches = providers.named(config.fleet.provider)[1].launches
    if limit is None or not launches:  # Else nobody knows how many app servers there will be.
        return ""
    each, maximum = config.database.pool_size, config.fleet.maximum
    login_servers = max(1, membership.count_login_servers())
    needed = (maximum + login_servers) * each
    if needed <= limit.number:
        return ""
    return (
        f"the fleet may open {needed} connections, and the database takes {limit.number}"
        f" ({limit.name}): fleet.maximum = {maximum}, login servers = {login_servers}, and each has"
        f" database.pool_size = {each}. Raise {limit.name} above {needed}, or lower one of these"
    )


NOT_OWN = 'fleet.controller: login servers control this fleet; set "own" here and for them'

_log = Logger()


class FleetMember(Daemon):
    """A server with a row among the login servers, which may run the fleet's controller.

    :param data: the folder for the app servers' configuration and logs.
    """

    def __init__(
        self,
        service: Service,
        config: Configuration,
        data: str,
        reactor: IReactor,
        on_failure: Callable[[str], None],
    ) -> None:
        super().__init__(service, config, reactor, on_failure)
        self._data = os.path.abspath(data)

    def make_member(self) -> Member:
        """Make the id of this server. Only once it starts: twistd forks into the background after
        it has made its services."""
        me = Member(new_id(), process_identity(), self.service.program_version)
        self.server_id = me.id
        return me

    async def prepare_launching(
        self, me: Member, database: Database, brokers: tuple[str, ...]
    ) -> Launching:
        """Find out which fleet this is, and make its provider.

        :raises CannotStart: the provider is unknown, or refuses the configuration.
        """
        patience, reactor, wall = self.config.fleet.lost_after, self.reactor, self.wall
        outlives = providers.named(self.config.fleet.provider)[1].outlives
        await self._check_connections(database)
        fleet = await identity.find_fleet(database, reactor, wall, patience, outlives)
        traces: dict[str, str] = {}
        try:
            provider = await providers.make_provider(
                self.config,
                brokers,
                me,
                self._data,
                reactor,
                self.in_thread,
                self.on_stop,
                fleet,
                self.service.name,
                traces,
            )
        except (LaunchFailed, ProviderUnavailable, PluginUnusable) as error:
            raise CannotStart(str(error)) from error
        await identity.take_over_launches(database, provider, reactor, wall, patience)
        if IKeepsLogs.providedBy(provider):
            self.on_stop(call_on_hangup(cast("IKeepsLogs", provider).reopen_logs))
        return Launching(provider, fleet.id, traces)

    async def _check_connections(self, database: Database) -> None:
        try:
            shortage = await database.run_at_start(connection_shortage, self.config)
        except DatabaseRefused:  # A proxy may not know of such limits.
            return
        if shortage:
            _log.warn("{shortage}", shortage=shortage)


class FleetProcess(FleetMember):
    """A process that controls the fleet, or waits until the one that does is gone."""

    kind = "fleet"
    keeps_security_log = False  # It lets nobody in, and may not write where the others' is.

    async def start(self) -> None:
        config = self.config
        if config.fleet.controller != OWN:
            raise CannotStart(NOT_OWN)
        kind = providers.named(config.fleet.provider)[1]
        me = self.make_member()
        _log.info("this is fleet process {fleet_process}", fleet_process=me.id)
        database = await self.open_database()
        if config.broker.url == ("embedded",):
            raise CannotStart(EMBEDDED)
        processes = Workers(self.reactor, "processes", 1)
        self.begin(processes)
        stomp = await self.begin_broker(config.broker.url)
        await self.reach_broker(stomp)
        await database.run_at_start(membership.enroll, me)
        serving = FleetServing(
            await self.runtime(database, stomp),
            me=me,
            workers=processes,
            launching=await self.prepare_launching(me, database, config.broker.url),
            launches=kind.launches,
        )
        self.begin(serving.topics)
        self.begin(serving.controller)
        if config.manhole.socket:
            self.begin_manhole(database)
