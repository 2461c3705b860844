"""What operators see of people on the page, and do to them: see `bbs.rules.people`.

Names, numbers and times; never a text that somebody wrote. Each deed is recorded by the transaction
that does it, as those on servers are, and heard by the servers within a second. Names stand in the
body or the query, as they may have anything in them, and passwords in the body alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from bbs.errors import Refusal
from bbs.limits.fair import FairQueue
from bbs.passwords import Hasher
from bbs.rules import accounts, people
from bbs.rules.operators import By
from bbs.rules.people import Done, NoSuchPerson, NotSuspended, Person
from bbs.storage.database import Database
from bbs.web.actions import Controls, NotDone, answered, done, fields_of, from_page, is_text
from bbs.web.kept import Kept
from bbs.web.resources import Asked, HttpAnswer, Responder, Told, as_json

PEOPLE_SHOWN = 50
"""People in one part of what is found."""


@dataclass(frozen=True, kw_only=True)
class Passwords:
    """How somebody's new password is hashed: in the turns of `queue`; `minimum` is in
    characters."""

    hasher: Hasher
    queue: FairQueue
    minimum: int


@dataclass(frozen=True, kw_only=True)
class PeopleControls:
    """Carries out what operators ask for of people.

    :param passwords: None where nobody may act.
    :param count: the service's numbers of one person, if it has any (`Service.person`).
    :param on_delete: what the service removes of an account, in parts (`Service.on_delete`).
    :param kept: what was found, for a moment.
    """

    controls: Controls
    passwords: Passwords | None
    count: Callable[[int], Mapping[str, int]] | None
    on_delete: Callable[[int], int] | None
    kept: Kept[HttpAnswer]

    @property
    def _database(self) -> Database:
        return self.controls.database

    # What operators see

    async def search(self, request: Any, by: By) -> HttpAnswer:
        """People by a part of their names."""
        text, behind, online = (_of_query(request, name) for name in ("search", "behind", "online"))

        async def make() -> HttpAnswer:
            found = await self._database.run(
                people.search,
                by.now,
                text,
                online=bool(online),
                behind=behind,
                limit=PEOPLE_SHOWN,
            )
            return as_json({"people": [_person(each) for each in found.people], "more": found.more})

        return await self.kept.get(("people", text, behind, online), make)

    async def show(self, request: Any, by: By) -> HttpAnswer:
        """One person, with what the service counts of them."""
        name = _of_query(request, "name")
        try:
            found = await self._database.run(people.show, by.now, name, self.count)
        except NoSuchPerson as error:
            raise _nobody() from error
        return as_json(_person(found))

    # What they do

    async def suspend(self, fields: Mapping[str, object], by: By) -> str:
        """Nobody logs in by that name for so long, or until it is resumed."""
        seconds, reason = fields.get("for"), fields.get("reason") or ""
        if seconds is not None and not _is_duration(seconds):
            raise NotDone(400, "How long is said in seconds, or left out")
        if not is_text(reason):
            raise NotDone(400, "The reason is a text")
        until = None if seconds is None else by.now + float(str(seconds))
        done = await self._run(people.suspend, by, _name(fields), until, str(reason).strip())
        return f"{done.name} is suspended; {_sessions(done)}"

    async def resume(self, fields: Mapping[str, object], by: By) -> str:
        """They may log in again."""
        return f"{(await self._run(people.resume, by, _name(fields))).name} may log in again"

    async def kick(self, fields: Mapping[str, object], by: By) -> str:
        """All their sessions end."""
        done = await self._run(people.kick, by, _name(fields))
        return f"{done.name}: {_sessions(done)}"

    async def set_password(self, fields: Mapping[str, object], by: By) -> str:
        """They have another password."""
        name, password, passwords = _name(fields), fields.get("password"), self.passwords
        if passwords is None or not is_text(password):
            raise NotDone(400, "A password is needed")
        if str(password).split() != [password]:
            raise NotDone(400, "A password is one word: commands could not say it")
        try:
            accounts.check_password(str(password), passwords.minimum)
        except Refusal as error:
            raise NotDone(400, error.message) from error
        # Before anybody troubles to hash it.
        await self._run(people.show, by.now, name)
        hashed = await passwords.queue.run(
            by.address, partial(passwords.hasher.hash, str(password))
        )
        done = await self._run(people.set_password, by, name, hashed)
        return f"{done.name} has the new password; {_sessions(done)}"

    async def delete(self, fields: Mapping[str, object], by: By) -> str:
        """The account is gone."""
        name = _name(fields)
        if fields.get("again") != name:
            raise NotDone(400, "Type the name once more: the two differ")
        done, left = await self._run(people.delete, by, name, self.on_delete)
        while left is not None:
            gone = await self._database.run(people.go_on_deleting, left, self.on_delete)
            left = None if gone else left
        return f"{done.name} is deleted; {_sessions(done)}"

    def _run(self, rule: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        def refused(failure: Any) -> None:
            if failure.check(NoSuchPerson):
                raise _nobody()
            if failure.check(NotSuspended):
                raise NotDone(409, "There is no suspension to end")
            failure.raiseException()

        return self._database.run(rule, *arguments).addErrback(refused)

    # What it is asked for by

    def resource(self) -> Asked:
        """`/people`, and what is below it."""
        controls = self.controls

        def asked(ask: Callable[[Any, By], Any]) -> Asked:
            async def answer(request: Any) -> HttpAnswer:
                found: HttpAnswer = await controls.by_operator(partial(ask, request))(request)
                return found

            return Asked(answered(answer))

        root = asked(self.search)
        root.putChild(b"show", asked(self.show))
        for name, do in (
            (people.SUSPEND, self.suspend),
            (people.RESUME, self.resume),
            (people.KICK, self.kick),
            (people.PASSWORD, self.set_password),
            (people.DELETE, self.delete),
        ):
            root.putChild(name.encode(), Told(from_page(self._deed(name, do))))
        return root

    def _deed(self, action: str, do: Callable[[Mapping[str, object], By], Any]) -> Responder:
        controls = self.controls

        async def answer(request: Any) -> HttpAnswer:
            async def act(by: By) -> HttpAnswer:
                if b"?" in request.uri:
                    raise NotDone(400, "What is to be done belongs in the body")
                fields = fields_of(request)
                message: str = await do(fields, by)
                controls.tell_done(by, action, _name(fields))
                return done(message)

            return await controls.by_operator(act)(request)

        return answer


def _person(person: Person) -> dict[str, object]:
    """As the page gets it."""
    shown = asdict(person) | {"state": person.state}
    del shown["id"]
    return shown


def _name(fields: Mapping[str, object]) -> str:
    name = fields.get("name")
    if not is_text(name) or not name:
        raise NotDone(400, "Whose account it is about is said by name")
    return str(name)


def _nobody() -> NotDone:
    return NotDone(404, "Nobody has this name")


def _sessions(done: Done) -> str:
    if not done.sessions:
        return "nobody was logged in"
    return f"{done.sessions} {'session' if done.sessions == 1 else 'sessions'} ended"


def _of_query(request: Any, name: str) -> str:
    value: bytes = request.args.get(name.encode(), [b""])[0]
    return value.decode("utf-8", "replace")


def _is_duration(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < float(str(value)) <= people.LONGEST
