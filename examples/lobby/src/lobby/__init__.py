"""A game lobby: people meet there, and say when they are ready."""

from bbs.framework import Ask, ChatEvent, Command, CommandTable, Event, Line, Listing, Role, Service
from lobby import models, rules


async def announce(ask: Ask, news: rules.News) -> None:
    """Tell everybody in the lobby, and count what happened."""
    event, channels = news
    for channel in channels:
        await ask.tell(channel, event)
    ask.count(event["event"])


commands = CommandTable(
    Command(
        "join <user> <lobby>",
        Role.APP,
        announce,
        rule=rules.join,
        group="Lobbies",
        help="Goes into a lobby, and makes it if need be.",
    ),
    Command(
        "list-lobby <user>",
        Role.APP,
        rule=rules.lobbies,
        group="Lobbies",
        help="Shows who is in which lobby, and who is ready.",
        shown=(
            Listing("lobby", "No lobby is open. Join one, and it is."),
            Line("{name}: {people}"),
        ),
    ),
    Command(
        "ready <user>",
        Role.APP,
        announce,
        rule=rules.get_ready,
        group="In a lobby",
        help="Says that you are ready for the game.",
    ),
    Command(
        "leave <user>",
        Role.APP,
        announce,
        rule=rules.leave,
        group="Lobbies",
        help="Leaves the lobby that you are in.",
    ),
    Command(
        "say <user> <words>",
        Role.APP,
        announce,
        rest=True,
        rule=rules.say,
        group="In a lobby",
        help="Says something to everybody in your lobby.",
    ),
    Command(
        "said <user>",
        Role.APP,
        rule=rules.said,
        group="In a lobby",
        help="Shows what was said in your lobby.",
        shown=(Listing("said", "Nobody has said anything yet.", backwards=True, recent=True),),
    ),
)

events = (
    *(Event(name, shown=Line(time="time")) for name in ("joined", "ready", "left")),
    Event("said", chat=ChatEvent("said", sender="who", text="words", to="", room="lobby", id="")),
)

lobby = Service(
    "lobby",
    commands=(commands,),
    events=events,
    models=(models.Player, models.Saying),
    version=3,
    steps={2: models.add_since, 3: models.add_sayings},
    sweep=rules.forget_offline,
    greeting="The lobby: meet here before the game.",
    counters=("joined", "ready", "left", "said"),
    client="lobby.client:face",
)
