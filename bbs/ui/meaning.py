"""What a line that somebody types means, as a request to the service."""

from __future__ import annotations

from bbs.client.typed import Typed
from bbs.ui.aliases import meant
from bbs.ui.asked import asks, is_change
from bbs.ui.manual import alike
from bbs.ui.talk import Speaker, WrongUse
from bbs.ui.text import visible

IRREVOCABLE = ("delete",)
"""Commands that are asked about where it was not typed for whom they are."""


class Sure:
    """Whether somebody means what would do harm, or is a slip: it has to be typed twice."""

    __slots__ = ("_asked", "_confirmed")

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


async def understood(speaker: Speaker, line: str) -> Typed:
    """A line as a request to this service; `WrongUse` if it is none."""
    try:
        return await speaker.client.understand(line)
    except ValueError as problem:
        raise WrongUse(visible(str(problem))) from None


async def meaning(speaker: Speaker, sure: Sure, line: str) -> Typed:
    """The request that a line means: with the current user's name where none is typed."""
    for _ in range(2):  # A word that nobody knew may be an alias, once the service has been asked.
        line = await _without_alias(speaker, line)
        request = await understood(speaker, line)
        if request.offer is not None:
            break
    if request.offer is None and (close := alike(speaker, request.name)):
        name = visible(request.name)
        question = f"Unknown command {name}. Did you mean {visible(close)}?"
        sure.ask(speaker.current, line, question)
    # The name of a user here comes first where a name is typed; if too little follows, it is
    # something else: a friend who is logged in here too, or the beginning of a text.
    enough = request.is_complete or (is_change(request) and asks(request))
    named = not speaker.alone and request.user in speaker.users and enough
    if not request.takes_user or named or speaker.current is None:
        return request
    if request.name in IRREVOCABLE:
        name = visible(speaker.current)
        question = f"That is for good. Type it once more, and {name} is no more."
        sure.ask(speaker.current, line, question)
    command, space, rest = line.lstrip(" ").partition(" ")
    return await understood(speaker, f"{command} {speaker.current}{space}{rest}")


async def _without_alias(speaker: Speaker, line: str) -> str:
    command, space, rest = line.lstrip(" ").partition(" ")
    vocabulary = speaker.client.vocabulary
    if command not in vocabulary.offers and not vocabulary.learned:
        await speaker.client.learn()  # Which aliases there are the service says.
    return f"{meant(command, vocabulary)}{space}{rest}"
