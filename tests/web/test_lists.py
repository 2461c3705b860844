"""A service's own lists by the page, and what operators do to what is in them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from bbs.board import board
from bbs.board.announcements import rules as announcements
from bbs.board.announcements.tables import Announcement
from bbs.board.groups import groups
from bbs.board.groups.tables import Group
from bbs.commands.service import Service
from bbs.core import audit
from bbs.framework import read_only
from bbs.operators import (
    ActResult,
    ListRow,
    OperatorAct,
    OperatorColumn,
    OperatorField,
    OperatorList,
)
from bbs.rules.fleet_admin import By
from bbs.rules.service_admin import MOST_POSITION
from bbs.web.actions import Controls
from bbs.web.lists import MOST_ROWS
from tests.web.case import Answer, Browser, PageCase

MARKUP = "<b>\u202e&amp;"


class ListCase(PageCase):
    def setUp(self) -> None:
        super().setUp()
        self.service.people("ann", "bob")
        self.liz = self.operator()

    def do(self, path: str, browser: Browser | None = None, **fields: Any) -> Answer:
        """Act, as the page does."""
        return (browser or self.liz).post(
            f"/lists/{path}", json.dumps(fields).encode(), Content_Type="application/json"
        )

    def rows(self, path: str) -> list[tuple[str, list[Any]]]:
        """What is in a list: the key and the cells of each row."""
        self.clock.advance(1.5)  # Answers are kept for a second.
        return [(each["key"], each["cells"]) for each in self.read(path)["rows"]]

    def read(self, path: str) -> dict[str, Any]:
        part: dict[str, Any] = self.liz.get(f"/lists/{path}").json
        return part

    def said(self, path: str, **fields: Any) -> str:
        """What the page says of an act that goes well."""
        answer = self.do(path, **fields)
        self.assertEqual((answer.code, answer.json["status"]), (200, 0), answer.body)
        message: str = answer.json["message"]
        return message

    def refused(self, code: int, path: str, **fields: Any) -> str:
        answer = self.do(path, **fields)
        self.assertEqual((answer.code, answer.json["status"]), (code, 1), answer.body)
        message: str = answer.json["message"]
        return message

    def group(self, name: str, **members: Any) -> int:
        added: int = Group.insert(name=name, channel="x", **members).execute()
        return added

    def deeds(self) -> list[tuple[Any, ...]]:
        """What is recorded, and in which words, the latest first."""
        return [
            (each["operator"], each["action"], each["detail"], each["words"])
            for each in self.liz.get("/actions").json
        ]


class Reading(ListCase):
    def test_what_there_is(self) -> None:
        shown = self.liz.get("/lists").json
        self.assertEqual([each["name"] for each in shown], ["announcements", "groups"])
        self.assertEqual([each["name"] for each in shown[0]["adds"]], ["announce"])
        acts = [each["name"] for each in shown[1]["acts"]]
        self.assertEqual(acts, ["group-rename", "group-give", "group-remove"])
        self.assertEqual([each["again"] for each in shown[1]["acts"]], [False, False, True])

    def test_only_for_operators(self) -> None:
        stranger = self.browser()
        for path in ("/lists", "/lists/groups", "/lists/announcements"):
            self.assertEqual(stranger.get(path).code, 401)
        answer = self.do("groups/group-remove", stranger, key="chess", again="chess")
        self.assertEqual(answer.code, 401)

    def test_groups_with_their_figures_latest_first(self) -> None:
        self.group("go", private=True)
        self.group(MARKUP, creator=1)
        cells = [[MARKUP, "ann", 0, 0, "open"], ["go", None, 0, 0, "private"]]
        self.assertEqual([cells for _, cells in self.rows("groups")], cells)

    def test_many_are_read_in_parts(self) -> None:
        for number in range(2 * MOST_ROWS + 1):
            self.group(f"g{number}")
        found, behind = [], ""
        for size in (MOST_ROWS, MOST_ROWS, 1):
            part = self.read(f"groups?behind={behind}")
            self.assertEqual(len(part["rows"]), size)
            found += [each["key"] for each in part["rows"]]
            behind = part["more"]
        self.assertIsNone(behind)
        self.assertEqual(found, [f"g{number}" for number in reversed(range(2 * MOST_ROWS + 1))])

    def test_exactly_one_part(self) -> None:
        for number in range(MOST_ROWS):
            self.group(f"g{number}")
        part = self.read("groups")
        self.assertEqual((len(part["rows"]), part["more"]), (MOST_ROWS, None))

    def test_searching(self) -> None:
        for name in ("chess", "Chess-club", "go", "50%"):
            self.group(name)
        for text, found in (
            ("chess", ["Chess-club", "chess"]),
            ("%25", ["50%"]),
            ("_", []),
            ("%20go%20", ["go"]),
            ("x" * 5000, []),
        ):
            self.assertEqual([key for key, _ in self.rows(f"groups?search={text}")], found)

    def test_a_position_that_nobody_was_given(self) -> None:
        self.group("go")
        for behind in ("x", "-1", "0", "9" * 30, "%00", "%ff"):
            self.assertEqual(self.liz.get(f"/lists/groups?behind={behind}").code, 200)

    def test_the_present_announcements(self) -> None:
        now = self.service.wall()
        for text, until in (("one\u2028two", None), ("later", now + 60)):
            Announcement.insert(text=text, stored=now, until=until).execute()
        Announcement.insert(text="over", stored=now - 9, until=now - 1).execute()
        self.assertEqual(
            [cells for _, cells in self.rows("announcements")],
            [["later", now, now + 60], ["one two", now, "an operator ends it"]],
        )

    def test_equal_requests_share_an_answer(self) -> None:
        self.group("go")
        self.read("groups")
        self.group("chess")
        self.assertEqual(len(self.read("groups")["rows"]), 1)
        self.assertEqual(len(self.rows("groups")), 2)

    def test_after_an_act_nobody_reads_what_was_before(self) -> None:
        self.patch(groups, "REMOVED_AT_ONCE", 1)
        self.group("go")
        for token in self.service.people("cat", "dan").values():
            self.service.at_home(token).ask(f"join-group {token} go")
        other, read = self.operator(), list[list[str]]()
        report = Controls.report

        def late(controls: Controls, by: By, action: str, target: str) -> None:
            """Let another operator read while the rest is removed."""
            report(controls, by, action, target)
            look()

        def look() -> None:
            read.append([each["key"] for each in other.get("/lists/groups").json["rows"]])

        self.patch(Controls, "report", late)
        look()
        self.said("groups/group-remove", key="go", again="go")
        look()
        self.assertEqual(read, [["go"], ["go"], []])

    def test_the_page_does_not_wait_for_the_database(self) -> None:
        self.database.hold()
        self.liz.send("GET", "/lists/groups")
        self.assertEqual(self.liz.transport.value(), b"")
        self.assertEqual(self.browser().get("/health").code, 200)

    def test_what_there_is_not(self) -> None:
        for path in ("nothing", "groups/nothing", "groups/announce"):
            self.assertEqual(self.liz.get(f"/lists/{path}").code, 404)
        self.assertEqual(self.liz.get("/lists/groups/group-remove").code, 405)


class Acting(ListCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[Any] = []
        observer: Any = self.events.append
        audit.publisher.addObserver(observer)
        self.addCleanup(audit.publisher.removeObserver, observer)

    def number(self) -> str:
        return f"{Announcement.get().id}"

    def test_announcing_and_ending(self) -> None:
        said = self.said("announcements/announce", text=" Down at\nnine ", until="")
        self.assertEqual(said, "You announced: Down at nine")
        [(number, cells)] = self.rows("announcements")
        self.assertEqual(cells[0], "Down at nine")
        said = self.said("announcements/announce-remove", key=number)
        self.assertEqual(said, f"You ended the announcement {number}")
        self.assertEqual(self.rows("announcements"), [])
        self.assertEqual(
            self.deeds(),
            [
                ("liz", "announce-remove", number, f"ended the announcement {number}"),
                ("liz", "announce", "Down at\u2028nine", "announced: Down at nine"),
            ],
        )
        written = [(each["what"], each["outcome"], each["by"]) for each in self.events]
        self.assertEqual(written, [("announce", "done", "liz"), ("announce-remove", "done", "liz")])

    def test_everybody_is_told_at_once(self) -> None:
        cat = self.service.listening(self.service.people("cat")["cat"])
        cat.ask("events")
        self.said("announcements/announce", text="Down at nine")
        self.service.settle()
        self.assertEqual([each["text"] for each in cat.events()], ["Down at nine"])
        self.pass_time(3)
        self.assertEqual(cat.events(), [])

    def test_until_a_time(self) -> None:
        now = self.service.wall()
        self.said("announcements/announce", text="x", until=now + 60)
        self.assertEqual(Announcement.get().until, now + 60)
        for wrong in (now, now - 1, 0):
            said = self.refused(400, "announcements/announce", text="x", until=wrong)
            self.assertEqual(said, "This time is over")
        malformed: tuple[Any, ...] = ("soon", True, -1, 1e300, float("nan"), [], {})
        for wrong in malformed:
            said = self.refused(400, "announcements/announce", text="x", until=wrong)
            self.assertIn("until must be a time", said)

    def test_what_may_be_announced(self) -> None:
        path, most = "announcements/announce", announcements.MOST_TEXT
        self.said(path, text="\N{GRINNING FACE}" * most)
        for text, why in (
            ("", "Missing field: text"),
            (7, "Malformed field: text"),
            ("\udcff", "Malformed field: text"),
            ("x" * (most + 1), "text has at most 2,000 characters"),
        ):
            self.assertEqual(self.refused(400, path, text=text), why)
        for text, why in (
            (" \n", "an announcement needs a text"),
            ("a\x1b[2J", "the text has control characters"),
        ):
            self.assertEqual(self.refused(409, path, text=text), why)
        for _ in range(announcements.MOST - 1):
            self.said(path, text="x")
        why = "there are 20 announcements already"
        self.assertEqual(self.refused(409, path, text="x"), why)

    def test_one_that_is_gone(self) -> None:
        for number in ("7", "x", "", "-1", "9" * 30):
            said = self.refused(409, "announcements/announce-remove", key=number)
            self.assertIn("there is no announcement", said)

    def test_another_name(self) -> None:
        self.group(MARKUP)
        self.group("go")
        said = self.said("groups/group-rename", key="go", name="chess")
        self.assertEqual(said, "You renamed the group go → chess")
        self.assertEqual([key for key, _ in self.rows("groups")], ["chess", MARKUP])
        self.group("red")
        for name, why in (("red", "red already exist"), ("a b", "Invalid group")):
            self.assertEqual(self.refused(409, "groups/group-rename", key="chess", name=name), why)
        why = 'there is no group "go"'
        self.assertEqual(self.refused(409, "groups/group-rename", key="go", name="x"), why)
        self.assertEqual(
            self.deeds(), [("liz", "group-rename", "go → chess", "renamed the group go → chess")]
        )
        [event] = [each for each in self.events if each["by"] == "liz"]
        self.assertEqual((event["what"], event["name"]), ("group-rename", "go → chess"))

    def test_another_owner(self) -> None:
        self.group("go")
        self.refused(409, "groups/group-give", key="go", member="ann")
        said = self.refused(409, "groups/group-give", key="go", member="nobody")
        self.assertEqual(said, "nobody does not exist")
        token = self.service.people("cat")["cat"]
        cat = self.service.at_home(token)
        cat.ask(f"join-group {token} go")
        said = self.said("groups/group-give", key="go", member="cat")
        self.assertEqual(said, "You gave away the group go → cat")
        [deed] = self.deeds()
        self.assertEqual(deed[2:], ("go → cat", "gave away the group go → cat"))
        [(_, cells)] = self.rows("groups")
        self.assertEqual(cells, ["go", "cat", 1, 0, "open"])

    def test_removing(self) -> None:
        self.patch(groups, "REMOVED_AT_ONCE", 1)
        self.group(MARKUP)
        tokens = self.service.people("cat", "dan")
        for token in tokens.values():
            self.service.at_home(token).ask(f"join-group {token} {MARKUP}")
        for again in ({}, {"again": "<b>"}, {"again": 7}):
            said = self.refused(400, "groups/group-remove", key=MARKUP, **again)
            self.assertEqual(said, "Type the name once more: the two differ")
        self.assertEqual(Group.select().count(), 1)
        said = self.said("groups/group-remove", key=MARKUP, again=MARKUP)
        self.assertEqual(said, f"You removed the group {MARKUP}")
        self.assertEqual(Group.select().count(), 0)
        self.assertEqual(len(self.deeds()), 1)
        [event] = [each for each in self.events if each["by"] == "liz"]
        self.assertEqual((event["what"], event["name"]), ("group-remove", MARKUP))

    def test_a_key_that_is_no_text(self) -> None:
        keys: tuple[Any, ...] = (7, None, [], "\udcff")
        for key in keys:
            said = self.refused(400, "groups/group-rename", key=key, name="x")
            self.assertEqual(said, "Malformed field: key")

    def test_the_requests_of_another_site(self) -> None:
        self.group("go")
        body = b"key=go&again=go"
        answer = self.liz.post("/lists/groups/group-remove", body, Origin="http://evil.example")
        self.assertEqual(answer.code, 403)
        self.assertEqual(self.liz.post("/lists/groups/group-remove?key=go", body).code, 400)
        self.assertEqual(Group.select().count(), 1)
        # By a form it works as by JSON.
        self.assertEqual(self.liz.post("/lists/groups/group-remove", body).code, 200)

    def test_by_the_command_line_it_is_in_words_too(self) -> None:
        self.assertEqual(board.own_acts["post-remove"].words("7"), "removed the post 7")
        self.assertEqual(board.own_acts["group-remove"].words("{0}"), "removed the group {0}")


@read_only
def waves(now: float, search: str, behind: str, limit: int) -> list[ListRow]:
    return [ListRow("w", ("high",))]


@read_only
def gulls(now: float, search: str, behind: str, limit: int) -> list[ListRow]:
    """Rows whose positions are numbers."""
    if search:
        raise ValueError("a mistake in the rule")
    return [ListRow("g", (f"{int(behind or 0)}",))]


@read_only
def ships(now: float, search: str, behind: str, limit: int) -> list[ListRow]:
    """Rows whose names are as long as can be, or longer behind the last of them."""
    names = [f"{number:02}".rjust(MOST_POSITION, "n") for number in range(2 * MOST_ROWS - 1)]
    rows = [ListRow(name, (name,)) for name in [*names, *(f"x{each}" for each in names)]]
    return [each for each in rows if not behind or each.key > behind][:limit]


def calm(now: float, key: str) -> ActResult:
    return ActResult(key, {})


CALM = OperatorAct("calm", "calmed {}", rule=calm, label="Calm", title="Calm it?")
WAVES = OperatorList("waves", "Waves", (OperatorColumn("How"),), waves, acts=(CALM,))
SHIPS = OperatorList("ships", "Ships", (OperatorColumn("Name"),), ships)
GULLS = OperatorList("gulls", "Gulls", (OperatorColumn("No."),), gulls, search="Name")
SEA = Service("sea", lists=(WAVES, SHIPS, GULLS))


class OfAnotherService(ListCase):
    offered = SEA

    def test_it_has_its_own(self) -> None:
        self.assertEqual(self.rows("waves"), [("w", ["high"])])
        self.assertEqual(self.said("waves/calm", key="w"), "You calmed w")
        self.assertEqual(self.deeds(), [("liz", "calm", "w", "calmed w")])

    def test_long_keys_are_positions_too(self) -> None:
        first = self.read("ships")
        self.assertEqual(first["more"], first["rows"][-1]["key"])
        answer = self.liz.get(f"/lists/ships?behind={first['more']}")
        # The last row of the next part has a key that is too long for a position.
        self.assertEqual(answer.code, 500)
        [error] = self.flushLoggedErrors(ValueError)
        self.assertIn("ships", f"{error.value}")

    def test_a_position_that_is_too_long(self) -> None:
        for length, code in ((MOST_POSITION, 200), (MOST_POSITION + 1, 400)):
            answer = self.liz.get(f"/lists/waves?behind={'w' * length}")
            self.assertEqual(answer.code, code)

    def test_a_position_that_the_list_cannot_read(self) -> None:
        self.assertEqual(self.liz.get("/lists/gulls?behind=7").json["rows"][0]["cells"], ["7"])
        answer = self.liz.get("/lists/gulls?behind=abc")
        self.assertEqual(answer.code, 400)
        self.assertEqual(self.flushLoggedErrors(ValueError), [])
        self.assertEqual(self.liz.get("/lists/gulls?search=x").code, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class OfNone(ListCase):
    offered = Service("quiet")

    def test_nothing_is_there(self) -> None:
        self.assertEqual(self.liz.get("/lists").code, 404)


class Declaring(PageCase):
    def test_what_is_wrong_is_said_at_once(self) -> None:
        columns = (OperatorColumn("How"),)
        other = OperatorAct("calm", "stilled {}")
        how, *taken = (
            OperatorField(each, "How") for each in ("how", "now", "key", "again", "to what", "")
        )
        for make in (
            lambda: OperatorAct("Calm", "x"),
            lambda: OperatorAct("a" * 21, "x"),
            lambda: OperatorAct("drain", "x"),
            lambda: OperatorAct("calm", "x", rule=calm),
            *(partial(OperatorAct, "calm", "x", fields=(each,)) for each in taken),
            lambda: OperatorAct("calm", "x", fields=(how, how)),
            lambda: OperatorList("Waves", "Waves", columns, waves),
            lambda: OperatorList("waves", "Waves", (), waves),
            lambda: OperatorList("waves", "Waves", columns, waves, acts=(other,)),
            lambda: OperatorColumn("How", "colour"),
            lambda: Service("sea", lists=(*SEA.lists, *SEA.lists)),
            lambda: Service("sea", lists=SEA.lists, acts=(other,)),
            lambda: Service("sea", lists=SEA.lists[0]),  # type: ignore[arg-type]
            lambda: Service("sea", acts=("calm",)),  # type: ignore[arg-type]
        ):
            self.assertRaises(ValueError, make)
