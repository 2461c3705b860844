"""Operators make, list and end announcements."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bbs.board.announcements import rules as announcements
from bbs.board.operating import NotDone, number, read_id
from bbs.framework import read_only
from bbs.operators import (
    ActResult,
    ListRow,
    OperatorAct,
    OperatorColumn,
    OperatorField,
    OperatorList,
    Subcommand,
)

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from bbs.operators import Operator

LINE_SEPARATOR = "\u2028"  # between the lines of a text


def _arguments_of_announce(parser: ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", metavar="TEXT", help="what everybody is told")
    help = "when it ends: 2h (s, m, h, d or w), or ISO 8601; without it, when it is removed"
    parser.add_argument("--until", metavar="TIME", help=help)
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--list", action="store_true", help="show the announcements")
    others.add_argument("--remove", type=number, metavar="N", help="end the announcement N")


def _announce(operator: Operator, options: Namespace) -> None:
    if (options.text is None) == (not options.list and options.remove is None):
        operator.misuse("give one of TEXT, --list and --remove N")
    if options.list:
        _list_announcements(operator)
    elif options.remove is not None:
        _remove_announcement(operator, options.remove)
    else:
        until = None if options.until is None else operator.moment(options.until)
        _add_announcement(operator, options.text, until)


def _add_announcement(operator: Operator, text: str, until: float | None) -> None:
    try:
        members = operator.perform(ANNOUNCE, "", text=text, until=until).members
    except announcements.TooMany as error:
        operator.fail(f"{error.message}: remove one with --remove N")
    ends = "until it is removed" if until is None else f"until {operator.time(until)}"
    operator.say(f"announced, as number {members['announcement']}, {ends}", members)


def announce(now: float, _: str, *, text: str, until: float | None) -> ActResult:
    """Tell everybody something.

    :raises NotDone: not with this text.
    :raises TooMany: not now.
    """
    text = _checked(text)
    number = announcements.add(text, now, until)
    members = {"announcement": number, "text": text, "time": now, "until": until}
    return ActResult(text, members)


def _checked(text: str) -> str:
    """The text of an announcement as it is stored."""
    text = LINE_SEPARATOR.join(text.strip().splitlines())
    most = announcements.MOST_TEXT
    if not text:
        raise NotDone("an announcement needs a text")
    if len(text) > most:
        raise NotDone(f"the text has {len(text):,} characters: at most {most:,} are allowed")
    if any(unicodedata.category(each) == "Cc" for each in text):
        raise NotDone("the text has control characters")
    return text


def _list_announcements(operator: Operator) -> None:
    found = operator.call(announcements.listed, operator.now)
    row = "{:>4}  {:27}{:27}{}".format
    lines = [row("N", "SINCE", "UNTIL", "TEXT")]
    for each in found:
        times = operator.time(each.time), operator.time(each.until)
        lines.append(row(each.number, *times, each.text.replace(LINE_SEPARATOR, " ")))
    operator.say_all(lines, ({**each.entry, "until": each.until} for each in found))


def _remove_announcement(operator: Operator, number: int) -> None:
    try:
        done = operator.perform(END_ANNOUNCEMENT, f"{number}")
    except announcements.NoSuchAnnouncement as error:
        operator.fail(f"{error.message}: --list shows them")
    operator.say(f"announcement {number} is removed", done.members)


def end_announcement(_: float, number: str) -> ActResult:
    """End the announcement with this number.

    :raises NoSuchAnnouncement: there is none.
    """
    id = read_id(number)
    announcements.remove(id)
    return ActResult(f"{id}", {"announcement": id, "done": "remove"})


@read_only
def _announcements(now: float, search: str, behind: str, limit: int) -> list[ListRow]:
    """The rows of the announcements, latest first: all in one part, as there are few."""
    return [
        ListRow(
            f"{each.number}",
            (
                each.text.replace(LINE_SEPARATOR, " "),
                each.time,
                "an operator ends it" if each.until is None else each.until,
            ),
        )
        for each in reversed(announcements.listed(now))
    ]


ANNOUNCE = OperatorAct(
    "announce",
    "announced: {}",
    rule=announce,
    label="Announce",
    title="Tell everybody something?",
    means="Everybody who is here is told at once, and whoever logs in until it ends.",
    fields=(
        OperatorField("text", "Text", "lines", most=announcements.MOST_TEXT),
        OperatorField("until", "Ends at (empty: when an operator ends it)", "time", optional=True),
    ),
)
END_ANNOUNCEMENT = OperatorAct(
    "announce-remove",
    "ended the announcement {}",
    rule=end_announcement,
    label="End",
    title="End this announcement?",
    means="Nobody who logs in from now on is told.",
)
ANNOUNCEMENTS = OperatorList(
    "announcements",
    "Announcements",
    (
        OperatorColumn("Text"),
        OperatorColumn("Since", "time"),
        OperatorColumn("Until", "time"),
    ),
    _announcements,
    means="Everybody is told these at login, and while they are here.",
    acts=(END_ANNOUNCEMENT,),
    adds=(ANNOUNCE,),
)

SUBCOMMANDS: Mapping[str, Subcommand] = {
    "announce": Subcommand("tell everybody something", _announce, _arguments_of_announce),
}
