"""The board on servers that tell no presentation, as those up to 0.3.0: people and scripts have all
that they have on today's."""

from __future__ import annotations

from bbs.board import board
from bbs.board.client.face import LEGACY
from bbs.board.service import commands
from bbs.framework import Service
from tests.client.case import without_words
from tests.ui import test_conversation, test_script
from tests.ui.scenarios import test_people

NEWER = {each.name for each in commands} - {each.name for each in (*LEGACY.first, *LEGACY.later)}
"""Commands of the board that servers up to version 0.3.0 do not know, nor clients of them."""


class Untold:
    """The board's commands, of which servers say nothing but how they are used."""

    next_step = ""

    def make_service(self) -> Service:
        return without_words(board)


class Waits(Untold, test_people.Waits):
    """What waits for who logs in."""


class Talks(Untold, test_people.Talks):
    """Talks, which begin with what was said before."""


class Leaving(Untold, test_people.Leaving):
    """What ends a talk."""


class Elsewhere(Untold, test_people.Elsewhere):
    """What a user says elsewhere, and does not say twice here."""


class News(Untold, test_people.News):
    """Invitations and friends."""


class ForYou(Untold, test_people.ForYou):
    """What is for somebody in particular."""


class Words(Untold, test_people.Words):
    """Shorter names, and what commands do."""

    # Newer than they are.
    unexplained = (*test_people.Words.unexplained, *NEWER)


class Talking(Untold, test_conversation.Talking):
    """Lines that go to a partner."""


class Unread(Untold, test_conversation.Unread):
    """How much of each partner's is unread."""


class HelpAndHints(Untold, test_conversation.HelpAndHints):
    """How commands are used."""

    newer = NEWER


class Completing(Untold, test_conversation.Completing):
    """What a word may become."""


class Due(Untold, test_script.DueTests):
    """What a script waits for."""


class Commands(Untold, test_script.CommandTests):
    """What a script prints."""


class Listening(Untold, test_script.ListeningTests):
    """What comes to a script by itself."""


class Conformance(Untold, test_script.ConformanceTests):
    """The published conversations."""
