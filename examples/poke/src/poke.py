"""`poke <user> <friend>`: a command of somebody else's for the board."""

from peewee import CharField, IntegerField

from bbs.framework import Ask, Caller, CommandTable, Place, Refusal, Role, Table, User


class Relationship(Table):
    """The board's table, as far as it is read here. Upgrades of bbs may change it."""

    user = IntegerField(column_name="user_id")
    other = IntegerField(column_name="other_id")
    kind = CharField()


class NoFriendAround(Refusal):
    text = "No friend of yours called {} is online"


def find(caller: Caller, name: str) -> str:
    """The channel of a friend who is online."""
    mine = (Relationship.user == caller.id) & (Relationship.kind == "friend")
    friends = Relationship.select(Relationship.other).where(mine)
    online = User.select(User.channel).join(Place)
    if friend := online.where((User.name == name) & User.id.in_(friends)).first():
        return friend.channel
    raise NoFriendAround(name)


commands = CommandTable()


@commands.command("poke <user> <friend>", Role.APP, rule=find)
async def poke(ask: Ask, channel: str) -> None:
    """Tell a friend, whichever server they are at."""
    who = ask.user.name
    await ask.tell(channel, {"event": "poke", "from": who, "text": f"{who} pokes you"})
