"""What clients show and do for the lobby. They are told it, and need not be written for it."""

from bbs.framework import ChatEvent, Choices, Line, Listing, Presentation, Talk

face = Presentation(
    help={
        "join": "Goes into a lobby, and makes it if need be.",
        "leave": "Leaves the lobby that you are in.",
        "list-lobby": "Shows who is in which lobby, and who is ready.",
        "ready": "Says that you are ready for the game.",
        "said": "Shows what was said in your lobby.",
        "say": "Says something to everybody in your lobby.",
    },
    groups={
        "Lobbies": ("list-lobby", "join", "leave"),
        "In a lobby": ("ready", "say", "said"),
    },
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
    lists=(
        Listing("lobby", "No lobby is open. Join one, and it is."),
        Listing("said", "Nobody has said anything yet.", backwards=True, recent=True),
    ),
    lines=(Line("{name}: {people}"),),
    chats=(ChatEvent("said", sender="who", text="words", to="", room="lobby", id=""),),
    events={name: Line(time="time") for name in ("joined", "ready", "left")},
    talks=(Talk("lobby", send="say", history="said", ended_by=("leave",), room=True),),
)
