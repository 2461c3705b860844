"""Notes on the board: each person keeps some, and nobody else reads them."""

from typing import Any

from bbs.framework import (
    Caller,
    Command,
    CommandTable,
    Extension,
    Page,
    Part,
    Refusal,
    RisingIdField,
    Role,
    Table,
    User,
    paged,
    read_only,
)
from peewee import CharField, ForeignKeyField


class Note(Table):
    id = RisingIdField()
    user = ForeignKeyField(User, on_delete="CASCADE")
    text = CharField(200)


class TooLong(Refusal):
    text = "A note has at most {} characters"


class NoSuchNote(Refusal):
    text = "There is no such note"


@paged
@read_only
def show(caller: Caller, page: Page) -> Part:
    query = Note.select().where(Note.user == caller.id, Note.id > (page.last or 0))
    rows = query.order_by(Note.id).limit(page.limit)
    found = [(each.id, {"note": each.id, "text": each.text}) for each in rows]
    return page.part("note", found)


def add(caller: Caller, text: str) -> dict[str, Any]:
    if len(text) > 200:
        raise TooLong(200)
    return {"note": Note.insert(user=caller.id, text=text).execute()}


def remove(caller: Caller, number: str) -> None:
    if not number.isdecimal() or len(number) > 18:
        raise NoSuchNote
    one = (Note.id == int(number)) & (Note.user == caller.id)
    if not Note.delete().where(one).execute():
        raise NoSuchNote


commands = CommandTable(
    Command("NAME <user>", Role.APP, rule=show),
    Command("NAME-add <user> <text>", Role.APP, rest=True, rule=add),
    Command("NAME-remove <user> <number>", Role.APP, rule=remove),
)

extension = Extension(
    "NAME",
    commands=(commands,),
    models=(Note,),
    client="NAME.client:face",
)
