"""What clients show. The servers send it to them."""

from bbs.framework import Line, Listing, Presentation

face = Presentation(
    help={
        "NAME": "Shows your notes.",
        "NAME-add": "Adds a note.",
        "NAME-remove": "Removes a note.",
    },
    groups={
        "Notes": (
            "NAME",
            "NAME-add",
            "NAME-remove",
        ),
    },
    lists=(Listing("note", "You have no notes."),),
    lines=(Line("{note}: {text}"),),
)
