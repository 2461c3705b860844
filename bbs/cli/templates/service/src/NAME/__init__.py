"""The service NAME: people offer things, and others take them."""

from bbs.framework import Ask, Command, CommandTable, Role, Service

from NAME import models, rules


async def announce(ask: Ask, news: rules.News) -> None:
    """Tell everybody who is online, and count what happened."""
    event, channels = news
    for channel in channels:
        await ask.tell(channel, event)
    ask.count(event["event"])


commands = CommandTable(
    Command("offer <user> <text>", Role.APP, announce, rest=True, rule=rules.offer),
    Command("offers <user>", Role.APP, rule=rules.offers),
    Command("take <user> <number>", Role.APP, announce, rule=rules.take),
)

service = Service(
    "NAME",
    commands=(commands,),
    models=(models.Offer,),
    greeting="Welcome to NAME.",
    counters=("offered", "taken"),
    client="NAME.client:face",
)
