"""What operators see of groups, and do: they rename, give away and remove them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import peewee

from bbs.board.groups import errors, groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import LAST_ID
from bbs.board.operating import NotDone, read_id
from bbs.board.people.errors import NoSuchUser
from bbs.board.posts.tables import Contribution
from bbs.framework import NAME_LENGTH, User, read_only
from bbs.framework.fast import long_read, rows, statement
from bbs.framework.names import as_stored, normalized
from bbs.operators import (
    ActResult,
    ListRow,
    OperatorAct,
    OperatorColumn,
    OperatorField,
    OperatorList,
    Subcommand,
    contains,
)

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from bbs.operators import Operator

GROUPS_AT_ONCE = 100  # groups of a list that one transaction reads


class GroupFigures(NamedTuple):
    """A group, for operators; `owner` is a name, or None if nobody owns it."""

    name: str
    topic: str | None
    owner: str | None
    private: bool
    members: int
    posts: int

    @classmethod
    def read(
        cls, name: str, topic: str | None, owner: str | None, private: bool, *counts: int
    ) -> GroupFigures:
        """Read a row of `_figures` behind its id."""
        members, posts = counts
        is_private = groups.is_private(private, owner, members)
        return cls(name, topic, owner, is_private, members, posts)


@long_read
def groups_behind(last: int) -> list[tuple[int, GroupFigures]]:
    """`GROUPS_AT_ONCE` groups behind the id `last`, the oldest first, each behind its id."""
    return [(id, GroupFigures.read(*row)) for id, *row in _groups(last, GROUPS_AT_ONCE)]


@read_only
def find_group(name: str) -> tuple[int, GroupFigures] | None:
    """The group `name`, behind its id; None if there is none."""
    form = as_stored(name, Group.name)
    # The name is compared again: MySQL ignores trailing blanks.
    found = [(id, GroupFigures.read(*row)) for id, *row in _named(form) if row[0] == form]
    return found[0] if found else None


def _list_groups(operator: Operator, options: Namespace) -> None:
    row = "{:>8}{:>8}  {:9}{:27}{}".format
    found = _all_groups(operator)
    lines = (
        row(
            each.members,
            each.posts,
            "private" if each.private else "open",
            each.owner or "-",
            each.name,
        )
        for each in found
    )
    header = row("MEMBERS", "POSTS", "STATE", "OWNER", "NAME")
    operator.say_all(chain([header], lines), (each._asdict() for each in found))


def _all_groups(operator: Operator) -> Iterator[GroupFigures]:
    """All groups, which may be many, in parts."""
    last = 0
    while found := operator.call(groups_behind, last):
        last = found[-1][0]
        yield from (each for _, each in found)


def _name_of_group(parser: ArgumentParser) -> None:
    parser.add_argument("group", metavar="NAME", help="the group's name")


def _show_group(operator: Operator, options: Namespace) -> None:
    _, found = operator.call(_existing, options.group)
    figures = found._asdict()
    lines = {**figures, "private": "yes" if found.private else "no"}
    operator.say("\n".join(f"{name:9}{_or_dash(value)}" for name, value in lines.items()), figures)


def _or_dash(value: object) -> object:
    return "-" if value is None else value


def _names_of_rename(parser: ArgumentParser) -> None:
    _name_of_group(parser)
    parser.add_argument("new", metavar="NEW", help="its new name")


def _rename_group(operator: Operator, options: Namespace) -> None:
    members = operator.perform(RENAME, options.group, name=options.new).members
    operator.say(f"{members['before']} is called {members['name']} now", members)


def _rename(_: float, group: str, *, name: str) -> ActResult:
    id, found = _existing(group)
    new = rename_group(id, name)
    return ActResult(f"{found.name} → {new}", {"name": new, "before": found.name})


def rename_group(group: int, name: str) -> str:
    """Give a group another name, which is returned as it is stored. Messages of before keep the
    name that they were sent to.

    :raises InvalidGroup: no group can have this name.
    :raises GroupExists: another group has it.
    """
    form, *others = groups.forms_of(name)
    for each in (form, *others):
        if any(id != group for id, *_ in _named(each)):
            raise errors.GroupExists(name)
    _set_name(group, form)
    return form


def _arguments_of_remove(parser: ArgumentParser) -> None:
    _name_of_group(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _remove_group(operator: Operator, options: Namespace) -> None:
    _, found = operator.call(_existing, options.group)
    if not options.yes:
        question = f"Type {found.name} again to remove the group and its posts: "
        if normalized(operator.ask(question, "removes")) != normalized(found.name):
            operator.fail("not the same: nothing is removed")
    operator.say(f"{found.name} is removed", operator.perform(REMOVE, found.name).members)


def _remove(_: float, group: str) -> ActResult:
    id, found = _existing(group)
    rest = None if groups.remove(id) else partial(groups.remove, id)
    return ActResult(found.name, {"name": found.name, "done": "remove"}, rest)


def _arguments_of_give(parser: ArgumentParser) -> None:
    _name_of_group(parser)
    parser.add_argument("member", metavar="MEMBER", help="who owns it from now on")


def _give_group(operator: Operator, options: Namespace) -> None:
    members = operator.perform(GIVE, options.group, member=options.member).members
    operator.say(f"{members['owner']} owns {members['name']} now", members)


def _give(_: float, group: str, *, member: str) -> ActResult:
    id, found = _existing(group)
    owner = give_group(id, found.name, member)
    return ActResult(f"{found.name} → {owner}", {"name": found.name, "owner": owner})


def give_group(group: int, group_name: str, name: str) -> str:
    """Make the member `name` the owner of a group; returns the name as it is stored.

    :raises NoSuchUser: nobody has this name.
    :raises IsNotMember: that is not a member.
    """
    form = as_stored(name)
    found = [id for id, stored in _person(form) if stored == form]
    if not found:
        raise NoSuchUser(name)
    if not groups.give(group, found[0]):
        raise errors.IsNotMember(name, group_name)
    return form


@read_only
def _existing(name: str) -> tuple[int, GroupFigures]:
    found = find_group(name)
    if found is None:
        raise NotDone(f'there is no group "{name}"')
    return found


@long_read
def latest_groups(now: float, search: str, behind: str, limit: int) -> list[ListRow]:
    """Rows of groups with `search` in their names, latest first, behind the one with the id
    `behind`: `limit` of them at most."""
    before = read_id(behind) or LAST_ID
    if search:
        matching = _figures().where((Group.id < before) & contains(Group.name, search))
        found = rows(matching.order_by(Group.id.desc()).limit(limit))
    else:
        found = _latest(before, limit)
    return [_row(id, GroupFigures.read(*figures)) for id, *figures in found]


def _row(id: int, group: GroupFigures) -> ListRow:
    state = "private" if group.private else "open"
    return ListRow(
        group.name, (group.name, group.owner, group.members, group.posts, state), f"{id}"
    )


RENAME = OperatorAct(
    "group-rename",
    "renamed the group {}",
    rule=_rename,
    label="Rename",
    title="Give this group another name?",
    means="Messages of before keep the name that they were sent to.",
    fields=(OperatorField("name", "Its new name", most=NAME_LENGTH),),
)
GIVE = OperatorAct(
    "group-give",
    "gave away the group {}",
    rule=_give,
    label="Give",
    title="Give this group to a member?",
    means="The owner decides who may join, and what the group is about.",
    fields=(OperatorField("member", "The member who owns it from now on", most=NAME_LENGTH),),
)
REMOVE = OperatorAct(
    "group-remove",
    "removed the group {}",
    rule=_remove,
    label="Remove",
    title="Remove this group?",
    means="The group and its posts are gone for good, for all of its members.",
    again=True,
)
GROUPS = OperatorList(
    "groups",
    "Groups",
    (
        OperatorColumn("Name"),
        OperatorColumn("Owner"),
        OperatorColumn("Members", "number"),
        OperatorColumn("Posts", "number"),
        OperatorColumn("State"),
    ),
    latest_groups,
    means="The latest come first. Anybody may join an open one.",
    search="A part of the group's name",
    acts=(RENAME, GIVE, REMOVE),
)

SUBCOMMANDS: Mapping[str, Subcommand] = {
    "group list": Subcommand("the groups, and how large they are", _list_groups),
    "group show": Subcommand("the figures of one group", _show_group, _name_of_group),
    "group rename": Subcommand("give a group another name", _rename_group, _names_of_rename),
    "group give": Subcommand("make a member the owner", _give_group, _arguments_of_give),
    "group remove": Subcommand("remove a group and its posts", _remove_group, _arguments_of_remove),
}


# Statements


def _figures() -> Any:
    members = Membership.select(peewee.fn.COUNT(Membership.id)).where(Membership.group == Group.id)
    own = Contribution.group == Group.id
    posts = Contribution.select(peewee.fn.COUNT(Contribution.post)).where(own)
    columns = (Group.id, Group.name, Group.topic, User.name, Group.private, members, posts)
    return Group.select(*columns).left_outer_join(User, on=(Group.creator == User.id))


@statement
def _groups(last: int, limit: int) -> peewee.Select:
    found: peewee.Select = _figures().where(Group.id > last).order_by(Group.id).limit(limit)
    return found


@statement
def _latest(before: int, limit: int) -> peewee.Select:
    figures = _figures().where(Group.id < before)
    found: peewee.Select = figures.order_by(Group.id.desc()).limit(limit)
    return found


@statement
def _named(name: str) -> peewee.Select:
    found: peewee.Select = _figures().where(Group.name == name)
    return found


@statement
def _set_name(group: int, name: str) -> peewee.Update:
    return Group.update(name=name).where(Group.id == group)


@statement
def _person(name: str) -> peewee.Select:
    return User.select(User.id, User.name).where(User.name == name)
