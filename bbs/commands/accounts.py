"""Commands of every login server: accounts, sessions, and where a user is served."""

from __future__ import annotations

import hmac
from functools import partial

from twisted.internet.defer import Deferred

from bbs.commands.context import Ask, success
from bbs.core import audit
from bbs.core.addresses import usual_form
from bbs.core.errors import Refusal, TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import NAME_LENGTH
from bbs.limits.connections import counted_as
from bbs.protocols.commands import CommandTable, Role, UnknownCommand, WrongUsage
from bbs.protocols.line import Reply
from bbs.rules import accounts, auth, placement
from bbs.rules.accounts import AccountSuspended
from bbs.rules.names import normalized

commands = CommandTable()


@commands.command("register <id> <password>", Role.LOGIN)
async def register(ask: Ask, name: str, password: str) -> Reply:
    """Create an account."""
    address = ask.connection.peer_host
    try:
        await _register(ask, name, password, address)
    except Unavailable:
        raise
    except Refusal:
        tell("register", "refused", address, name)
        raise
    tell("register", "done", address, name)
    return success()


async def _register(ask: Ask, name: str, password: str, address: str) -> None:
    login = ask.home.login
    limits = login.limits
    if not limits.registration_is_open:
        raise accounts.RegistrationClosed()
    accounts.check_name(name)
    # Before it is known whether the name is taken: so nobody tries out who exists by thousands.
    limits.registrations.claim(counted_as(address))
    await ask.database.run(accounts.check_free, name)
    accounts.check_password(password, limits.password_minimum)
    password_hash = await limits.queue.run(address, partial(login.hasher.hash, password))
    await ask.database.run(
        accounts.register, name, password_hash, ask.now, ask.home.service.on_register
    )


@commands.command("login <id> <password>", Role.LOGIN, harmless=True)
async def login(ask: Ask, name: str, password: str) -> Reply:
    """Begin a session and take a place, waiting for one if none is free."""
    limits, hasher, address = ask.home.login.limits, ask.home.login.hasher, ask.connection.peer_host
    # However it is typed, it is one name to the limits.
    form = normalized(name)
    limits.logins.check(form, address)
    stored = await ask.database.run(accounts.password_hash, name)
    verdict = await limits.logins.attempt(form, address, partial(hasher.verify, stored, password))
    token = accounts.new_token()
    digest = auth.digest(token)
    of_service: dict[str, object] = {}

    async def begin_session(look: placement.Look) -> placement.Search:
        search = await ask.database.run(
            accounts.log_in,
            name,
            stored or "",
            digest,
            verdict.new_hash,
            ask.now,
            look,
            limits.sessions_per_user,
            ask.home.service.on_login,
        )
        if isinstance(search, accounts.LoginResult):
            of_service.update(search.members)
        return search

    def undo() -> Deferred[None]:
        return ask.database.run(accounts.undo_log_in, digest)

    # A typed name may be longer than any that is stored.
    waits_as = form if len(form) <= NAME_LENGTH else name
    try:
        seat = await ask.home.login.seating.seat(waits_as, ask.connection, begin_session, undo)
    except AccountSuspended:
        tell("login", "suspended", address, name)
        raise
    ask.home.tally.logins += 1
    own = success(token=token, app_server=_address(ask, seat)).body
    return Reply({**own, **of_service, **own})  # The service's come last, and replace none.


@commands.command("logout <user>", Role.LOGIN, rule=accounts.log_out)
async def logout(ask: Ask, caller: auth.Caller) -> Reply:
    """End the user's sessions."""
    _tell_of_end(ask, caller)
    return success("Bye!")


@commands.command("delete <user>", Role.LOGIN)
async def delete(ask: Ask) -> Reply:
    """Remove the account.

    One transaction does for nearly everybody. Where there is more, the first of them ends the
    sessions, so that the user is sent nothing meanwhile. An interruption then leaves an account
    that lacks some of what it had, the oldest first, and is nobody else's: its user may log in and
    delete it again.
    """
    caller, on_delete = ask.user, ask.home.service.on_delete
    removed = await ask.database.run(accounts.delete, caller, on_delete)
    _tell_of_end(ask, caller)
    while not removed:
        removed = await ask.database.run(accounts.delete, caller, on_delete, begun=True)
    tell("delete", "done", ask.connection.peer_host, caller.name)
    return success()


@commands.command("change-password <user> <old> <new>", Role.LOGIN)
async def change_password(ask: Ask, old: str, new: str) -> Reply:
    """Have the user's password be another, and end the user's other sessions.

    A wrong old one counts as a wrong password at `login` does: so a thief of a token finds out the
    password no sooner than anybody else.
    """
    caller, address = ask.user, ask.connection.peer_host
    limits, hasher = ask.home.login.limits, ask.home.login.hasher
    form = normalized(caller.name)

    def tell_of(outcome: str, *_: object) -> None:
        # That the old one is right is not the end of it.
        if outcome != "right":
            tell("change-password", outcome, address, caller.name)

    limits.logins.check(form, address, tell_of)
    stored = await ask.database.run(accounts.own_hash, caller)
    await limits.logins.attempt(form, address, partial(hasher.verify, stored, old), tell_of)
    try:
        accounts.check_password(new, limits.password_minimum)
        new_hash = await limits.queue.run(address, partial(hasher.hash, new))
        await ask.database.run(accounts.change_password, caller, stored, new_hash)
    except Unavailable:
        raise
    except Refusal:
        tell_of("refused")
        raise
    tell_of("done")
    # Servers at which ended sessions listen should look.
    ask.home.bus.tell(caller.channel, {"event": "logout"})
    return success()


def _tell_of_end(ask: Ask, caller: auth.Caller) -> None:
    ask.home.bus.tell(caller.channel, {"event": "logout"})
    ask.home.bus.tell_fleet("free")


@commands.command("locate <user>", Role.LOGIN, harmless=True, by_itself=True)
async def tell_where(ask: Ask) -> Reply:
    """Where the user is served, anew if the server is gone."""
    return Reply({"status": 0, "app_server": _address(ask, await locate(ask))})


async def locate(ask: Ask) -> placement.Seat:
    """Where the caller is served, waiting for a place if theirs is gone."""
    caller = ask.user
    if caller.server:
        seat = await ask.database.run(placement.ask, caller.id)
        if seat:
            return seat

    def take(look: placement.Look) -> Deferred[placement.Search]:
        return ask.database.run(placement.take, caller.id, look)

    return await ask.home.login.seating.seat(caller.name, ask.connection, take)


def _address(ask: Ask, seat: placement.Seat) -> dict[str, object]:
    """Where `seat` is, for this request's sender."""
    return seat.address.seen_from(ask.connection.local_host).as_json()


@commands.command("forwarded-for <address> <secret>", Role.LOGIN, listed=False)
async def forwarded_for(ask: Ask, address: str, secret: str) -> Reply:
    """A gateway says for whom it speaks, so that limits are for that address and not for its own.

    Only who knows the secret is believed; a server without one has no such command.
    """
    login, connection = ask.home.login, ask.connection
    if not login.gateway_secret:
        raise UnknownCommand(ask.command.name)
    # First: those who guess, from the gateway's own address perhaps, must not keep it out.
    if not hmac.compare_digest(secret.encode(), login.gateway_secret.encode()):
        _count_guess(ask)
        raise WrongCredentials()
    try:
        connection.peer_host = usual_form(address)
    except ValueError:
        raise WrongUsage(ask.command.usage) from None
    connection.vouch()
    ask.home.traces.believe(connection)
    return success()


def _count_guess(ask: Ask) -> None:
    """Somebody does not know the gateways' secret."""
    address = ask.connection.peer_host
    try:
        ask.home.login.limits.logins.guess(address)
    except TooManyAttempts:
        tell("gateway", "refused", address)
        raise
    tell("gateway", "wrong", address)


def tell(what: str, outcome: str, address: str, name: str = "") -> None:
    """Tell of a security event, with a name as somebody gave it: `bbs.core.audit.record`."""
    audit.record(what, outcome, address=address, name=name[:NAME_LENGTH])
