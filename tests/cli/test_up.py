"""What `bbs up` brings along, and where."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.cli import up
from bbs.config import Configuration, load
from bbs.core.addresses import ListeningPlace
from bbs.scaling.data_folder import Unusable


class FacesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = self.mktemp()
        os.makedirs(self.data)

    def faces(self, host: str = "127.0.0.1", port: int = 22222, **keys: object) -> Configuration:
        self.options = options = argparse.Namespace(host=host, port=port, data=self.data)
        given = {key.replace("__", "."): value for key, value in keys.items()}
        return up.with_defaults(load(None, {}, given), options)


class Faces(FacesCase):
    def test_the_gateway_and_the_login_server_share_a_secret(self) -> None:
        config = self.faces(port=5999)
        self.assertEqual(config.telnet.server, "127.0.0.1:5999")
        self.assertGreater(len(config.telnet.secret), 30)
        self.assertNotEqual(config.telnet.secret, self.faces().telnet.secret)

    def test_what_is_configured_counts(self) -> None:
        secret = "a-secret-of-somebody"
        config = self.faces(telnet__listen="", telnet__secret=secret, web__listen="tcp:1")
        self.assertEqual((config.telnet.listen, config.telnet.secret), ((), secret))
        self.assertEqual(config.web.listen, (ListeningPlace("tcp:1"),))

    def test_no_page(self) -> None:
        config = self.faces(web__listen="")
        self.assertEqual((config.web.listen, config.web.password_file), ((), ""))

    def test_a_port_of_its_own_is_taken(self) -> None:
        for wanted, faces in ((up.TELNET_PORT, "telnet"), (up.WEB_PORT, "web")):
            (place,) = getattr(self.faces(port=wanted), faces).listen
            self.assertEqual(place.port, 0)

    def test_what_nobody_asked_for_may_be_elsewhere(self) -> None:
        default = ListeningPlace(f"tcp:{up.TELNET_PORT}:interface=127.0.0.1")
        config = self.faces(web__listen="tcp:1")
        second = up.second_choice(config, self.options)
        self.assertEqual(second, {default: ListeningPlace("tcp:0:interface=127.0.0.1")})
        config = self.faces(telnet__listen=str(default))
        self.assertNotIn(default, up.second_choice(config, self.options))

    def test_over_ipv6(self) -> None:
        config = self.faces(host="::1")
        self.assertEqual(config.telnet.server, "[::1]:22222")
        (place,) = config.telnet.listen
        self.assertEqual((place.kind, place.interface), ("tcp6", "::1"))


class Places(SynchronousTestCase):
    """Where a `bbs up` listens: as its options say, by TLS if the configuration does."""

    def test_it(self) -> None:
        tls = "ssl:4000:privateKey=k"
        for given, host, port, login, app in (
            ({}, None, None, "tcp:22222:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"),
            (
                {"login.listen": "tcp:4000:interface=127.0.0.9"},
                *(None, None),
                *("tcp:4000:interface=127.0.0.9", "tcp:0:interface=127.0.0.9"),
            ),
            (
                {"login.listen": "tcp:4000"},
                *(None, None),
                *("tcp:4000:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"),
            ),
            (
                {"login.listen": "tcp:4000"},
                *("[::1]", 5, "tcp6:5:interface=\\:\\:1", "tcp6:0:interface=\\:\\:1"),
            ),
            ({"login.listen": tls}, None, None, tls, "ssl:0:privateKey=k"),
            (
                {"login.listen": tls},
                *("127.0.0.1", 5, "ssl:5:interface=127.0.0.1:privateKey=k"),
                "ssl:0:interface=127.0.0.1:privateKey=k",
            ),
            (
                {"login.listen": tls, "app.listen": "ssl:1:privateKey=other"},
                *(None, None, tls, "ssl:0:privateKey=other"),
            ),
        ):
            options = argparse.Namespace(host=host, port=port)
            places = up.overrides(load(None, {}, given), options)
            self.assertEqual(places, {"login.listen": login, "app.listen": app})


class Kept(SynchronousTestCase):
    """What the first line says of the data and the log."""

    def test_it(self) -> None:
        for url, kept in (
            (f"sqlite:///{os.path.abspath('x')}/bbs.sqlite3", "its data and its log in {}"),
            ("sqlite:///y/bbs.sqlite3", "its log in {}, and its data in sqlite:///y/bbs.sqlite3"),
            ("mysql://u:s3cret@h/b", "its log in {}, and its data in mysql://u:***@h/b"),
        ):
            config = load(None, {}, {"database.url": url})
            self.assertEqual(up._kept(config, "x"), kept.format(os.path.abspath("x")))


class Password(FacesCase):
    def test_made_once_and_for_one_pair_of_eyes(self) -> None:
        path = Path(self.faces().web.password_file)
        password = path.read_text()
        self.assertGreaterEqual(len(password.strip()), 16)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.faces()
        self.assertEqual(path.read_text(), password)
        self.assertEqual(os.listdir(self.data), [up.PASSWORD_FILE])

    def test_somebodys_own(self) -> None:
        self.assertEqual(self.faces(web__password_file="x").web.password_file, "x")

    def test_a_folder_that_cannot_be_written(self) -> None:
        self.data = os.path.join(self.data, "file")
        Path(self.data).touch()
        error = self.assertRaises(Unusable, self.faces)
        self.assertIn(f"cannot write to the data folder {self.data}", str(error))
