"""The words before the line being typed.

bbs>
ann>
ann>bob>
Waiting for an app server: position 3, about 24 s
"""

from __future__ import annotations

from bbs.client.conversation import Conversation
from bbs.client.text import visible, waiting_line


def prompt(conversation: Conversation, at_work: bool) -> str:
    """Who speaks to whom; `at_work`, while a line is carried out, only what that waits for."""
    if at_work:
        waiting = conversation.status.waiting
        return f"{waiting_line(waiting)} " if waiting else ""
    user = "bbs" if conversation.current is None else visible(conversation.current)
    talk = f"{visible(conversation.talk.name)}> " if conversation.talk else " "
    return f"{user}>{talk}"
