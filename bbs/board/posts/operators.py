"""Operators remove a post, wherever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import peewee

from bbs.board.operating import number
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.framework import Refusal, User
from bbs.framework.fast import statement
from bbs.operators import OperatorAct, Subcommand

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from bbs.operators import Operator


class NoSuchPost(Refusal):
    text = "there is no post {}"
    code = ""


def _number_of_post(parser: ArgumentParser) -> None:
    parser.add_argument("post", type=number, metavar="N", help="its number")


def _remove_post(operator: Operator, options: Namespace) -> None:
    writer = operator.act(REMOVE_POST.name, f"{options.post}", remove_post, options.post)
    members = {"post": options.post, "writer": writer, "done": "remove"}
    operator.say(f"post {options.post} of {writer} is removed", members)


def remove_post(post: int) -> str:
    """Remove a post, wherever it is; replies to it stay. Returns the name of its writer.

    :raises NoSuchPost: there is none with this number.
    """
    found = _writer(post)
    if not posts.remove([post]):
        raise NoSuchPost(post)
    name: str = found[0][0]
    return name


REMOVE_POST = OperatorAct("post-remove", "removed the post {}")

SUBCOMMANDS: Mapping[str, Subcommand] = {
    "post remove": Subcommand("remove a post", _remove_post, _number_of_post),
}


@statement
def _writer(post: int) -> peewee.Select:
    """The name of who wrote a post."""
    found: peewee.Select = posts.anywhere(User.name).where(PostRow.id == post)
    return found
