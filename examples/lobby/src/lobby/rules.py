"""What people do in lobbies: plain functions, each run in one transaction."""

from bbs.framework import Caller, Place, Refusal, User, is_valid_name, read_only
from lobby.models import Player

News = tuple[dict[str, str], list[str]]  # an event, and the channels of those who hear it


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
def lobbies(caller: Caller) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in Player.select(Player, User.name).join(User).order_by(Player.lobby, Player.since):
        found.setdefault(each.lobby, []).append(each.user.name + (" (ready)" if each.ready else ""))
    return {"lobby": [f"{lobby}: {', '.join(names)}" for lobby, names in found.items()]}


def get_ready(caller: Caller) -> News:
    Player.update(ready=True).where(Player.user == caller.id).execute()
    return _news(caller, "ready", "is ready in")


def leave(caller: Caller) -> News:
    news = _news(caller, "left", "leaves")
    Player.delete().where(Player.user == caller.id).execute()
    return news


def forget_offline(now: float) -> int:
    return Player.delete().where(Player.user.not_in(Place.select(Place.user))).execute()


def _news(caller: Caller, event: str, verb: str) -> News:
    if not (player := Player.get_or_none(user=caller.id)):
        raise NotInLobby
    people = User.select(User.channel).join(Player).where(Player.lobby == player.lobby)
    text = f"{caller.name} {verb} {player.lobby}"
    told = {"event": event, "who": caller.name, "lobby": player.lobby, "text": text}
    return told, [each.channel for each in people]
