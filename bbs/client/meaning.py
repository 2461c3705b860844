"""What a line that somebody types means, as a request to the service."""

from __future__ import annotations

from bbs.client.aliases import ALIASES, meant
from bbs.client.asked import asks, is_change
from bbs.client.manual import alike
from bbs.client.talk import Speaker, WrongUse
from bbs.client.text import visible
from bbs.client.typed import Typed

IRREVOCABLE = ("delete",)
"""Commands that are asked about where it was not typed for whom they are."""


class Sure:
    """Whether somebody means what would do harm, or is a slip: it has to be typed twice."""

    def __init__(self) -> None:
        self._asked: tuple[str | None, str] | None = None
        self._confirmed: tuple[str | None, str] | None = None

    def next_line(self) -> None:
        """Another line comes: it is the answer to what was asked at the one before, or to nothing
        any more."""
        self._confirmed, self._asked = self._asked, None

    def ask(self, user: str | None, line: str, question: str) -> None:
        """`WrongUse` with the question, unless this line of `user`'s is the answer to it."""
        said = user, line.strip(" ")
        if self._confirmed != said:
            self._asked = said
            raise WrongUse(question)


class Meaning:
    """Understands the lines of one conversation."""

    def __init__(self, speaker: Speaker, sure: Sure) -> None:
        self._speaker = speaker
        self._sure = sure

    async def understood(self, line: str) -> Typed:
        """A request to this service; `WrongUse` if it is none."""
        try:
            return await self._speaker.client.understand(line)
        except ValueError as problem:
            raise WrongUse(visible(str(problem))) from None

    async def of(self, line: str) -> Typed:
        """The request that a line means: with the current user's name where none is typed."""
        speaker = self._speaker
        line = await self._without_alias(line)
        request = await self.understood(line)
        if request.offer is None and (close := alike(speaker, request.name)):
            name = visible(request.name)
            question = f"Unknown command {name}. Did you mean {visible(close)}?"
            self._sure.ask(speaker.current, line, question)
        # The name of a user here comes first where a name is typed; if too little follows, it is
        # something else: a friend who is logged in here too, or the beginning of a text.
        enough = request.is_complete or (is_change(request) and asks(request))
        named = not speaker.alone and request.user in speaker.users and enough
        if not request.takes_user or named or speaker.current is None:
            return request
        if request.name in IRREVOCABLE:
            name = visible(speaker.current)
            question = f"That is for good. Type it once more, and {name} is no more."
            self._sure.ask(speaker.current, line, question)
        command, space, rest = line.lstrip(" ").partition(" ")
        return await self.understood(f"{command} {speaker.current}{space}{rest}")

    async def _without_alias(self, line: str) -> str:
        command, space, rest = line.lstrip(" ").partition(" ")
        if command not in ALIASES:
            return line
        await self._speaker.client.learn()  # A service may have a command of that name.
        return f"{meant(command, self._speaker.client.vocabulary.offers)}{space}{rest}"
