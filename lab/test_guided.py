"""The inputs that guided fuzzing begins with pass, and those that once failed: without atheris."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.line.connection import LineBuffer
from lab.guided import targets
from lab.guided.__main__ import CORPUS


class Corpus(SynchronousTestCase):
    def test_every_input_passes(self) -> None:
        for name, make in targets.TARGETS.items():
            target = make()
            inputs = sorted((CORPUS / name).iterdir())
            self.assertGreater(len(inputs), 2, name)
            try:
                for each in (b"", *(path.read_bytes() for path in inputs)):
                    target(each)
            finally:
                getattr(target, "close", lambda: None)()

    def test_what_depends_on_the_pieces_fails(self) -> None:
        """A server that takes each piece for a line."""
        add = LineBuffer.add
        broken = mock.patch.object(LineBuffer, "add", lambda self, data: add(self, data + b"\n"))
        with broken, self.assertRaises(AssertionError):
            targets.lines(b"\x05say tok hello  world\nwho tok\n")
