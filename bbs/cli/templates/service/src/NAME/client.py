"""What clients show. The servers send it to them."""

from bbs.framework import Line, Listing, Presentation

face = Presentation(
    help={
        "offer": "Offers something to everybody.",
        "offers": "Shows what is offered.",
        "take": "Takes what somebody else offers.",
    },
    groups={"Offers": ("offers", "offer", "take")},
    lists=(Listing("offer", "Nobody offers anything."),),
    lines=(Line("{number}: {text} ({owner})"),),
    events={name: Line(time="time") for name in ("offered", "taken")},
)
