"""What clients do with several commands of the lobby. The servers send it to them."""

from bbs.framework import Choices, Presentation, Talk

face = Presentation(
    choices=(
        Choices(
            "lobby",
            ask="list-lobby",
            lists={"list-lobby": "lobby"},
            key="name",
            parameters=("lobby",),
            added_by=("join",),
        ),
    ),
    talks=(Talk("lobby", send="say", history="said", ended_by=("leave",), room=True),),
)
