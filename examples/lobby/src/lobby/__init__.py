"""A game lobby: people meet there, and say when they are ready."""

from bbs.framework import Ask, Command, CommandTable, Role, Service
from lobby import models, rules


async def announce(ask: Ask, news: rules.News) -> None:
    """Tell everybody in the lobby, and count what happened."""
    event, channels = news
    for channel in channels:
        await ask.tell(channel, event)
    ask.count(event["event"])


commands = CommandTable(
    Command("join <user> <lobby>", Role.APP, announce, rule=rules.join),
    Command("list-lobby <user>", Role.APP, rule=rules.lobbies),
    Command("ready <user>", Role.APP, announce, rule=rules.get_ready),
    Command("leave <user>", Role.APP, announce, rule=rules.leave),
    Command("say <user> <words>", Role.APP, announce, rest=True, rule=rules.say),
    Command("said <user>", Role.APP, rule=rules.said),
)

lobby = Service(
    "lobby",
    commands=(commands,),
    models=(models.Player, models.Saying),
    version=3,
    steps={2: models.add_since, 3: models.add_sayings},
    sweep=rules.forget_offline,
    greeting="The lobby: meet here before the game.",
    counters=("joined", "ready", "left", "said"),
    client="lobby.client:face",
)
