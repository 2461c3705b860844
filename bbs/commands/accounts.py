"""Commands of the login server: accounts, sessions, and where a user is served."""

from __future__ import annotations

import hmac

from bbs.addresses import usual_form
from bbs.commands.dispatch import Ask, success
from bbs.errors import WrongCredentials
from bbs.limits.attempts import verify_within
from bbs.protocols.commands import CommandTable, Role, UnknownCommand, WrongUsage
from bbs.protocols.line import Reply
from bbs.rules import accounts
from bbs.rules.places import Look, Search

commands = CommandTable()


@commands.command("register <id> <password>", Role.LOGIN)
async def register(ask: Ask, name: str, password: str) -> Reply:
    """Create an account."""
    desk, address = ask.desk, ask.connection.peer_host
    await desk.database.run(accounts.check_free, name)
    desk.registrations.check(address)
    desk.registrations.note(address)
    password_hash = await desk.hasher.hash(password)
    await desk.database.run(accounts.register, name, password_hash, ask.now)
    return success()


@commands.command("login <id> <password>", Role.LOGIN)
async def login(ask: Ask, name: str, password: str) -> Reply:
    """Begin a session and take a place, waiting for one if none is free."""
    desk = ask.desk
    stored = await desk.database.run(accounts.password_hash, name)
    new_hash = await _verify(ask, name, stored, password)
    token = accounts.new_token()
    digest = accounts.digest(token)

    async def begin_session(look: Look) -> Search:
        search: Search = await desk.database.run(
            accounts.log_in, name, stored, digest, new_hash, ask.now, look
        )
        return search

    async def undo() -> None:
        await desk.database.run(accounts.undo_log_in, digest)

    seat = await desk.waiting_room.seat(name, ask.connection, begin_session, undo)
    desk.tally.logins += 1
    return success(token=token, app_server=ask.address(seat))


async def _verify(ask: Ask, name: str, stored: str | None, password: str) -> str | None:
    """Check the password; returns the hash to store instead, if any."""
    desk = ask.desk
    limits = ((desk.failed_by_account, name), (desk.failed_by_address, ask.connection.peer_host))
    verdict = await verify_within(limits, desk.hasher, stored, password)
    return verdict.new_hash


@commands.command("logout <user>", Role.LOGIN, rule=accounts.log_out)
async def logout(ask: Ask, caller: accounts.Caller) -> Reply:
    """End the user's sessions."""
    _tell_of_end(ask, caller)
    return success("Bye!")


@commands.command("delete <user>", Role.LOGIN, rule=accounts.delete)
async def delete(ask: Ask, caller: accounts.Caller) -> Reply:
    """Remove the account."""
    _tell_of_end(ask, caller)
    return success()


def _tell_of_end(ask: Ask, caller: accounts.Caller) -> None:
    ask.desk.bus.tell_user(caller.channel, {"event": "logout"})
    ask.desk.bus.tell_fleet("free")


@commands.command("locate <user>", Role.LOGIN)
async def locate(ask: Ask) -> Reply:
    """Where the user is served, anew if the server is gone."""
    seat = await ask.desk.locate(ask)
    return Reply({"status": 0, "app_server": ask.address(seat)})


@commands.command("forwarded-for <address> <secret>", Role.LOGIN, listed=False)
async def forwarded_for(ask: Ask, address: str, secret: str) -> Reply:
    """A gateway says for whom it speaks, so that limits are for that address and not for its own.

    Only who knows the secret is believed; a server without one has no such command.
    """
    desk, connection = ask.desk, ask.connection
    if not desk.gateway_secret:
        raise UnknownCommand(ask.command.name)
    # First: those who guess, from the gateway's own address perhaps, must not keep it out.
    if not hmac.compare_digest(secret.encode(), desk.gateway_secret.encode()):
        desk.failed_by_address.check(connection.peer_host)
        desk.failed_by_address.note(connection.peer_host)
        raise WrongCredentials()
    try:
        connection.peer_host = usual_form(address)
    except ValueError:
        raise WrongUsage(ask.command.usage) from None
    return success()
