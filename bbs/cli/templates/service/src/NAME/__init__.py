"""The service NAME: people offer things, and others take them."""

from bbs.framework import Service

from NAME import models
from NAME.commands import commands, events

service = Service(
    "NAME",
    commands=(commands,),
    events=events,
    models=(models.Offer,),
    greeting="Welcome to NAME.",
    counters=("offered", "taken"),
)
