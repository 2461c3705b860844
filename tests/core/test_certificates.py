"""What people read of a certificate's end, and what heartbeats carry of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.certificates import (
    CERTIFICATE,
    DAY,
    Served,
    certificates,
    date,
    is_due,
    lasts,
    note_certificate,
    trouble,
)


class Words(SynchronousTestCase):
    def test_how_long(self) -> None:
        for days, words in (
            (15, "expires in 15 days"),
            (13.9, "expires in 13 days"),
            (1, "expires in a day"),
            (1 / 24, "expires in less than a day"),
            (0, "has expired"),
            (-0.9, "has expired"),
            (-1, "expired a day ago"),
            (-3, "expired 3 days ago"),
        ):
            self.assertEqual(lasts(9e8 + days * DAY, 9e8), words)

    def test_date(self) -> None:
        self.assertEqual(date(1_800_000_000), "2027-01-15 08:00 UTC")

    def test_trouble(self) -> None:
        begins, expires = 1_800_000_000 - 30 * DAY, 1_800_000_000
        for days, words in (
            (-31, "is not valid before 2026-12-16 08:00 UTC"),
            (-30, ""),
            (-14, "expires in 14 days, on 2027-01-15 08:00 UTC"),
            (0, "has expired, on 2027-01-15 08:00 UTC"),
        ):
            self.assertEqual(trouble(begins, expires, expires + days * DAY), words)

    def test_due(self) -> None:
        for days, due in ((15, False), (14.01, False), (14, True), (1 / 24, True), (-40, True)):
            self.assertEqual(is_due(days * DAY, 0.0), due, days)


class Figures(SynchronousTestCase):
    def test_of_several(self) -> None:
        figures = {"connected": 3}
        note_certificate(figures, 443, "/etc/bbs/private/page.pem", 2e9)
        note_certificate(figures, 22222, "secretsmanager:bbs/tls", 1.9e9)
        expected = [Served(1_900_000_000, "22222", "tls"), Served(2_000_000_000, "443", "page.pem")]
        self.assertEqual(certificates(figures), expected)
        self.assertEqual(figures[CERTIFICATE], 1_900_000_000)
        self.assertNotIn("/etc", str(figures))

    def test_replaced(self) -> None:
        figures: dict[str, int] = {}
        note_certificate(figures, 443, "page.pem", 1e9)
        note_certificate(figures, 443, "page.pem", 2e9)
        self.assertEqual(certificates(figures), [Served(2_000_000_000, "443", "page.pem")])
        self.assertEqual(figures[CERTIFICATE], 2_000_000_000)
