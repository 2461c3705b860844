"""Addresses, and the places where servers listen."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import _parse
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.addresses import (
    Address,
    ListeningPlace,
    ServerPlace,
    fill_name,
    is_name_of,
    reached_at,
)


def not_installed(name: str) -> Any:
    """A package cannot be found in a `with` block."""
    return mock.patch.dict(sys.modules, {name: None})


class Addresses(SynchronousTestCase):
    def test_written_and_read(self) -> None:
        for place in ("127.0.0.1:1", "[::1]:2", "bbs.example.org:3"):
            self.assertEqual(str(Address.parse(place)), place)

    def test_what_an_operator_writes(self) -> None:
        for text, place in (
            ("bbs.example.org", "bbs.example.org:7"),
            ("bbs.example.org:8", "bbs.example.org:8"),
            ("192.0.2.1", "192.0.2.1:7"),
            ("2001:db8::1", "[2001:db8::1]:7"),
            ("[2001:DB8::1]:8", "[2001:DB8::1]:8"),
        ):
            self.assertEqual(str(Address.told(text, 7)), place)
        for text in (
            "",
            "h:",
            "h:0",
            "h:65536",
            "a b",
            "tcp:h:1",
            "[::1]",
            "0.0.0.0",
            "::",
            "0.0.0.0:1",
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, Address.told, text, 7)

    def test_where_this_machine_reaches_it(self) -> None:
        for host, reached in (("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1")):
            self.assertEqual(reached_at(host), reached)


class Names(SynchronousTestCase):
    """Names of app servers, made of their addresses."""

    def test_there_and_back(self) -> None:
        pattern = "ip-{ip}.apps.example.org"
        name = fill_name(pattern, "10.50.1.23")
        self.assertEqual(name, "ip-10-50-1-23.apps.example.org")
        self.assertTrue(is_name_of(pattern, name))
        for other in (
            "ip-10-50-1-23.apps.example.com",
            "ip-10-50-1.apps.example.org",
            "ip-10-50-1-23xapps.example.org",
            "xip-10-50-1-23.apps.example.org",
            "10.50.1.23",
            "",
        ):
            self.assertFalse(is_name_of(pattern, other), other)
        self.assertFalse(is_name_of("public", "public"))


class ServerPlaces(SynchronousTestCase):
    def test_written_and_read(self) -> None:
        for text, address, tls, ca, name in (
            ("[::1]:2", "[::1]:2", False, "", ""),
            ("tls://h:3", "h:3", True, "", ""),
            ("tls://[::1]:3?tls_ca=/a%20b.pem", "[::1]:3", True, "/a b.pem", ""),
            ("tls://127.0.0.1:3?tls_ca=a&tls_name=h", "127.0.0.1:3", True, "a", "h"),
        ):
            place = ServerPlace.parse(text)
            self.assertEqual(place, ServerPlace(Address.parse(address), tls, ca, name))
            self.assertEqual(str(place), text)

    def test_none(self) -> None:
        for text in (
            *("tls://h", "tls://h:0", "tls://:1", "tls:h:1", "tls://h:1/", "tls://h:1?ca=x"),
            *("tls://h:1?tls_ca=", "tls://h:1?tls_ca=a&tls_ca=b", "tls://h:1#x", "ssl://h:1"),
            *("tls://u@h:1", "tls://h:1?x"),
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, ServerPlace.parse, text)

    def test_tls_that_is_not_installed(self) -> None:
        with not_installed("OpenSSL"):
            self.assertRaises(ValueError, ServerPlace.parse, "tls://h:1")


class ListeningPlaces(SynchronousTestCase):
    def test_parts(self) -> None:
        for text, kind, port, interface, is_tls in (
            ("tcp:22222", "tcp", 22222, "", False),
            ("tcp:port=1:interface=127.0.0.1", "tcp", 1, "127.0.0.1", False),
            ("tcp:interface=127.0.0.1:1", "tcp", 1, "127.0.0.1", False),
            ("tcp:1:127.0.0.1:9", "tcp", 1, "127.0.0.1", False),
            ("tcp:1:interface=0.0.0.0", "tcp", 1, "", False),
            ("tcp6:0:interface=\\:\\:1", "tcp6", 0, "::1", False),
            ("tcp6:0:9:\\:\\:1", "tcp6", 0, "::1", False),
            ("tcp6:0:interface=\\:\\:", "tcp6", 0, "", False),
            ("ssl:443:privateKey=a\\:interface=b", "ssl", 443, "", True),
            ("ssl:443:interface=::1", "ssl", 443, "", True),
            ("unix:/run/bbs", "unix", None, "", False),
            ("systemd:domain=INET:index=0", "systemd", None, "", False),
            ("haproxy:tcp:1:interface=127.0.0.1", "haproxy", None, "127.0.0.1", False),
        ):
            place = ListeningPlace.parse(text)
            self.assertEqual(
                (str(place), place.kind, place.port, place.interface, place.is_tls),
                (text, kind, port, interface, is_tls),
            )

    def test_none(self) -> None:
        for text in (
            *("", "tcp", "tcp:", "tcp:x", "tcp:65536", "tcp:-1", "tcp:port=x", "22222", "tpc:1"),
            *("tcp::1", "unix", "carrier-pigeon:1"),
        ):
            self.assertRaises(ValueError, ListeningPlace.parse, text)

    def test_tls_that_is_not_installed(self) -> None:
        for name in ("OpenSSL", "service_identity"):
            with not_installed(name):
                self.assertRaises(ValueError, ListeningPlace.parse, "ssl:443:privateKey=k")

    def test_backlog(self) -> None:
        """It is said where it can be, and nobody has."""
        for text, told in (
            ("tcp:1", "tcp:1:backlog=7"),
            ("tcp6:1:interface=\\:\\:1", "tcp6:1:interface=\\:\\:1:backlog=7"),
            ("ssl:1:key.pem", "ssl:1:key.pem:backlog=7"),
            ("tcp:1:backlog=3", "tcp:1:backlog=3"),
            ("tcp:1:127.0.0.1:3", "tcp:1:127.0.0.1:3"),
            ("tcp6:1:3", "tcp6:1:3"),
            ("unix:/run/bbs", "unix:/run/bbs"),
            ("ssl:1:privateKey=a\\:backlog=b", "ssl:1:privateKey=a\\:backlog=b:backlog=7"),
        ):
            self.assertEqual(str(ListeningPlace.parse(text).with_backlog(7)), told)

    def test_files_of_tls(self) -> None:
        for text, key, certificate, chain in (
            ("ssl:1", "server.pem", "server.pem", ""),
            ("ssl:1:a\\:b", "a:b", "a:b", ""),
            ("ssl:1:k:c:extraCertChain=x", "k", "c", "x"),
        ):
            place = ListeningPlace.parse(text)
            told = (place.private_key, place.certificate, place.chain)
            self.assertEqual(told, (key, certificate, chain))

    def test_without_tls(self) -> None:
        for text, told in (
            ("ssl:1", "tcp:1"),
            ("ssl:1:k:c:sslmethod=x:backlog=5", "tcp:1:backlog=5"),
            ("ssl:1:interface=\\:\\:1:k", "tcp:1:interface=\\:\\:1"),
        ):
            self.assertEqual(str(ListeningPlace.parse(text).without_tls()), told)
        self.assertRaises(ValueError, ListeningPlace.parse("ssl:1:privatekey=k").without_tls)

    def test_at(self) -> None:
        place = ListeningPlace.at("::1", 5)
        self.assertEqual(str(place), "tcp6:5:interface=\\:\\:1")
        self.assertEqual((place.interface, place.port), ("::1", 5))
        self.assertEqual(str(ListeningPlace.at("127.0.0.1", 0)), "tcp:0:interface=127.0.0.1")

    def test_on_a_free_port_beside_others(self) -> None:
        for texts, free in (
            (("tcp:1", "tcp:2"), "tcp:0"),
            (("tcp:1", "tcp6:2"), "tcp6:0"),
            (("tcp:1", "tcp:2:interface=127.0.0.1"), "tcp:0:interface=127.0.0.1"),
            (("tcp6:1:interface=\\:\\:", "tcp:2"), "tcp6:0"),
            (("tcp6:1:interface=\\:\\:1", "tcp:2"), "tcp6:0:interface=\\:\\:1"),
            (("ssl:1:k\\:y.pem", "tcp:2"), "ssl:0:privateKey=k\\:y.pem"),
            (
                ("tcp:1:interface=127.0.0.1", "ssl:2:certKey=c:privateKey=k:backlog=3"),
                "ssl:0:interface=127.0.0.1:certKey=c:privateKey=k",
            ),
        ):
            places = map(ListeningPlace, texts)
            self.assertEqual(str(ListeningPlace.on_free_port(*places)), free)

    @given(st.text(st.sampled_from("interfac=:\\1x"), max_size=12))
    def test_as_twisted_reads_it(self, tail: str) -> None:
        """Arguments are told apart as `serverFromString` does it."""
        text = f"ssl:1:interface={tail}"
        try:
            named = _parse(text)[1]["interface"]
        except RuntimeError:  # It ends in a backslash, on which Twisted chokes.
            return
        if text.count("interface=") == 1:
            self.assertEqual(ListeningPlace(text).interface, named)
