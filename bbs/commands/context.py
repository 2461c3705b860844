"""The context of a request, which handlers get, and the replies that they make."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from bbs.commands.extensions import Extension
from bbs.commands.service import Service
from bbs.core import audit, tracing
from bbs.core.addresses import Address
from bbs.core.errors import Refusal, TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import RESERVED_EVENTS, Tally, Timing, Trouble
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.delivery.presence import PresenceTracker
from bbs.protocols.commands import Command, CommandTable, Role
from bbs.protocols.line import IConnection, Reply
from bbs.rules import accounts, auth, placement
from bbs.storage.database import Database

if TYPE_CHECKING:
    from bbs.commands.cost_limits import CostLimits
    from bbs.limits.fair_queue import FairQueue
    from bbs.limits.password_hashing import Hasher
    from bbs.limits.rate_limits import Buckets, LoginLimits

TROUBLES = (
    (WrongCredentials, Trouble.FAILED_LOGINS),
    (Unavailable, Trouble.UNAVAILABLE),
    (TooManyAttempts, Trouble.ATTEMPTS),
)
"""Refusals that are counted for operators."""


class Moved(Refusal):
    """The user is served at `address`; the request was not carried out."""

    text = "Moved to {}"

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.address = address


class AskLoginServer(Refusal):
    """The command is the login server's own, or the user has no place yet."""

    text = "Ask the login server"


@dataclass(frozen=True)
class AccountLimits:
    """Limits on the requests of strangers to a login server.

    `queue` gives turns to the hashing of passwords. `registrations`, and `logins_from` an address
    that succeed with all names, are counted by address, as `bbs.core.addresses.counted_as` gives
    it; `password_minimum` is in characters.
    """

    queue: FairQueue
    logins: LoginLimits
    registrations: Buckets
    logins_from: Buckets
    registration_is_open: bool = True
    password_minimum: int = 1
    sessions_per_user: int = 32


@dataclass(frozen=True)
class LoginServerParts:
    """The parts that only a login server has. Gateways show that they know `gateway_secret`."""

    hasher: Hasher
    limits: AccountLimits
    seating: placement.IPlacement
    devices: accounts.DeviceTokens
    gateway_secret: str = field(default="", repr=False)
    server_id: ClassVar[str | None] = None  # Nobody has a place on it.


@dataclass
class AppServerParts:
    """The parts that only an app server has. `server_id` is None until it has joined the fleet."""

    listeners: Listeners
    presence: PresenceTracker
    server_id: str | None = None


class RequestTraces:
    """The traces that peers have named for their next requests.

    Gateways that know the secret, and trusted networks, decide whether such a trace is recorded.
    For all others this server decides.
    """

    def __init__(self) -> None:
        self._given: dict[IConnection, str] = {}
        self._believed: set[IConnection] = set()

    def believe(self, connection: IConnection) -> None:
        """Let the peer, a gateway of ours, decide whether its traces are recorded."""
        if tracing.recording:
            self._believed.add(connection)

    def give(self, connection: IConnection, traceparent: str, trusted: bool) -> None:
        """Make the next request on `connection` part of that trace."""
        trusted = trusted or connection in self._believed
        self._given[connection] = tracing.admitted(traceparent, trusted)

    def take(self, connection: IConnection) -> str:
        return self._given.pop(connection, "")

    def forget(self, connection: IConnection) -> None:
        self._given.pop(connection, None)
        self._believed.discard(connection)


class LoadedExtension(NamedTuple):
    """An extension, with the settings that it declares."""

    extension: Extension
    settings: object


@dataclass(frozen=True)
class ServerContext:
    """The server that a request came to, as its commands see it.

    `parts` say which kind of server it is. `watchers` are the connections that said `events`.
    `wall` stamps stored values (seconds since the epoch); people can set that clock, so it does not
    measure times. `described` is the service's presentation in the reply to `commands`, and
    `settings` the section of the configuration that the service declares. `extensions` has the
    extension of each command that the service does not have itself. `on_register` is the rule for
    new accounts. `answered` is called with each answer to a command, a `Reply` or a refusal, and
    with each event that is told, to be compared with what is declared; None in production.
    """

    service: Service
    table: CommandTable
    database: Database
    bus: Bus
    sessions: auth.Sessions
    wall: Callable[[], float]
    tally: Tally
    watchers: set[IConnection]
    charges: CostLimits
    parts: LoginServerParts | AppServerParts
    timing: Timing
    described: Mapping[str, object] = field(default_factory=dict)
    settings: Any = None
    extensions: Mapping[str, LoadedExtension] = field(default_factory=dict)
    on_register: Callable[[int], object] | None = None
    traces: RequestTraces = field(default_factory=RequestTraces)
    answered: Callable[[Any, Any], object] | None = None

    @property
    def role(self) -> Role:
        return Role.LOGIN if isinstance(self.parts, LoginServerParts) else Role.APP

    @property
    def login(self) -> LoginServerParts:
        if isinstance(self.parts, LoginServerParts):
            return self.parts
        raise LookupError("this is an app server")

    @property
    def app(self) -> AppServerParts:
        if isinstance(self.parts, AppServerParts):
            return self.parts
        raise LookupError("this is a login server")


@dataclass(frozen=True)
class Ask:
    """One request, for a handler that needs more than its arguments.

    `now` is the time at which it came, in seconds since the epoch, `connection` the connection on
    which it came, and `command` the command's declaration. `home` and `caller` are for the
    framework alone.
    """

    home: ServerContext
    command: Command
    connection: IConnection
    now: float
    caller: auth.Caller | None = None

    @property
    def user(self) -> auth.Caller:
        """The caller of a command that takes `<user>`; LookupError for other commands."""
        if self.caller is None:
            raise LookupError(f"{self.command.name} takes no <user>")
        return self.caller

    @property
    def database(self) -> Database:
        """Runs rules: `await ask.database.run(rule, …)` gives what the rule returns, or raises what
        the rule raises; within 2 seconds a `Refusal`, if the database does not answer."""
        return self.home.database

    @property
    def role(self) -> Role:
        """Which kind of server this is: `Role.LOGIN` or `Role.APP`."""
        return self.home.role

    @property
    def settings(self) -> Any:
        """The section of the configuration that the service declares, or the command's extension;
        None without one."""
        loaded = self.home.extensions.get(self.command.name)
        return loaded.settings if loaded else self.home.settings

    async def tell(
        self,
        channel: str,
        event: Mapping[str, object],
        after: Mapping[int, int] | None = None,
        *,
        asked: bool = False,
        here: bool = False,
        servers: Collection[str | None] | None = None,
    ) -> None:
        """Tell `event` to the connections that listen to `channel`, at all servers: to those of
        this server directly, to others by the broker.

        An event has the members `event`, its name, and `text`, which clients show if they do not
        know the event. A channel is a user's (`Caller.channel`, `User.channel`), or one of the
        service's own, `KIND.NAME`, of letters and digits. Connections that do not listen now, or
        not fast enough, do not get the event; the service's `Feed` is for events that must not be
        lost. For an event of the feed, `after` may map readers (`User.id`) to the ids of their
        previous events, as the transaction that stored the event saw them: a reader who was sent
        that previous event gets this one without a look at the database.

        With `asked` the event goes only to those of the connections that said `events`, is never
        kept whatever members it has, and is dropped if it is too long. If the channel is the
        caller's own, the connection of this request does not get the event: it already knows.
        The connections of this server get the event behind the reply, if that comes at once.

        `servers` are the app servers where all who are to have the event have their places
        (`Place.server`), as the transaction saw them; `here` says that this server is the only one.
        Without them, an event on a user's channel, or on one of a kind that is `placed`
        (`Service`), goes by the broker to all app servers. A reader who has just moved elsewhere
        gets a durable event when listening there begins, or with the next look at the database.

        :raises ValueError: `channel` is malformed, `after` is not a mapping, `servers` is a text,
            the event has no name or a name of the framework's own (`moved`, `logout`, `waiting`,
            `problem`), an event of an extension has an `id` without being one of its `feed_events`,
            or an event for other servers without an `id` is longer than 2 MiB on the wire.
        """
        name = event.get("event")
        if not isinstance(name, str) or not name or name in RESERVED_EVENTS:
            raise ValueError(f"a service cannot have an event with the name {name!r}")
        if not accounts.CHANNEL.fullmatch(channel):
            raise accounts.not_a_channel(channel)
        if "id" in event and not asked:
            self._check_durable(name)
        if self.home.answered is not None:
            self._compare(self.home.answered, event)
        if after is not None and not isinstance(after, Mapping):
            raise ValueError(f"after must map readers to ids, and is {after!r}")
        if isinstance(servers, str):
            raise ValueError(f"servers must be ids, and is the text {servers!r}")
        own = None if self.caller is None or channel != self.caller.channel else self.caller
        if here:
            servers = ()
        elif own and own.server and servers is None:
            # A user listens where the user's place is, or has been told to go there.
            servers = (own.server,)
        bus, asking = self.home.bus, self.connection
        if asked:
            bus.tell_asked([(channel, servers)], event, asking if own else None, asking=asking)
        else:
            bus.tell(channel, event, after, servers=servers, asking=asking)

    def _compare(self, answered: Callable[[Any, Any], object], event: Mapping[str, object]) -> None:
        """Have an event compared with what the service or extension declares, if it declares
        any."""
        loaded = self.home.extensions.get(self.command.name)
        if events := (loaded.extension if loaded else self.home.service).events:
            answered(events, event)

    def _check_durable(self, name: str) -> None:
        """Refuse an event with an id that the feed does not have: nobody would be sent it."""
        loaded, feed = self.home.extensions.get(self.command.name), self.home.service.feed
        durable = loaded.extension.feed_events if loaded else feed.events if feed else None
        if durable is not None and name not in durable:
            where = f"feed_events of {loaded.extension.name}" if loaded else "events of the Feed"
            raise ValueError(
                f"the event {name} has an id, so it would be looked for in the feed: leave the id"
                f" out, or name the event in {where}"
            )

    async def tell_each(
        self, channels: Iterable[tuple[str, bool | str | None]], event: Mapping[str, object]
    ) -> None:
        """Tell `event` on several channels, as `tell` does with `asked`: each with the app server
        where all who are to have it have their places (None: they have none), or with `here`. The
        connection of this request never gets it. For many channels this costs less than `tell`.

        :raises ValueError: the event has a name of the framework's own.
        """
        if event["event"] in RESERVED_EVENTS:
            raise ValueError(f"a service cannot have an event with the name {event['event']!r}")
        if self.home.answered is not None:
            self._compare(self.home.answered, event)
        told = [(channel, servers_of(where)) for channel, where in channels]
        self.home.bus.tell_asked(told, event, self.connection, asking=self.connection)

    async def hear(self, channel: str) -> None:
        """Have the connections that listen for the caller hear `channel`, one of the service's own,
        from now on; return when the broker has confirmed it.

        :raises LookupError: this is a login server, or the command takes no `<user>`.
        """
        await self.home.app.listeners.hear(self.user.id, channel)

    def unhear(self, channel: str) -> None:
        """Have the connections that listen for the caller no longer hear `channel`. Events that a
        feed already has for the caller are still sent. Raises as `hear` does."""
        self.home.app.listeners.unhear(self.user.id, channel)

    async def unhear_for(self, whose: str, channel: str) -> None:
        """Have the connections that listen for another user, whose own channel is `whose`, no
        longer hear `channel`, at all servers. A server that misses this hint finds out by itself,
        if the service's feed has `channels`."""
        self.home.bus.tell_unhear(whose, channel, asking=self.connection)

    def count(self, name: str) -> None:
        """Count one more of `name`; LookupError unless the service has that counter."""
        if name not in self.home.service.counted:
            raise LookupError(f"{self.home.service.name} has no counter {name}")
        self.home.tally.counts[name] += 1


def servers_of(where: bool | str | None) -> tuple[str | None, ...] | None:
    """The `servers` of `Ask.tell` for a channel of `Ask.tell_each`."""
    if isinstance(where, bool):
        return () if where else None
    return (where,)


def success(message: str = "Success!", **members: object) -> Reply:
    """The reply to a request that was carried out: a `message` for people, and more `members`,
    which JSON can express."""
    return Reply({"status": 0, "message": message, **members})


def failure(error: Refusal, connection: IConnection, tally: Tally) -> Reply:
    """The reply to a refused request; `tally` counts troubles."""
    where: dict[str, object] = {}
    for kind, trouble in TROUBLES:
        if isinstance(error, kind):
            tally.note(trouble)
    if error.limit:
        audit.record("quota", "refused", address=connection.peer_host)
    if isinstance(error, Moved):
        error = Moved(error.address.seen_from(connection.local_host))
        where["app_server"] = error.address.as_json()
    return Reply({"status": 1, "message": error.message, "code": error.code, **where})
