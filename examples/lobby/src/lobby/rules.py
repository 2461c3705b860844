"""What people do in lobbies: plain functions, each run in one transaction."""

from typing import Any

from playhouse.shortcuts import model_to_dict

from bbs.framework import Caller, Page, Part, Place, Refusal, User, is_valid_name, paged, read_only
from lobby.models import Player, Saying

News = tuple[dict[str, Any], list[str]]  # an event, and the channels of those who hear it


class InvalidLobby(Refusal):
    text = "Invalid lobby"


class AlreadyInLobby(Refusal):
    text = "You are in {} already"


class NotInLobby(Refusal):
    text = "You are in no lobby"


def join(caller: Caller, lobby: str) -> News:
    if not is_valid_name(lobby):
        raise InvalidLobby
    if player := Player.get_or_none(user=caller.id):
        raise AlreadyInLobby(player.lobby)
    Player.insert(user=caller.id, lobby=lobby, since=caller.now).execute()
    return _news(caller, "joined", "joins")


@read_only
def lobbies(caller: Caller) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[str]] = {}
    for each in Player.select(Player, User.name).join(User).order_by(Player.lobby, Player.since):
        found.setdefault(each.lobby, []).append(each.user.name + (" (ready)" if each.ready else ""))
    return {"lobby": [{"name": name, "people": ", ".join(found[name])} for name in found]}


def get_ready(caller: Caller) -> News:
    Player.update(ready=True).where(Player.user == caller.id).execute()
    return _news(caller, "ready", "is ready in")


def leave(caller: Caller) -> News:
    news = _news(caller, "left", "leaves")
    Player.delete().where(Player.user == caller.id).execute()
    return news


def forget_offline(now: float) -> int:
    gone = Player.delete().where(Player.user.not_in(Place.select(Place.user))).execute()
    return gone + Saying.delete().where(Saying.lobby.not_in(Player.select(Player.lobby))).execute()


def say(caller: Caller, words: str) -> News:
    event, channels = _news(caller, "said", "speaks in")
    Saying.insert(lobby=event["lobby"], who=caller.name, words=words, time=caller.now).execute()
    return event | {"words": words, "text": f"{caller.name}: {words}"}, channels


@paged
@read_only
def said(caller: Caller, page: Page) -> Part:
    rows = Saying.select().where(Saying.lobby == _lobby(caller)).order_by(Saying.id.desc())
    if page.last is not None:
        rows = rows.where(Saying.id < page.last)
    found = [{"event": "said"} | model_to_dict(each) for each in rows.limit(page.limit)]
    return page.part("said", [(each["id"], each) for each in found], most=50, backwards=True)


def _lobby(caller: Caller) -> str:
    if not (player := Player.get_or_none(user=caller.id)):
        raise NotInLobby
    return player.lobby


def _news(caller: Caller, event: str, verb: str) -> News:
    lobby = _lobby(caller)
    people = User.select(User.channel).join(Player).where(Player.lobby == lobby)
    text = f"{caller.name} {verb} {lobby}"
    told = {"event": event, "who": caller.name, "lobby": lobby, "text": text, "time": caller.now}
    return told, [each.channel for each in people]
