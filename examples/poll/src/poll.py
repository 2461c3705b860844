"""Polls for the board: an extension with tables, an event and a setting."""

from dataclasses import dataclass

from peewee import CharField, ForeignKeyField, fn

from bbs.board import are_friends, friends_online
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Extension,
    Refusal,
    Role,
    Table,
    User,
    read_only,
    setting,
)
from bbs.framework.fast import rows


class Poll(Table):
    author = ForeignKeyField(User, on_delete="CASCADE")
    author_id: int
    question = CharField(200)


class Vote(Table):
    poll = ForeignKeyField(Poll, on_delete="CASCADE")
    user = ForeignKeyField(User, on_delete="CASCADE")
    choice = CharField(20)

    class Meta:
        indexes = ((("poll", "user"), True),)


@dataclass(frozen=True)
class Polls:
    most: int = setting(10, "polls of one person", minimum=1)


class NoSuchPoll(Refusal):
    text = "No such poll"


class TooManyPolls(Refusal):
    text = "You have {} polls already"


def start(caller: Caller, question: str, most: int) -> tuple[int, list[str]]:
    if Poll.select().where(Poll.author == caller.id).count() >= most:
        raise TooManyPolls(most)
    number = Poll.insert(author=caller.id, question=question[:200]).execute()
    return number, [*friends_online(caller.id).values()]


def vote(caller: Caller, number: str, choice: str) -> None:
    poll = find(caller, number)
    Vote.insert(poll=poll, user=caller.id, choice=choice[:20]).on_conflict_replace().execute()


@read_only
def results(caller: Caller, number: str) -> dict[str, list[str]]:
    votes = Vote.select(Vote.choice, fn.COUNT(Vote.user)).where(Vote.poll == find(caller, number))
    return {"votes": [f"{choice}: {count}" for choice, count in rows(votes.group_by(Vote.choice))]}


def find(caller: Caller, number: str) -> Poll:
    poll = Poll.get_or_none(id=number) if number.isdecimal() and len(number) < 19 else None
    if poll and (caller.id == poll.author_id or are_friends(caller.id, poll.author_id)):
        return poll
    raise NoSuchPoll()


async def ask_friends(ask: Ask, question: str) -> dict[str, int]:
    number, channels = await ask.database.run(start, ask.user, question, ask.settings.most)
    text = f"{ask.user.name} asks: {question} (vote {number} CHOICE)"
    for channel in channels:  # Of the friends who are online.
        await ask.tell(channel, {"event": "poll", "poll": number, "text": text})
    return {"poll": number}


commands = CommandTable(
    Command("ask-friends <user> <question>", Role.APP, ask_friends, rest=True),
    Command("vote <user> <poll> <choice>", Role.APP, rule=vote),
    Command("poll <user> <poll>", Role.APP, rule=results),
)
extension = Extension("poll", commands=(commands,), models=(Poll, Vote), settings=Polls)
