"""What a service declares of its clients, what of that is told, and what is read of anything."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.client import face
from bbs.commands.common import all_commands
from bbs.commands.service import check, is_harmless
from bbs.core.values import RESERVED_EVENTS
from bbs.protocols.commands import Command, Role
from bbs.protocols.forms import MOST_ITEMS, MOST_LINES, MOST_PLACES, MOST_TEXT, Line, Listing
from bbs.protocols.presentation import (
    ChatEvent,
    Choices,
    Legacy,
    Notice,
    Presentation,
    PresentationUnusable,
    Talk,
    from_json,
    is_reference,
    load,
    to_json,
)
from tests.paths import CHECKOUT

LONG, MANY = "x" * (MOST_TEXT + 1), ["x"] * (MOST_ITEMS + 1)

ROOMS = Choices("room", ask="rooms", lists={"rooms": "room"})
TALK = Talk("room", send="say", choices="room", history="said", ended_by=("leave",))
COMMANDS = {
    command.name: command
    for command in (
        Command("say <user> <room> <text>", Role.APP, rest=True),
        Command("shout <user> <text>", Role.APP, rest=True),
        Command("murmur <user> <room> [<text>]", Role.APP, rest=True),
        Command("pass <user> <room> <note>", Role.APP),
        Command("said <user> <room>", Role.APP),
        Command("shouted <user>", Role.APP),
        Command("rooms <user>", Role.APP),
        Command("leave <user> <room>", Role.APP),
        Command("time", Role.LOGIN),
    )
}

FOREIGN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
"""Anything that JSON can say, and some that it cannot."""


def _named(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """What has the members of a kind, with anything in them."""
    some = FOREIGN | st.sampled_from(["", "a", "b", "a b", "-a", ["a"], {"a": "b"}, True])
    return st.fixed_dictionaries({}, optional={each.name: some for each in fields(kind)})


HOSTILE = st.fixed_dictionaries(
    {},
    optional={
        **{each.name: FOREIGN for each in fields(Presentation)},
        "help": st.dictionaries(st.text(max_size=5), FOREIGN, max_size=4),
        "complete": st.dictionaries(st.sampled_from(["a b", "a", "a b c"]), FOREIGN | st.just("a")),
        "choices": st.lists(_named(Choices), max_size=4),
        "lists": st.lists(_named(Listing), max_size=4),
        "lines": st.lists(_named(Line), max_size=4),
        "chats": st.lists(_named(ChatEvent), max_size=4),
        "talks": st.lists(_named(Talk), max_size=4),
        "notices": st.lists(_named(Notice), max_size=4),
        "events": st.dictionaries(st.text(max_size=5), _named(Line), max_size=4),
    },
)
"""What has the members of a presentation, with much that is none of it."""


class Declaring(SynchronousTestCase):
    def refusal(self, kind: Any, **members: Any) -> str:
        line = str(self.assertRaises(ValueError, kind, **members))
        self.assertEqual(len(line.splitlines()), 1)
        return line

    def test_contradictions(self) -> None:
        kind: Any
        members: dict[str, Any]
        for kind, members, line in (
            (Choices, {"name": ""}, "Choices: name is empty"),
            (Listing, {"name": ""}, "Listing: name is empty"),
            (Talk, {"name": ""}, "Talk: name is empty"),
            (ChatEvent, {"event": ""}, "ChatEvent: event is empty"),
            (ChatEvent, {"event": "a", "sender": ""}, "ChatEvent: sender is empty"),
            (ChatEvent, {"event": "a", "text": ""}, "ChatEvent: text is empty"),
            (Notice, {"member": "a", "one": "", "many": "b"}, "Notice: one is empty"),
            (
                Choices,
                {"name": "a", "ask": "b", "lists": {"c": "d"}},
                "choices a: lists has no b, which ask names",
            ),
            (
                Talk,
                {"name": "a", "line": "{text} at {time}"},
                "talk a: its line may have {sender}, {to} and {text}, not {time}",
            ),
            (
                Talk,
                {"name": "a", "line": "{text:time}"},
                "talk a: its line may have {sender}, {to} and {text}, not {text:time}",
            ),
            (
                Presentation,
                {"choices": [Choices("a", within="b")]},
                "choices a: there are no choices b, which within names",
            ),
            (
                Presentation,
                {"talks": [Talk("a", send="b", choices="c")]},
                "talk a: there are no choices c",
            ),
            (Talk, {"name": "a b"}, "talk 'a b': its name is not a word that people can type"),
            (
                ChatEvent,
                {"event": "a", "to": "", "room": ""},
                "chat event a: to and room are both empty",
            ),
            (
                Presentation,
                {"events": {"moved": Line()}},
                "events: moved: that event is the framework's own",
            ),
            (
                Presentation,
                {"events": {"a": Line()}, "chats": [ChatEvent("a")]},
                "events: a: chats has it, too",
            ),
            (Presentation, {"choices": [Choices("a")] * 2}, "choices: there are two a"),
            (Presentation, {"lists": [Listing("a")] * 2}, "lists: there are two a"),
            (Presentation, {"chats": [ChatEvent("a")] * 2}, "chats: there are two a"),
            (Presentation, {"talks": [Talk("a", send="b")] * 2}, "talks: there are two a"),
            (
                Presentation,
                {"chats": [ChatEvent("a", talk="b")]},
                "chat event a: there is no talk b",
            ),
            (
                Presentation,
                {"complete": {"a": ()}},
                "complete: 'a' is not \"COMMAND PARAMETER\"",
            ),
            (
                Presentation,
                {"complete": {"a b": ("-c",)}},
                "complete: a b: there are no choices c",
            ),
        ):
            self.assertEqual(self.refusal(kind, **members), line)

    def test_aliases_that_nobody_can_type(self) -> None:
        for alias in ("", "a b", "/a", "?a"):
            line = self.refusal(Presentation, aliases={alias: "b"})
            self.assertEqual(line, f"aliases: {alias!r} is not a word that people can type")

    def test_events_of_the_frameworks(self) -> None:
        for event in RESERVED_EVENTS:
            line = self.refusal(ChatEvent, event=event)
            self.assertEqual(line, f"chat event {event}: that event is the framework's own")

    def test_wrong_types(self) -> None:
        kind: Any
        for kind, member, value, wanted in (
            (Line, "text", None, "str"),
            (Line, "when", {"a": 1}, "Mapping[str, str | bool]"),
            (Line, "time", b"a", "str"),
            (Listing, "backwards", 1, "bool"),
            (Choices, "parameters", "ab", "Sequence[str]"),
            (Choices, "lists", [("a", "b")], "Mapping[str, str]"),
            (Choices, "shared", None, "bool"),
            (Talk, "room", "yes", "bool"),
            (Talk, "ended_by", {"a": "b"}, "Sequence[str]"),
            (ChatEvent, "own", 0, "bool"),
            (ChatEvent, "id", None, "str"),
            (Notice, "most", True, "int"),
            (Notice, "most", -1, "int"),
            (Presentation, "help", {"a": 7}, "Mapping[str, str]"),
            (Presentation, "help", {7: "a"}, "Mapping[str, str]"),
            (Presentation, "groups", {"a": "b"}, "Mapping[str, Sequence[str]]"),
            (Presentation, "chats", ChatEvent("a"), "Sequence[ChatEvent]"),
            (Presentation, "talks", [ROOMS], "Sequence[Talk]"),
            (Presentation, "events", {"a": "b"}, "Mapping[str, Line]"),
            (Presentation, "legacy", (), "Legacy | None"),
            (Legacy, "first", ["a"], "Sequence[Command]"),
        ):
            needed = {"name": "a", "event": "a", "member": "a", "one": "a", "many": "a"}
            names = [each.name for each in fields(kind)]
            given = {name: text for name, text in needed.items() if name in names}
            line = self.refusal(kind, **{**given, member: value})
            self.assertTrue(line.startswith(f"{kind.__name__}: {member} is "), line)
            self.assertTrue(line.endswith(f", not {wanted}"), line)

    def test_what_is_too_much(self) -> None:
        for kind, member, value in (
            (Line, "text", LONG),
            (Presentation, "help", {"a": LONG}),
            (Presentation, "help", {LONG: "a"}),
            (Presentation, "groups", {"a": MANY}),
            (Presentation, "lines", [Line()] * (MOST_ITEMS + 1)),
        ):
            line = self.refusal(kind, **{member: value})
            self.assertEqual(
                line,
                f"{kind.__name__}: {member} has over 1000 items, or a text of over 1000 characters",
            )
        Presentation(help={"a": LONG[1:]}, groups={"a": MANY[1:]})

    def test_lines_that_would_take_long(self) -> None:
        """Each entry of a list is compared with each line, and what it says may be long itself."""
        many = "".join(f"{{a{number}}}" for number in range(MOST_PLACES + 1))
        kind: Any
        members: dict[str, Any]
        for kind, members, what in (
            (Line, {"text": "{a}, {a:time}"}, "Line: text"),
            (Line, {"text": many}, "Line: text"),
            (Talk, {"name": "a", "line": "{text}{text}"}, "Talk: line"),
        ):
            self.assertEqual(
                self.refusal(kind, **members),
                f"{what} has over {MOST_PLACES} members, or one twice",
            )
        self.assertEqual(
            self.refusal(Presentation, lines=[Line()] * (MOST_LINES + 1)),
            f"lines: there are over {MOST_LINES}",
        )

    def test_a_line_that_is_not_said_is_a_usual_one(self) -> None:
        self.assertEqual(Talk("a").line, "{sender} to {to}: {text}")
        self.assertEqual(Talk("a", room=True).line, "#{to} {sender}: {text}")


class Checking(SynchronousTestCase):
    """Whether a presentation is about a service's commands."""

    def refusal(self, harmless: Collection[str] = (*COMMANDS,), **members: Any) -> str:
        told = Presentation(**members)
        line = str(self.assertRaises(ValueError, check, told, COMMANDS, harmless))
        self.assertEqual(len(line.splitlines()), 1)
        return line

    def test_services_of_this_project(self) -> None:
        commands = {command.name: command for command in all_commands(board)}
        check(face, commands, {name for name in commands if is_harmless(commands[name])})
        check(Presentation(), {}, ())
        told = Presentation(talks=[TALK], choices=[ROOMS], help={"time": "Tells it."})
        check(told, COMMANDS, COMMANDS)

    def test_unknown_commands(self) -> None:
        members: dict[str, Any]
        for members, where in (
            ({"help": {"no": "No."}}, "help"),
            ({"groups": {"A": ["say", "no"]}}, "groups: A"),
            ({"aliases": {"n": "no"}}, "aliases: n"),
            ({"complete": {"no room": ()}}, "complete"),
            ({"choices": [Choices("a", lists={"no": "a"})]}, "choices a"),
            ({"choices": [Choices("a", added_by=["no"])]}, "choices a"),
            ({"choices": [Choices("a", removed_by=["no"])]}, "choices a"),
            ({"choices": [Choices("a", lookalike_lists={"no": "a"})]}, "choices a"),
            ({"talks": [Talk("a", send="no")]}, "talk a"),
            ({"talks": [Talk("a", send="shout", history="no")]}, "talk a"),
            ({"talks": [Talk("a", send="shout", ended_by=["no"])]}, "talk a"),
            ({"talks": [Talk("a", send="shout", presence="no")]}, "talk a"),
            ({"done": {"no": "Done."}}, "done"),
            ({"lists": [Listing("a", empties={"no": "Nothing"})]}, "lists: a"),
            ({"failures": {"no busy": "Wait"}}, "failures"),
        ):
            self.assertEqual(self.refusal(**members), f"{where}: there is no command no")

    def test_another_name_of_a_command_with_a_password(self) -> None:
        """What is typed behind these is hidden, and not kept, by their names."""
        login = Command("login <id> <password>", Role.LOGIN)
        presentation = Presentation(aliases={"in": "login", "t": "time"})
        commands = {**COMMANDS, "login": login}
        problem = self.assertRaises(ValueError, check, presentation, commands, commands)
        self.assertEqual(str(problem), "aliases: in: clients hide passwords by the name login")
        self.assertEqual(presentation.only(commands, ()).aliases, {"t": "time"})

    def test_used_otherwise(self) -> None:
        members: dict[str, Any]
        for members, line in (
            ({"done": {"say -game": "Said."}}, "done: say <user> <room> <text> has no <game>"),
            (
                {"complete": {"say game": ()}},
                "complete: say <user> <room> <text> has no <game>",
            ),
            (
                {"talks": [Talk("a", send="say")]},
                "talk a: say <user> <room> <text> is not say <user> <text>, with rest=True",
            ),
            (
                {"choices": [ROOMS], "talks": [Talk("a", send="shout", choices="room")]},
                "talk a: shout <user> <text> is not shout <user> <partner> <text>, with rest=True",
            ),
            (
                {"choices": [ROOMS], "talks": [Talk("a", send="murmur", choices="room")]},
                "talk a: murmur <user> <room> [<text>] is not murmur <user> <partner> <text>,"
                " with rest=True",
            ),
            (
                {"choices": [ROOMS], "talks": [Talk("a", send="pass", choices="room")]},
                "talk a: pass <user> <room> <note> is not pass <user> <partner> <text>,"
                " with rest=True",
            ),
            (
                {"talks": [Talk("a", send="time")]},
                "talk a: time is not time <user> <text>, with rest=True",
            ),
            (
                {"talks": [Talk("a", send="shout", history="said")]},
                "talk a: said <user> <room> is not said <user>",
            ),
            (
                {
                    "choices": [ROOMS],
                    "talks": [Talk("a", send="say", choices="room", history="shouted")],
                },
                "talk a: shouted <user> is not shouted <user> <partner>",
            ),
            (
                {"talks": [Talk("a", send="shout", presence="said")]},
                "talk a: said <user> <room> is not said <user>",
            ),
            (
                {"choices": [Choices("a", ask="said", lists={"said": "a"})]},
                "choices a: said <user> <room> is not said <user>",
            ),
            (
                {"choices": [Choices("a", ask="time", lists={"time": "a"})]},
                "choices a: time is not time <user>",
            ),
            (
                {"choices": [Choices("a", parameters=["room", "ruum"])]},
                "choices a: no command has a parameter <ruum>",
            ),
            (
                {"choices": [Choices("a", added_by=["rooms"])]},
                "choices a: rooms <user> adds no name",
            ),
            (
                {"groups": {"A": ["say", "rooms"], "B": ["rooms"]}},
                "groups: rooms is in A and in B",
            ),
        ):
            self.assertEqual(self.refusal(**members), line)

    def test_what_clients_send_by_themselves_changes_nothing(self) -> None:
        for where, members in (
            ("choices room: clients send rooms", {"choices": [ROOMS]}),
            (
                "talk all: clients send shouted",
                {"talks": [Talk("all", "shout", history="shouted")]},
            ),
        ):
            self.assertEqual(
                self.refusal((), **members),  # type: ignore[arg-type]
                f"{where} by themselves, so it must change nothing: mark its rule with @read_only,"
                " or declare it with harmless=True",
            )


class Only(SynchronousTestCase):
    """What is left of a presentation where a service lacks some commands."""

    whole = Presentation(
        help={"say": "Says it.", "rooms": "Lists them."},
        groups={"A": ["say", "rooms"]},
        aliases={"s": "say", "r": "rooms"},
        choices=[
            Choices(
                "room",
                ask="rooms",
                lists={"rooms": "room", "halls": "room"},
                added_by=["enter"],
                removed_by=["leave"],
            )
        ],
        complete={"say room": ["room"], "leave room": ["room"]},
        talks=[TALK, Talk("all", send="shout", history="shouted", presence="rooms")],
        chats=[ChatEvent("said", talk="room"), ChatEvent("shouted", talk="all")],
        done={"say": "Said.", "rooms": "Listed."},
        failures={"say busy": "Wait", "busy": "Wait"},
        notices=[Notice("waiting", "{} waits", "{} wait")],
        notices_by="rooms",
        after="after",
    )

    def left(self, *names: str) -> Presentation:
        return self.whole.only({name: COMMANDS[name] for name in names}, COMMANDS)

    def test_what_is_there_stays(self) -> None:
        left = self.left(*COMMANDS)
        self.assertEqual(left.help, self.whole.help)
        self.assertEqual(left.talks, self.whole.talks)
        self.assertEqual(left.choices[0].ask, "rooms")
        self.assertEqual(left.choices[0].lists, {"rooms": "room"})
        self.assertEqual(left.choices[0].added_by, ())
        self.assertEqual(left.choices[0].removed_by, ("leave",))

    def test_without_some(self) -> None:
        left = self.left("shout", "rooms")
        self.assertEqual(left.help, {"rooms": "Lists them."})
        self.assertEqual(left.groups, {"A": ("rooms",)})
        self.assertEqual(left.aliases, {"r": "rooms"})
        self.assertEqual(left.done, {"rooms": "Listed."})
        self.assertEqual(left.failures, self.whole.failures)
        self.assertEqual([each.presence for each in left.talks], ["", "rooms"])
        self.assertEqual(left.complete, {})
        self.assertEqual(left.open_talks, [Talk("all", send="shout", presence="rooms")])
        self.assertEqual([each.talk for each in left.chats], ["room", "all"])
        self.assertEqual((left.notices, left.after), (self.whole.notices, "after"))
        self.assertEqual([left.notices_by, self.left("shout").notices_by], ["rooms", ""])
        self.assertEqual(self.left("say", "said").talks[0].ended_by, ())

    def test_of_what_may_change_something_nothing_is_asked(self) -> None:
        left = self.whole.only(COMMANDS, {"rooms", "say"})
        self.assertEqual((left.choices[0].ask, left.notices_by), ("rooms", "rooms"))
        self.assertEqual([each.history for each in left.talks], ["", ""])
        left = self.whole.only(COMMANDS, ())
        self.assertEqual((left.choices[0].ask, left.notices_by), ("", ""))

    def test_with_other_ones_of_these_names(self) -> None:
        odd = {
            "say": Command("say <user> <text>", Role.APP, rest=True),
            "shout": Command("shout <user> <text>", Role.APP, rest=True),
            "shouted": Command("shouted", Role.LOGIN),
            "rooms": Command("rooms <user> <kind>", Role.APP),
        }
        left = self.whole.only(odd, odd)
        self.assertEqual(left.open_talks, [Talk("all", send="shout")])
        self.assertEqual([each.name for each in left.talks], ["room", "all"])
        self.assertEqual(left.choices[0].ask, "")


class OnTheWire(SynchronousTestCase):
    def read(self, told: object) -> Presentation:
        found = from_json(told)
        assert found is not None
        return found

    def test_services_of_this_project_come_back(self) -> None:
        for each in (face, self.lobby_face(), Presentation(), Only.whole):
            back = self.read(json.loads(json.dumps(to_json(each))))
            self.assertEqual(back, replace(each, legacy=None))

    def lobby_face(self) -> Presentation:
        """The example's, which need not be installed."""
        example = str(CHECKOUT / "examples" / "lobby" / "src" / "lobby" / "client.py")
        found = runpy.run_path(example)["face"]
        assert isinstance(found, Presentation)
        return found

    def test_what_is_as_usual_is_left_out(self) -> None:
        self.assertEqual(to_json(Presentation()), {})
        self.assertEqual(
            to_json(Presentation(chats=[ChatEvent("a", id="")], legacy=Legacy())),
            {"chats": [{"event": "a", "id": ""}]},
        )

    def test_who_tells_none(self) -> None:
        told: object
        for told in (None, [], "face", 7, True):
            self.assertIsNone(from_json(told))
        self.assertEqual(from_json({}), self.read({"of": "later"}))

    def test_what_nobody_can_use(self) -> None:
        found = self.read(
            {
                "aliases": {"a b": "c", "d": "c"},
                "events": {"moved": {}, "a": {}, "b": {}},
                "chats": [{"event": "a"}, {"event": "c", "to": "", "room": ""}],
                "talks": [{"name": "a b"}, {"name": "c"}],
            }
        )
        self.assertEqual((found.aliases, [*found.events]), ({"d": "c"}, ["b"]))
        self.assertEqual([each.event for each in found.chats], ["a"])
        self.assertEqual([each.name for each in found.talks], ["c"])

    @given(FOREIGN | HOSTILE)
    def test_anything(self, told: object) -> None:
        found = from_json(told)
        self.assertEqual(found is None, not isinstance(told, dict))
        if found is not None:
            self.assertIsNone(found.legacy)
            again = self.read(json.loads(json.dumps(to_json(found))))
            self.assertEqual(to_json(again), to_json(found))
            found.only({}, ())
            for line in (*found.lines, *found.events.values()):
                line.filled({"a": 1, "b": "c"}, str)

    def test_what_is_malformed_is_left_out_and_the_rest_stays(self) -> None:
        good: dict[str, Any]
        several: list[object]
        for member, bad, good in (
            ("choices", {"name": 7}, {"name": "a", "lists": {"b": "c"}}),
            ("lists", {}, {"name": "a", "empty": "None"}),
            ("lines", {"text": []}, {"text": "{a}", "when": {"b": True}}),
            ("chats", {"event": "a", "own": 1}, {"event": "a"}),
            ("talks", {"send": "a"}, {"name": "a", "send": "b"}),
            ("notices", {"member": "a"}, {"member": "a", "one": "b", "many": "c"}),
        ):
            several = [None, bad, "a", [], good, LONG, {**good, next(iter(good)): LONG}]
            found = self.read({member: several, "aliases": {"a": "b"}})
            self.assertEqual(found.aliases, {"a": "b"})
            (kept,) = getattr(found, member)
            self.assertEqual(kept, type(kept)(**good))
        for member, bad_entry, entry in (
            ("help", 7, "A."),
            ("groups", "a", ["b"]),
            ("aliases", None, "b"),
            ("events", [], {"text": "{a}"}),
        ):
            mixed = {"c": bad_entry, "d": entry, LONG: entry}
            self.assertEqual(to_json(self.read({member: mixed})), {member: {"d": entry}})
        self.assertEqual(self.read({"after": 7}).after, "")
        self.assertEqual(self.read({"after": "a.b"}).after, "a.b")

    def test_what_hangs_on_something_malformed(self) -> None:
        """It is left out, and nothing else is."""
        found = self.read(
            {
                "help": {"a": "A."},
                "groups": {"A": ["a"]},
                "choices": [{"name": "friend", "within": "people"}, {"name": "people", "key": 7}],
                "complete": {"a b": ["people", "-friend"], "c": []},
                "talks": [
                    {"name": "one", "send": "a", "choices": "people"},
                    {"name": "two", "send": "a", "choices": "friend"},
                ],
                "chats": [{"event": "a", "talk": "one"}, {"event": "b", "talk": "two"}],
                "events": {"c": {"time": "t"}},
            }
        )
        self.assertEqual(
            to_json(found),
            {
                "help": {"a": "A."},
                "groups": {"A": ["a"]},
                "choices": [{"name": "friend"}],
                "complete": {"a b": ["-friend"]},
                "talks": [
                    {
                        "name": "two",
                        "send": "a",
                        "choices": "friend",
                        "line": "{sender} to {to}: {text}",
                    }
                ],
                "chats": [{"event": "a"}, {"event": "b", "talk": "two"}],
                "events": {"c": {"time": "t"}},
            },
        )

    def test_of_two_with_one_name_the_first_is_taken(self) -> None:
        found = self.read(
            {
                "choices": [{"name": "a"}, {"name": "a", "key": "b"}],
                "lists": [{"name": "a", "empty": "None"}, {"name": "a"}],
                "chats": [{"event": "a"}, {"event": "a", "own": True}],
                "talks": [{"name": "a", "send": "b"}, {"name": "a", "send": "c"}],
            }
        )
        self.assertEqual(found.choices, (Choices("a"),))
        self.assertEqual(found.lists, (Listing("a", "None"),))
        self.assertEqual(found.chats, (ChatEvent("a"),))
        self.assertEqual(found.talks, (Talk("a", send="b"),))

    def test_events_of_the_frameworks_are_no_chat(self) -> None:
        told = {"chats": [{"event": event} for event in (*RESERVED_EVENTS, "said")]}
        self.assertEqual([chat.event for chat in self.read(told).chats], ["said"])

    def test_choices_that_are_named_often_count_once(self) -> None:
        """Their names would be looked through as often, for each key that is pressed."""
        told = {"choices": [{"name": "a"}], "complete": {"b c": ["a", "-a"] * 500}}
        self.assertEqual(self.read(told).complete, {"b c": ("a", "-a")})

    def test_bounds(self) -> None:
        many = 2 * MOST_ITEMS
        found = self.read(
            {
                "lines": [{"text": str(number)} for number in range(many)],
                "help": {str(number): "A." for number in range(many)},
                "events": {str(number): {"text": "a"} for number in range(many)},
                "lists": [{"name": LONG}, {"name": "a", "empty": LONG}, {"name": LONG[1:]}],
                "groups": {"a": MANY, "b": MANY[1:]},
            }
        )
        for kept, most in (
            (found.lines, MOST_LINES),
            (found.help, MOST_ITEMS),
            (found.events, MOST_ITEMS),
        ):
            self.assertEqual(len(kept), most)
        self.assertEqual(found.lines[-1].text, str(MOST_LINES - 1))
        self.assertEqual([len(each.name) for each in found.lists], [MOST_TEXT])
        self.assertEqual([*found.groups], ["b"])

    def test_deep_and_huge(self) -> None:
        deep: object = "a"
        for _ in range(100_000):
            deep = [deep]
        huge = "x" * 10_000_000
        for value in (deep, huge, {"a": deep}, [deep], {"a": huge}, [{"name": deep, "text": deep}]):
            for name in (each.name for each in fields(Presentation)):
                self.assertEqual(to_json(self.read({name: value})), {})


class Lines(SynchronousTestCase):
    """How a line is filled."""

    def filled(
        self, text: str, when: dict[str, Any] | None = None, **members: object
    ) -> str | None:
        return Line(text, when or {}).filled(members, lambda seconds: f"<{seconds}>")

    def test_texts_and_numbers(self) -> None:
        self.assertEqual(self.filled("{a}: {b}", a="x", b=7), "x: 7")
        self.assertEqual(self.filled("{a} {b}", a=0, b=1.5), "0 1.5")
        self.assertEqual(self.filled(""), "")
        self.assertEqual(self.filled("{a}", a=""), "")

    def test_what_fits_not(self) -> None:
        value: object
        for value in (None, True, False, [], {}, ["x"]):
            self.assertIsNone(self.filled("{a}", a=value))
        self.assertIsNone(self.filled("{a}", b="x"))

    def test_members_of_members(self) -> None:
        self.assertEqual(self.filled("{a.b.c}", a={"b": {"c": 1}}), "1")
        for value in ("x", {"b": "x"}, {"b": ["x"]}, {}):
            self.assertIsNone(self.filled("{a.b.c}", a=value))

    def test_members_that_must_be_there(self) -> None:
        for path, fits, fits_not in (
            ("a", {"a": None}, {"b": 1}),
            ("a.b", {"a": {"b": None}}, {"a": "b"}),
        ):
            line = Line("x", has=[path])
            self.assertEqual(line.filled(fits, str), "x")
            self.assertIsNone(line.filled(fits_not, str))

    def test_times(self) -> None:
        self.assertEqual(self.filled("since {a:time}", a=5), "since <5>")
        for value in ("5", True, None):
            self.assertIsNone(self.filled("{a:time}", a=value))
        self.assertIsNone(Line("{a:time}").filled({"a": 5}, lambda seconds: ""))

    def test_values_must_be_these(self) -> None:
        for wanted, value, fits in (
            (True, True, True),
            (True, 1, False),
            (True, "True", False),
            (False, 0, False),
            (False, None, False),
            ("x", "x", True),
            ("x", "y", False),
            ("1", 1, False),
        ):
            self.assertEqual(self.filled("a", {"b": wanted}, b=value), "a" if fits else None)
        self.assertEqual(self.filled("a", {"b.c": "d"}, b={"c": "d"}), "a")
        self.assertIsNone(self.filled("a", {"b": True, "c": "d"}, b=True))

    def test_braces_that_are_no_place(self) -> None:
        for text in ("{", "{}", "{ a }", "{0}", "{a b}", "}{", "{{", "{-}", "{a:date}"):
            self.assertEqual(self.filled(text, a="x"), text)
        self.assertEqual(self.filled("{{a}}", a="x"), "{x}")

    def test_nothing_of_python_is_reached(self) -> None:
        for text in ("{a!r}", "{a:>99}", "{a[0]}", "{a.__class__!s}"):
            self.assertEqual(self.filled(text, a="x"), text)
        for text in ("{a.__class__}", "{a.__init__.__globals__}", "{a.upper}", "{__class__}"):
            self.assertIsNone(self.filled(text, a="x"))

    def test_what_is_filled_in_is_no_place(self) -> None:
        self.assertEqual(self.filled("{a} {b}", a="{b}", b="\\1 %s"), "{b} \\1 %s")


class Loading(SynchronousTestCase):
    def setUp(self) -> None:
        self.site = Path(self.mktemp()).absolute()
        self.site.mkdir()
        self.patch(sys, "path", [str(self.site), *sys.path])

    def module(self, name: str, text: str) -> None:
        (self.site / f"{name}.py").write_text(text)
        self.addCleanup(sys.modules.pop, name, None)

    def refusal(self, reference: str) -> str:
        line = str(self.assertRaises(PresentationUnusable, load, reference))
        self.assertEqual(len(line.splitlines()), 1)
        self.assertTrue(line.startswith(f"client {reference}: "), line)
        return line.removeprefix(f"client {reference}: ")

    def test_what_is_there(self) -> None:
        self.assertIs(load("bbs.board.client:face"), face)

    def test_what_cannot_be_had(self) -> None:
        self.module("face_broken", "raise ZeroDivisionError('one\\n  two')")
        self.module("face_wrong", "face = {}")
        self.module(
            "face_odd", "from bbs.framework import Listing\nlisting = Listing('a', empty=7)"
        )
        for reference, reason in (
            ("face_nowhere:face", "ModuleNotFoundError: No module named 'face_nowhere'"),
            ("face_wrong:other", "AttributeError: module 'face_wrong' has no attribute 'other'"),
            ("face_wrong:face", "it is not a Presentation"),
            ("face_broken:face", "ZeroDivisionError: one two"),
            ("face_odd:listing", "ValueError: Listing: empty is 7, not str"),
        ):
            self.assertEqual(self.refusal(reference), reason)

    def test_references(self) -> None:
        for text in ("a:b", "a.b_1:c", "_a.B:_c"):
            self.assertTrue(is_reference(text), text)
        for wrong in ("", "a", "a:", ":b", "a.b", "a:b.c", "a:b:c", "a b:c", "1:b", "a..b:c", 7):
            self.assertFalse(is_reference(wrong), wrong)
        self.assertFalse(is_reference("a:b\n"))
        self.assertFalse(is_reference(None))


class Words(SynchronousTestCase):
    def test_a_next_step_in_a_sentence(self) -> None:
        words = "You are late. Try: "
        for step, left in (
            *(
                ("posts", True),
                ("posts.", True),
                ("posts NAME, or who", True),
                ("posts, or who", True),
            ),
            *(("rooms", False), ("rooms.", False)),
        ):
            whole = Presentation(failures={"late": words + step})
            read = whole.only({"posts": Command("posts <user>", Role.APP)}, ()).failures["late"]
            self.assertEqual(read, words + step if left else "You are late")

    def test_they_are_sent(self) -> None:
        whole = Presentation(
            done={"say": "Said {}."},
            failures={"busy": "Wait"},
            next_steps=["say WORDS"],
            lines=[Line("{a}  on", shown="{a} is on")],
        )
        self.assertEqual(from_json(json.loads(json.dumps(to_json(whole)))), whole)

    def test_what_is_malformed_is_dropped(self) -> None:
        read = from_json({"next_steps": ["a", 1, LONG], "done": {"a": 1, "b": "B"}, "failures": 1})
        assert read is not None
        self.assertEqual((read.next_steps, read.done, read.failures), (("a",), {"b": "B"}, {}))
        read = from_json({"next_steps": "abc"})
        assert read is not None
        self.assertEqual(read.next_steps, ())

    def test_a_line_for_people(self) -> None:
        line = Line("{a}  on", when={"on": True}, shown="{a} is on")
        members: dict[str, object] = {"a": "x", "on": True}
        self.assertEqual(line.filled(members, str), "x  on")
        self.assertEqual(line.filled(members, str, shown=True), "x is on")
        self.assertEqual(Line("{a}").filled(members, str, shown=True), "x")
        self.assertIsNone(line.filled({"on": True}, str, shown=True))
