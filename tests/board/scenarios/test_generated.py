"""What clients know of the board follows from the declarations of its commands."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.client import face
from bbs.protocols.presentation import to_json
from tests.board import generated


class Generated(SynchronousTestCase):
    SAY = "python -m tests.board.generated writes it anew"

    def test_presentation(self) -> None:
        self.assertEqual((generated.CLIENT / "face.py").read_text(), generated.face(), self.SAY)

    def test_methods(self) -> None:
        found = (generated.CLIENT / "library.py").read_text()
        self.assertEqual(found, generated.library(), self.SAY)

    def test_servers_tell_what_clients_have(self) -> None:
        """The commands declare nothing that the generated presentation lacks."""
        self.assertEqual(to_json(board.presentation()), to_json(face))

    def test_each_command_is_in_help(self) -> None:
        declared = [each for table in board.commands for each in table]
        self.assertEqual({*generated.IN_HELP}, {*declared})
