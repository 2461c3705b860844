"""What holds replacements up, as login servers of several versions tell each other."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.rules.fleet_admin import UNKNOWN_BLOCKER, Blocker, blocker_text


class WhatHoldsThemUp(SynchronousTestCase):
    def test_the_numbers_stay(self) -> None:
        """And operators read what they always did."""
        told = {
            1: "the provider is away",
            2: "the provider has not said for long what runs",
            3: "the broker is away",
            4: "people wait for places",
            5: "nothing can be launched",
            6: "a launch has failed lately",
            7: "fleet.maximum leaves no room for one more, and no others for the people of any of"
            " them",
        }
        self.assertEqual({int(each): each.text for each in Blocker}, told)
        for number, text in told.items():
            self.assertEqual(blocker_text([0, number]), text)

    def test_nothing_and_what_only_a_newer_version_knows(self) -> None:
        self.assertEqual([blocker_text([]), blocker_text([0, 0])], ["", ""])
        self.assertEqual(
            [blocker_text([8]), blocker_text([0, 99])], [UNKNOWN_BLOCKER, UNKNOWN_BLOCKER]
        )
