"""Passwords that a command needs and that were not typed behind it."""

from __future__ import annotations

from bbs.client.commands import FRAMEWORK
from bbs.client.typed import Typed
from bbs.ui.screen import IScreen
from bbs.ui.talk import WrongUse
from bbs.ui.text import visible

AGAIN = "The same once more: "


def asks(request: Typed) -> bool:
    """Whether a request lacks its passwords, and nothing else."""
    if request.name in ("login", "register"):
        return len(request.words) == 2
    return is_change(request) and len(request.words) == 2


def is_change(request: Typed) -> bool:
    """Whether it is a change of a password, and not a service's own command of that name."""
    change = FRAMEWORK["change-password"]
    return request.offer is not None and request.offer.is_same(change.command)


async def with_passwords(screen: IScreen, request: Typed) -> str:
    """The line of a request that `asks`, with what was typed unseen; `WrongUse` when that is none,
    and `GivenUp` when somebody will not say it."""
    name = visible(request.words[1])
    if is_change(request):
        old = await _word(screen, f"Old password for {name}: ")
        new = await _new(screen, f"New password for {name}: ", "changed")
        return f"change-password {request.words[1]} {old} {new}"
    prompt = f"Password for {name}: "
    if request.name == "register":
        return f"register {request.words[1]} {await _new(screen, prompt, 'registered')}"
    return f"login {request.words[1]} {await _word(screen, prompt)}"


async def _new(screen: IScreen, prompt: str, done: str) -> str:
    password = await _word(screen, prompt)
    if await screen.ask_password(AGAIN) != password:
        raise WrongUse(f"These are two passwords; nothing was {done}.")
    return password


async def _word(screen: IScreen, prompt: str) -> str:
    password = await screen.ask_password(prompt)
    if not password or " " in password:
        raise WrongUse("A password is one word, without spaces.")
    return password
