"""Commands of every login server: accounts, sessions, and where a user is served."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from twisted.internet.defer import Deferred

from bbs.commands.context import Ask, success
from bbs.core import audit
from bbs.core.addresses import counted_as, networks, usual_form
from bbs.core.errors import Refusal, TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import NAME_LENGTH
from bbs.protocols.commands import CommandTable, Role, UnknownCommand, WrongUsage
from bbs.protocols.line import Reply
from bbs.rules import accounts, auth, placement
from bbs.rules.accounts import AccountSuspended
from bbs.rules.names import normalized

commands = CommandTable()

DELETION = 400.0
"""The price of `delete`, in commands: to remove the most that an account can have takes a database
a second or two."""


@contextmanager
def _audited(what: str, address: str, name: str) -> Iterator[None]:
    """Tell the security log that the work within was done or refused. If the service was
    unavailable, tell nothing."""
    try:
        yield
    except Unavailable:
        raise
    except Refusal:
        tell(what, "refused", address, name)
        raise
    tell(what, "done", address, name)


@commands.command(
    "register <id> <password>",
    Role.LOGIN,
    bounded="an account and a hash; `registrations` is its price",
)
async def register(ask: Ask, name: str, password: str) -> Reply:
    address, run = ask.connection.peer_host, ask.database.run
    limits, hasher = ask.home.login.limits, ask.home.login.hasher
    with _audited("register", address, name):
        if not limits.registration_is_open:
            raise accounts.RegistrationClosed()
        accounts.check_name(name)
        # Before the name is looked up: so nobody tries out by thousands which names exist.
        limits.registrations.claim(counted_as(address))
        await run(accounts.check_free, name)
        accounts.check_password(password, limits.password_minimum)
        password_hash = await limits.queue.run(address, partial(hasher.hash, password))
        rule = ask.home.on_register
        await run(accounts.register, name, password_hash, ask.now, rule)
    return success()


@commands.command(
    "login <id> <password>",
    Role.LOGIN,
    harmless=True,
    bounded="a session and a place; `logins` and `failed_logins` are its prices",
)
async def login(ask: Ask, name: str, password: str) -> Reply:
    """Begin a session and take a place, waiting for one if none is free."""
    limits, hasher, address = ask.home.login.limits, ask.home.login.hasher, ask.connection.peer_host
    # All spellings of a name are one name to the limits. Before the user is looked up, only what
    # refuses known users too is refused.
    form = normalized(name)
    limits.logins.check(form, address, known=None)
    found = await ask.database.run(accounts.credentials, name)
    stored, network = found.password_hash, _own_network(ask)
    verify = partial(hasher.verify, stored, password)
    with _counted(ask, name):
        verdict = await limits.logins.attempt(form, address, verify, known=_known_by(ask, found))
    token = accounts.new_token()
    digest = auth.digest(token)
    session = (name, stored or "", digest, verdict.new_hash, ask.now)
    noted = network if network and found.lack(network, ask.now) else ""
    most, on_login = limits.sessions_per_user, ask.home.service.on_any_login
    of_service: dict[str, object] = {}

    async def begin_session(look: placement.Look) -> placement.Search:
        search = await ask.database.run(accounts.log_in, *session, look, most, on_login, noted)
        if isinstance(search, accounts.LoginResult):
            of_service.update(search.members)
        return search

    undo = partial(ask.database.run, accounts.undo_log_in, digest)
    # A typed name may be longer than any stored one.
    waits_as = form if len(form) <= NAME_LENGTH else name
    try:
        seat = await ask.home.login.seating.seat(
            waits_as, ask.connection, begin_session, undo, _origin(ask)
        )
    except AccountSuspended:
        tell("login", "suspended", address, name)
        raise
    ask.home.tally.logins += 1
    ask.connection.has_session()
    device = ask.home.login.devices.issue(found.user, verdict.new_hash or stored or "", ask.now)
    own = success(token=token, app_server=_address(ask, seat), device=device).body
    return Reply({**own, **of_service, **own})  # The service's come last, and replace none.


def _own_network(ask: Ask) -> str:
    """The network by which the sender may be known; "" for an address that many people share, as
    behind a proxy that is trusted."""
    return networks(_origin(ask))[1]


def _known_by(ask: Ask, found: accounts.Credentials) -> str:
    """The device or the network by which the user is known; "" if by neither."""
    network = _own_network(ask)
    device = ask.home.login.devices.verify(ask.connection, found, ask.now)
    return device or (network if found.know(network, ask.now) else "")


@commands.command("device <token>", Role.LOGIN, harmless=True, listed=False, bounded="one word")
async def show_device(ask: Ask, token: str) -> Reply:
    """Show a login's `device` again, before the next login on this connection."""
    ask.home.login.devices.show(ask.connection, token)
    return success()


def _tell_ended(ask: Ask, caller: auth.Caller) -> None:
    """Have the server where the caller listens look which sessions have ended."""
    servers = None if caller.server is None else (caller.server,)
    ask.home.bus.tell(caller.channel, {"event": "logout"}, servers=servers)


@commands.command(
    "logout <user>",
    Role.LOGIN,
    rule=accounts.log_out,
    bounded="sessions, a place, and up to 1,000 channels that are heard",
    refuses=(),
)
async def logout(ask: Ask, caller: auth.Caller) -> Reply:
    _tell_ended(ask, caller)
    ask.home.bus.tell_fleet("free")
    return success("Bye!")


@commands.command(
    "delete <user>",
    Role.LOGIN,
    bounded="all that one account may have",
)
@auth.costs(commands=DELETION)
async def delete(ask: Ask) -> Reply:
    """Remove the account.

    One transaction is enough for nearly all users. If not, the first one ends the sessions, so that
    the user is sent nothing meanwhile. After an interruption the account lacks its oldest data, and
    its name stays taken: the user may log in and delete it again.
    """
    caller, on_delete = ask.user, ask.home.service.forget
    removed = await ask.database.run(accounts.delete, caller, on_delete)
    _tell_ended(ask, caller)
    ask.home.bus.tell_fleet("free")
    while not removed:
        removed = await ask.database.run(accounts.delete, caller, on_delete, begun=True)
    ask.home.charges.forget(caller.id)
    tell("delete", "done", ask.connection.peer_host, caller.name)
    return success()


@commands.command(
    "change-password <user> <old> <new>",
    Role.LOGIN,
    bounded="a hash, and `sessions_per_user` sessions; `failed_logins` is its price",
    refuses=(WrongCredentials, accounts.PasswordTooShort, accounts.PasswordTooLong),
)
async def change_password(ask: Ask, old: str, new: str) -> Reply:
    """Change the password, and end the user's other sessions.

    A wrong old password counts as a wrong password at `login` does, so the thief of a token finds
    out the password no sooner than anybody else.
    """
    caller, address = ask.user, ask.connection.peer_host
    limits, hasher = ask.home.login.limits, ask.home.login.hasher
    form = normalized(caller.name)

    def tell_if_wrong(outcome: str, *_: object) -> None:
        # The right old password does not end the request.
        if outcome != "right":
            tell("change-password", outcome, address, caller.name)

    limits.logins.check(form, address, tell_if_wrong, known=None)
    found = await ask.database.run(accounts.own_credentials, caller)
    stored, known = found.password_hash or "", _known_by(ask, found)
    verify = partial(hasher.verify, stored, old)
    await limits.logins.attempt(form, address, verify, tell_if_wrong, known)
    with _audited("change-password", address, caller.name):
        accounts.check_password(new, limits.password_minimum)
        new_hash = await limits.queue.run(address, partial(hasher.hash, new))
        await ask.database.run(accounts.change_password, caller, stored, new_hash)
    # Servers at which ended sessions listen should look.
    _tell_ended(ask, caller)
    return success()


@commands.command(
    "locate <user>",
    Role.LOGIN,
    harmless=True,
    by_itself=True,
    bounded="an address",
    refuses=(),
)
async def tell_where(ask: Ask) -> Reply:
    """Say where the user is served; find a new place if the server is gone."""
    return Reply({"status": 0, "app_server": _address(ask, await locate(ask))})


async def locate(ask: Ask) -> placement.Seat:
    """Find where the caller is served, and wait for a new place if theirs is gone."""
    caller = ask.user
    if caller.server:
        seat = await ask.database.run(placement.ask, caller.id)
        if seat:
            return seat

    def take(look: placement.Look) -> Deferred[placement.Search]:
        return ask.database.run(placement.take, caller.id, look)

    seating = ask.home.login.seating
    return await seating.seat(caller.name, ask.connection, take, origin=_origin(ask))


def _origin(ask: Ask) -> str:
    """Where the sender of this request is, as limits count it; "" for a trusted network."""
    host = ask.connection.peer_host
    return "" if host in ask.home.charges.trusted else counted_as(host)


@contextmanager
def _counted(ask: Ask, name: str) -> Iterator[None]:
    """Count a login of an address that is not trusted, unless it fails.

    :raises TooManyAttempts: there have been too many from the address, whatever the names.
    """
    logins, origin = ask.home.login.limits.logins_from, _origin(ask)
    if not origin:
        yield
        return
    try:
        logins.claim(origin)
    except TooManyAttempts:
        tell("login", "refused", ask.connection.peer_host, name)
        raise
    try:
        yield
    except BaseException:
        logins.give_back(origin)
        raise


def _address(ask: Ask, seat: placement.Seat) -> dict[str, object]:
    """The address of `seat`, as the sender of this request reaches it."""
    return seat.address.seen_from(ask.connection.local_host).as_json()


@commands.command(
    "forwarded-for <address> <secret>", Role.LOGIN, listed=False, bounded="nothing is read"
)
async def forwarded_for(ask: Ask, address: str, secret: str) -> Reply:
    """Have a gateway name its user's address, so that limits are for that address.

    The gateway must know the secret; a server without one has no such command. Guesses, perhaps
    from the gateway's own address, must not keep it out: after too many of them from there, its
    secret is compared too, only later (`LoginLimits.before_guess`).
    """
    login, connection = ask.home.login, ask.connection
    if not login.gateway_secret:
        raise UnknownCommand(ask.command.name)
    await login.limits.logins.before_guess(connection.peer_host)
    if not hmac.compare_digest(secret.encode(), login.gateway_secret.encode()):
        try:
            login.limits.logins.guess(connection.peer_host)
        except TooManyAttempts:
            tell("gateway", "refused", connection.peer_host)
            raise
        tell("gateway", "wrong", connection.peer_host)
        raise WrongCredentials()
    try:
        connection.peer_host = usual_form(address)
    except ValueError:
        raise WrongUsage(ask.command.usage) from None
    connection.vouch()
    ask.home.traces.believe(connection)
    return success()


def tell(what: str, outcome: str, address: str, name: str = "") -> None:
    """Tell the security log of an event (`bbs.core.audit.record`), with a name as it was given."""
    audit.record(what, outcome, address=address, name=name[:NAME_LENGTH])
