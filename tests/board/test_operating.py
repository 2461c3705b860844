"""`bbs announce`, `bbs group` and `bbs post`, by which operators act on the board."""

from __future__ import annotations

import getpass
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from bbs import cli
from bbs.board.announcements import rules as announcements
from bbs.board.announcements.tables import Announcement
from bbs.board.groups import groups, operators
from bbs.board.groups.tables import Group
from bbs.board.lists import LAST_ID
from bbs.board.messages.tables import Inbox
from bbs.board.posts import posts
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost
from bbs.cli import Program
from bbs.rules import fleet_admin
from tests.cli.case import CommandCase
from tests.database_case import RulesCase, on_both_databases

NOW = 1_000_000.0


def run(argv: Sequence[str], program: Program) -> int:
    return cli.run(program, argv)


class Typed(io.StringIO):
    """A terminal at which somebody types these lines."""

    def __init__(self, *lines: str) -> None:
        super().__init__("".join(lines))

    def isatty(self) -> bool:
        return True


class OperatingCase(CommandCase):
    main = staticmethod(run)

    def setUp(self) -> None:
        super().setUp()
        self.patch(getpass, "getuser", lambda: "liz")
        self.patch(time, "time", lambda: NOW)
        self.addCleanup(self.in_zone, os.environ.get("TZ"))
        self.in_zone("UTC")

    def in_zone(self, zone: str | None) -> None:
        """Have this machine's own time be that of `zone`."""
        os.unsetenv("TZ") if zone is None else os.putenv("TZ", zone)
        time.tzset()

    def said(self, *arguments: str) -> str:
        """What a command prints that goes well."""
        code, output, errors = self.bbs(*arguments)
        self.assertEqual((code, errors), (0, ""))
        return output

    def failed(self, reason: str, *arguments: str) -> None:
        self.assertEqual(self.bbs(*arguments), (1, "", f"bbs {arguments[0]}: {reason}\n"))

    def misused(self, reason: str, *arguments: str) -> None:
        code, output, errors = self.bbs(*arguments)
        self.assertEqual((code, output), (2, ""))
        self.assertEqual(errors.splitlines()[-1], f"bbs {reason}")

    def deeds(self) -> list[Any]:
        found = self.call(fleet_admin.actions, 99)
        return [(each.operator, each.address, each.action, each.detail) for each in found]


@on_both_databases
class Announcing(OperatingCase):
    def announced(self) -> list[Any]:
        return [(row.text, row.stored, row.until) for row in Announcement.select()]

    def test_until_it_is_removed(self) -> None:
        number = json.loads(self.said("announce", "down at nine", "--json"))["announcement"]
        self.assertEqual(self.announced(), [("down at nine", NOW, None)])
        self.assertEqual(
            self.said("announce", "--list"),
            "   N  SINCE                      UNTIL                      TEXT\n"
            f"{number:4}  1970-01-12T13:46:40+00:00  -                          down at nine\n",
        )
        removed = self.said("announce", "--remove", f"{number}")
        self.assertEqual(removed, f"announcement {number} is removed\n")
        self.assertEqual(self.announced(), [])
        self.assertEqual(
            self.deeds(),
            [
                ("liz", "bbs announce", "announce-remove", f"{number}"),
                ("liz", "bbs announce", "announce", "down at nine"),
            ],
        )

    def test_until_a_time(self) -> None:
        for text, until in (
            ("2h", NOW + 7200),
            ("1d", NOW + 86400),
            ("1970-01-12T14:00", NOW + 800),
            ("1970-01-12T14:00:00Z", NOW + 800),
            ("1970-01-12T14:00:00+01:00", None),
            ("1970-01-13", NOW + 36800),
        ):
            if until is None:
                self.misused(f"announce: error: {text} is over", "announce", "x", "--until", text)
            else:
                self.said("announce", text, "--until", text)
                self.assertEqual(self.announced()[-1], (text, NOW, until))
        said = self.said("announce", "x", "--until", "1970-01-12T14:00")
        self.assertRegex(said, r"announced, as number \d+, until 1970-01-12T14:00:00\+00:00\n")
        for wrong in ("", "0h", "2 h", "soon", "25:00", "99999-01-01"):
            code, _, errors = self.bbs("announce", "x", "--until", wrong)
            self.assertEqual(code, 2)
            self.assertIn("is not a time: write 2h", errors)

    def test_what_may_be_announced(self) -> None:
        most = announcements.MOST_TEXT
        self.said("announce", "\N{GRINNING FACE}" * most)
        self.said("announce", " one\ntwo\r\n")
        self.assertEqual(self.announced()[-1][0], "one\u2028two")
        self.assertIn("one two\n", self.said("announce", "--list"))
        self.failed("an announcement needs a text", "announce", " \n")
        self.failed("the text has control characters", "announce", "a\x1b[2Jb")
        why = "the text has 100,000 characters: at most 2,000 are allowed"
        self.failed(why, "announce", "x" * 100_000)
        self.misused("announce: error: not UTF-8", "announce", "\udcff")
        self.assertEqual(len(self.announced()), 2)

    def test_only_so_many(self) -> None:
        for number in range(announcements.MOST):
            self.said("announce", f"{number}")
        why = "there are 20 announcements already: remove one with --remove N"
        self.failed(why, "announce", "more")
        self.assertEqual(len(self.deeds()), announcements.MOST)

    def test_wrong_usage(self) -> None:
        why = "announce: error: give one of TEXT, --list and --remove N"
        for wrong in ((), ("x", "--list"), ("x", "--remove", "1")):
            self.misused(why, "announce", *wrong)
        for wrong_number in ("x", "0", "-1", f"{LAST_ID + 1}", "9" * 5000):
            self.assertEqual(self.bbs("announce", "--remove", wrong_number)[0], 2)
        self.failed(
            f"there is no announcement {LAST_ID}: --list shows them",
            *("announce", "--remove", f"{LAST_ID}"),
        )
        self.assertEqual(self.deeds(), [])

    def test_for_programs(self) -> None:
        self.assertEqual(self.said("announce", "--list", "--json"), "[]\n")
        self.said("announce", "x", "--until", "1h")
        [entry] = json.loads(self.said("announce", "--list", "--json"))
        del entry["announcement"]
        self.assertEqual(entry, {"text": "x", "time": NOW, "until": NOW + 3600})


@on_both_databases
class Groups(OperatingCase, RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")

    def test_a_list(self) -> None:
        self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")
        for owner in (self.bob.id, None):
            name, private = f"go{owner or ''}", True
            Group.insert(name=name, channel="x", creator=owner, private=private, posts=3).execute()
        listed = [line.split() for line in self.said("group", "list").splitlines()[1:]]
        self.assertEqual(
            listed,
            [
                ["2", "0", "open", "ann", "chess"],
                ["0", "0", "private", "bob", f"go{self.bob.id}"],
                ["0", "0", "private", "-", "go"],
            ],
        )

    def test_an_empty_list(self) -> None:
        self.assertEqual(len(self.said("group", "list").splitlines()), 1)
        self.assertEqual(self.said("group", "list", "--json"), "[]\n")

    def test_a_long_list(self) -> None:
        self.patch(operators, "GROUPS_AT_ONCE", 2)
        for number in range(5):
            self.call(groups.create, self.ann, f"g{number}")
        listed = json.loads(self.said("group", "list", "--json"))
        self.assertEqual([each["name"] for each in listed], [f"g{number}" for number in range(5)])

    def on_page(self, search: str = "", behind: str = "", limit: int = 9) -> list[Any]:
        """The rows of the page's list."""
        rows = self.call(operators.GROUPS.rows, NOW, search, behind, limit)
        return [(each.key, each.cells[1:], each.position) for each in rows]

    def test_the_pages_list_has_the_latest_first(self) -> None:
        self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")
        chess, go = Group.get().id, Group.insert(name="Go", channel="x", private=True).execute()
        rows = [
            ("Go", (None, 0, 0, "private"), f"{go}"),
            ("chess", ("ann", 2, 0, "open"), f"{chess}"),
        ]
        self.assertEqual(self.on_page(), rows)
        self.assertEqual(self.on_page(limit=1), rows[:1])
        self.assertEqual(self.on_page(behind=f"{go}"), rows[1:])
        self.assertEqual(self.on_page(behind=f"{chess}"), [])
        for text, found in (("go", rows[:1]), ("HES", rows[1:]), ("%", []), ("\\", [])):
            self.assertEqual(self.on_page(text), found)
        self.assertEqual(self.on_page("o", f"{go}"), [])
        self.assertEqual(self.deeds(), [])

    def test_one(self) -> None:
        self.call(groups.create, self.ann, "chess")
        lines = dict(
            line.split(maxsplit=1) for line in self.said("group", "show", "chess").split("\n")[:-1]
        )
        self.assertEqual(
            lines,
            {
                "name": "chess",
                "topic": "-",
                "owner": "ann",
                "private": "no",
                "members": "1",
                "posts": "0",
            },
        )
        shown = json.loads(self.said("group", "show", "chess", "--json"))
        self.assertEqual(
            shown,
            {
                "name": "chess",
                "topic": None,
                "owner": "ann",
                "private": False,
                "members": 1,
                "posts": 0,
            },
        )
        self.assertEqual(self.deeds(), [])

    def test_none(self) -> None:
        self.call(groups.create, self.ann, "chess")
        for name in ("go", "Chess", "chess "):
            self.failed(f'there is no group "{name}"', "group", "show", name)

    def test_another_name(self) -> None:
        channel = self.call(groups.create, self.ann, "chess")
        self.call(groups.create, self.ann, "go")
        self.assertEqual(
            self.said("group", "rename", "chess", "échecs"), "chess is called échecs now\n"
        )
        self.assertEqual(self.said("group", "rename", "go", "go"), "go is called go now\n")
        for name, why in (
            ("go", "go already exist"),
            ("e\u0301checs", None),
            ("two words", "Invalid group"),
            ("x" * 101, "Invalid group"),
            ("a\x1b", "Invalid group"),
        ):
            if why is None:
                self.said("group", "rename", "échecs", name)
            else:
                self.failed(why, "group", "rename", "échecs", name)
        self.failed('there is no group "chess"', "group", "rename", "chess", "x")
        self.assertEqual(
            [each[2:] for each in self.deeds()][-2:],
            [("group-rename", "go → go"), ("group-rename", "chess → échecs")],
        )
        self.assertEqual(self.call(groups.channels, self.ann.id)[0], channel)

    def test_another_owner(self) -> None:
        self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")
        self.person("cat")
        self.assertEqual(self.said("group", "give", "chess", "bob"), "bob owns chess now\n")
        self.assertEqual(json.loads(self.said("group", "show", "chess", "--json"))["owner"], "bob")
        self.failed("cat is not a member of chess", "group", "give", "chess", "cat")
        self.failed("Bob does not exist", "group", "give", "chess", "Bob")
        self.assertEqual(self.deeds(), [("liz", "bbs group", "group-give", "chess → bob")])

    def test_removed(self) -> None:
        self.patch(groups, "REMOVED_AT_ONCE", 1)
        for name in ("chess", "go"):
            self.call(groups.create, self.ann, name)
            self.call(groups.join, self.bob, name)
        why = "no terminal to ask at: --yes removes without asking"
        self.failed(why, "group", "remove", "chess")
        self.assertEqual(self.said("group", "remove", "chess", "--yes"), "chess is removed\n")
        self.patch(sys, "stdin", Typed("chess\n", "go\n"))
        asking = "Type go again to remove the group and its posts: "
        refused = self.bbs("group", "remove", "go")
        self.assertEqual(refused, (1, "", f"{asking}bbs group: not the same: nothing is removed\n"))
        self.assertEqual(self.bbs("group", "remove", "go"), (0, "go is removed\n", asking))
        self.assertEqual(Group.select().count(), 0)
        self.assertEqual(
            [each[2:] for each in self.deeds()], [("group-remove", "go"), ("group-remove", "chess")]
        )

    def test_names_act_on_no_terminal(self) -> None:
        Group.insert(name="a\x1b[2J", channel="x", topic="\x07").execute()
        for text in (self.said("group", "list"), self.said("group", "show", "a\x1b[2J")):
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f]")


@on_both_databases
class Posts(OperatingCase, RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")
        self.befriend(self.ann, self.bob)

    def kept(self) -> list[tuple[int, int]]:
        """The number of posts of ann and of bob, and their bytes, as they are counted."""
        inboxes = Inbox.select().where(Inbox.user.in_([self.ann.id, self.bob.id]))
        return [(each.posts, each.post_bytes) for each in inboxes.order_by(Inbox.user)]

    def test_in_a_feed(self) -> None:
        for text in ("one", "two"):
            self.call(posts.post, self.ann, text)
        number = min(each.id for each in PostRow.select())
        said = self.said("post", "remove", f"{number}")
        self.assertEqual(said, f"post {number} of ann is removed\n")
        self.assertEqual([each.text for each in PostRow.select()], ["two"])
        self.assertEqual(self.kept(), [(1, 3), (0, 0)])
        self.assertEqual(self.deeds(), [("liz", "bbs post", "post-remove", f"{number}")])
        self.failed(f"there is no post {number}", "post", "remove", f"{number}")
        self.assertEqual(len(self.deeds()), 1)

    def test_in_a_group_and_a_thread(self) -> None:
        """Nobody counts it as unread, and the thread counts one reply less."""
        self.call(groups.create, self.ann, "chess")
        first = PostRow.insert(author=self.ann.id, text="e4", replies=1).execute()
        reply = PostRow.insert(author=None, text="e5").execute()
        group = Group.get().id
        Contribution.insert(
            post=reply, writer=self.bob.id, group=group, number=1, thread=first
        ).execute()
        Inbox.update(posts=1, post_bytes=2).where(
            Inbox.user.in_([self.ann.id, self.bob.id])
        ).execute()
        said = json.loads(self.said("post", "remove", f"{reply}", "--json"))
        self.assertEqual(said, {"post": reply, "writer": "bob", "done": "remove"})
        self.assertEqual(PostRow.get().replies, 0)
        self.assertEqual([*RemovedPost.select().tuples()], [(group, 1)])
        self.assertEqual(self.kept(), [(1, 2), (0, 0)])

    def test_a_number_of_none(self) -> None:
        for wrong in ("0", "-1", "x", "1.5"):
            self.assertEqual(self.bbs("post", "remove", wrong)[0], 2)
