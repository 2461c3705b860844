"""Lines that a person typed and the service did not carry out, or may not have.

Nothing that was entered vanishes: each such line is shown with its text and the reason. A request
whose reply is lost is not sent again, since nobody would want a message twice; so its line is one
that may not have been sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bbs.client.errors import BadReply, ClientError, Lost, TurnedAway, Unreachable
from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.core.errors import DiskFull, TooManyConnections, Unavailable
from bbs.ui.output import visible
from bbs.ui.process import write_private
from bbs.ui.prompts import QUESTIONS, without_password
from bbs.ui.wording import problem_words

GIVEN_UP = "given up"

UNKNOWN_OUTCOME = (Unavailable.code, "internal-error")
"""Codes of refusals after which a change may have been made all the same: a database that does not
answer may commit late."""

OF_SERVICE = (*UNKNOWN_OUTCOME, DiskFull.code, TooManyConnections.code)
"""Codes of refusals that say nothing about the line, which may succeed later."""

REASONS: Mapping[type[ClientError], str] = {
    Unreachable: "no connection",
    Lost: "no reply",
    BadReply: "malformed reply",
}
"""What people read of these failures; of others, the failure's own text."""

MOST_OF_OVERLONG = 60  # characters shown of a line that was too long to be taken


def unsent_line(line: str, why: str = "", *, known: bool = True, speaker: str = "") -> str:
    """The text about a line that was not sent; if that is not `known`, that may not have been.
    `speaker` is the user who said it, if several are here."""
    said = "Not sent" if known else "May not have been sent"
    as_user = f" as {visible(speaker)}" if speaker else ""
    reason = f" ({visible(why)})" if why else ""
    return f"{said}{as_user}: {visible(line)}{reason}"


def unsent_lines(lines: Iterable[str | None]) -> Sequence[str]:
    """The texts about lines that waited and are dropped, without blank lines and passwords. None is
    a line that was typed hidden."""
    given = [*lines]
    shown = [each for each in given if each is not None and each.strip()]
    said = [unsent_line(without_password(each)) for each in shown]
    hidden = sum(each is None for each in given)
    return [*said, hidden_lines(hidden)] if hidden else said


def hidden_lines(count: int) -> str:
    return f"Not sent: {'1 hidden line' if count == 1 else f'{count} hidden lines'}"


def overlong_line(begun: str, why: str) -> str:
    """The text about a line that is too long, of which `begun` is the beginning."""
    first = begun.partition("\n")[0]
    return unsent_line(f"{first[:MOST_OF_OVERLONG]}…", why)


def failed_line(line: str, problem: ClientError, speaker: str = "") -> str:
    """The text about a line whose request got no usable reply."""
    known = not isinstance(problem, (Lost, BadReply))
    return unsent_line(line, _reason(problem), known=known, speaker=speaker)


def _reason(problem: ClientError) -> str:
    """The reason for people, who need no addresses."""
    if not isinstance(problem, TurnedAway):
        for kind, reason in REASONS.items():
            if isinstance(problem, kind):
                return reason
    return problem_words(problem).removesuffix(".")


def refused_line(line: str, reply: ServiceReply, why: str, speaker: str = "") -> str:
    """The text about a line whose request was refused, for the reason `why`."""
    known = reply.code not in UNKNOWN_OUTCOME
    return unsent_line(line, why, known=known, speaker=speaker)


def typed_line(request: ClientRequest, line: str) -> str:
    """A typed line without the passwords in its request."""
    if request.name in QUESTIONS:
        return " ".join(request.words[:2])
    return line.strip(" ")


@dataclass(frozen=True)
class UnsentFile:
    """A file for what a terminal that is gone could not show: the client shows it when it starts
    the next time. Only its owner can read it. Both methods block."""

    path: Path

    def add(self, texts: Sequence[str]) -> None:
        """Keep texts until the next `take`; if the file cannot be written, they are lost."""
        if texts:
            write_private(self.path, json.dumps([*self._read(), *texts]))

    def take(self) -> Sequence[str]:
        """Return the texts, and keep them no longer."""
        texts = self._read()
        with suppress(OSError):
            self.path.unlink()
        return texts

    def _read(self) -> Sequence[str]:
        try:
            texts = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        entries = texts if isinstance(texts, list) else []
        return [visible(each) for each in entries if isinstance(each, str)]
