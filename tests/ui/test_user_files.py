"""The service that somebody talked to last: kept, read, and what is made of arguments with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.cli import client
from bbs.ui import user_files
from bbs.ui.user_files import LastServer
from tests.cli.case import BOARD

KEPT = LastServer("bbs.example.org", 4000, True, "/etc/ca.pem")


class LastTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "bbs" / "last-host"

    def test_kept_and_read(self) -> None:
        self.assertEqual(user_files.read_last_server(self.path), LastServer("127.0.0.1", 22222))
        for service in (KEPT, LastServer("::1"), LastServer("::1")):
            user_files.keep_last_server(self.path, service)
            self.assertEqual(user_files.read_last_server(self.path), service)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["last-host"])

    def test_what_is_no_use(self) -> None:
        self.path.parent.mkdir(parents=True)
        for text in (
            *("", "{", "[1]", "{}", "[" * 100_000, "\x00"),
            *('{"host": 1, "port": 2}', '{"host": "a", "port": 99999, "tls": true, "ca": ""}'),
            *('{"host": "a", "port": 1}', '{"host": "a", "port": 1, "tls": 1, "ca": ""}'),
        ):
            self.path.write_text(text)
            self.assertEqual(user_files.read_last_server(self.path), LastServer())
        self.path.unlink()
        self.path.mkdir()
        user_files.keep_last_server(self.path, KEPT)
        self.assertEqual(user_files.read_last_server(self.path), LastServer())

    def test_the_state_folder(self) -> None:
        for environ, folder in (
            ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/bbs"),
            ({"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/bbs"),
            ({"HOME": "/h"}, "/h/.local/state/bbs"),
        ):
            self.assertEqual(user_files.last_server_file(environ), Path(folder) / "last-host")

    def test_the_service_that_is_meant(self) -> None:
        user_files.keep_last_server(self.path, KEPT)
        for line, meant in (
            ("", KEPT),
            ("--tls", KEPT),
            ("--tls --ca /x", LastServer("bbs.example.org", 4000, True, "/x")),
            ("localhost", LastServer("localhost", 22222)),
            ("[::1] 7", LastServer("::1", 7)),
            ("--tls localhost", LastServer("localhost", 22222, True)),
        ):
            options: argparse.Namespace = client.parser(BOARD).parse_args(line.split())
            self.assertEqual(client.choose_service(options, self.path), meant)
