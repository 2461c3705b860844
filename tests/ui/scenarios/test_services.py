"""A client at a service that it was not written for goes by what the service tells of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from prompt_toolkit.formatted_text import fragment_list_to_text
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import BBSClient
from bbs.client import ServiceEvent
from bbs.client.catalog import CommandCatalog
from bbs.framework import Choices, Presentation
from bbs.ui import completion
from bbs.ui.chat import Partner
from bbs.ui.completion import NameCache
from bbs.ui.output import JSONFormat, Timestamps
from bbs.ui.script import Script
from bbs.ui.terminal.theme import Theme
from tests.client.case import APP_1, LOGIN
from tests.ui.fair import Fair, FairConversation, fair
from tests.ui.gateway.case import GatewayCase
from tests.ui.test_conversation import squeezed
from tests.ui.test_script import ScriptTestCase

PAL, STALL, SQUARE, DESK = fair.talks
TALKS = "* Talking to {}. Type end to stop; start a command with /"


def told(number: int, by: str, words: str, reader: str = "ann") -> dict[str, object]:
    return {"event": "told", "number": number, "by": by, "for": reader, "words": words}


def haggled(by: str, words: str, stall: str = "toys") -> dict[str, object]:
    return {"event": "haggled", "by": by, "stall": stall, "words": words}


def shouted(by: str, words: str) -> dict[str, object]:
    return {"event": "shouted", "by": by, "where": "the square", "words": words}


def answered(by: str, words: str, reader: str = "ann") -> dict[str, object]:
    return {"event": "answered", "by": by, "for": reader, "words": words}


class Login(FairConversation):
    def test_the_first_thing_that_a_client_does(self) -> None:
        """Nothing is known of the service by then."""
        self.at_login = {"waiting": {"pals": 1, "after": 7}, "rides": 2000}
        self.assertEqual(
            self.type("login ann pw"), ["Logged in as ann.", "* 1 pal waits; 2,000 rides"]
        )
        (listen,) = [line for _, line in self.network.requests if line.startswith("listen")]
        self.assertEqual(listen, "listen token1 7")

    def test_what_is_counted_no_further(self) -> None:
        self.at_login = {"waiting": {"pals": 10}}
        self.assertEqual(self.type("login ann pw")[1:], ["* 10 or more pals wait"])

    def test_what_is_no_number(self) -> None:
        self.at_login = {"waiting": {"pals": "many", "after": -1}, "rides": 0}
        self.assertEqual(self.type("login ann pw"), ["Logged in as ann."])

    def test_given_up_while_the_service_has_said_nothing(self) -> None:
        """Messages come when it has: by then it is known which events they are."""
        self.at_login = {"waiting": {"after": 7}}
        let_go = self.hold("commands")
        running = self.begin("login ann pw")
        running.cancel()
        self.network.flush()
        self.assertEqual(self.asked("listen"), [])
        let_go()
        self.network.flush()
        (listen,) = [line for _, line in self.network.requests if line.startswith("listen")]
        self.assertEqual(listen, "listen token1 7")
        self.tell("ann", told(8, "bob", "hi"))
        self.assertEqual(self.paper.lines[-1], "ann: bob → ann  hi")

    def test_a_service_that_says_nothing_is_waited_for_once(self) -> None:
        self.hold("commands")
        running = self.begin("login ann pw")
        self.network.advance(6.0)
        self.successResultOf(running)
        self.network.advance(60.0)
        self.type("login bob pw")
        self.assertEqual(self.conversation.users, ("ann", "bob"))
        self.assertEqual(len(self.listening("bob")), 1)

    def test_what_is_asked_for_completion(self) -> None:
        self.type("login ann pw")
        asked = [("pals", "ann"), ("places", "ann"), ("stalls", "ann")]
        self.assertEqual(sorted(self.noted), asked)

    def test_what_two_choices_are_asked_by_is_asked_once(self) -> None:
        choices = [Choices(name, ask="all", lists={"all": name}) for name in ("pal", "stall")]
        known = NameCache(CommandCatalog(Presentation(choices=choices)))
        self.assertEqual([*known.questions()], ["all"])


class Messages(FairConversation):
    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("ann")

    def test_with_ids_each_is_shown_once(self) -> None:
        self.tell("ann", told(5, "bob", "hi"))
        self.tell("ann", told(5, "bob", "hi"))
        self.tell("ann", told(4, "bob", "earlier"))
        self.tell("ann", told(6, "bob", "ho"))
        self.assertEqual(self.paper.lines, ["ann: bob → ann  hi", "ann: bob → ann  ho"])

    def test_without_ids_each_is_shown(self) -> None:
        self.announce("ann", haggled("bob", "two?"), haggled("bob", "two?"))
        self.assertEqual(self.paper.lines, ["ann: #toys bob → ann  two?"] * 2)

    def listened_from(self) -> str:
        """What the last `listen` said of where to go on."""
        self.network.cut(APP_1)
        self.network.advance(3.0)
        lines = [line for _, line in self.network.requests if line.startswith("listen")]
        return " ".join(lines[-1].split()[2:])

    def test_goes_on_behind_ids(self) -> None:
        self.tell("ann", told(5, "bob", "hi"))
        self.assertEqual(self.listened_from(), "5")

    def test_not_behind_those_of_what_one_said_oneself(self) -> None:
        self.tell("ann", told(5, "bob", "hi"))
        self.tell("ann", {**told(9, "ann", "ho", "bob"), "event": "mine"})
        self.assertEqual(self.paper.lines[-1], "ann: ann → bob  ho")
        self.assertEqual(self.listened_from(), "5")

    def test_not_where_there_are_none(self) -> None:
        self.announce("ann", haggled("bob", "two?"), {**shouted("bob", "hey"), "number": 8})
        self.assertEqual(self.listened_from(), "")

    def test_what_is_of_another_shape_is_an_event(self) -> None:
        self.tell("ann", {"event": "told", "number": "x", "text": "of another shape"})
        self.tell("ann", {"event": "haggled", "by": 7, "words": "a", "stall": "b", "text": ""})
        self.assertEqual(self.paper.lines, ["ann:  * of another shape"])

    def test_escapes(self) -> None:
        self.announce("ann", haggled("b\x1bob", "\x9b2J", "to\nys"))
        self.assertEqual(self.paper.lines, ["ann: #to\\x0ays b\\x1bob → ann  2J"])

    def test_for_whom(self) -> None:
        self.tell("ann", told(1, "bob", "hi"))
        self.announce("ann", haggled("bob", "two?"), haggled("bob", "ann?"), answered("cat", "no"))
        self.assertEqual(self.paper.for_you, [True, False, True, True])


class Talks(FairConversation):
    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("ann")

    def talks(self) -> tuple[str, str] | None:
        """What the talk is, and its partner's name."""
        partner = self.conversation.talk
        return (partner.talk.name, partner.name) if partner else None

    def test_with_a_partner(self) -> None:
        self.assertEqual(self.type("talk bob", "two  words "), [TALKS.format("bob")])
        self.assertEqual(self.talks(), ("pal", "bob"))
        self.assertEqual(self.said("tales"), [["ann", "bob"]])
        self.assertEqual(self.said("tell"), [["ann", "bob", "two  words "]])

    def test_in_a_room_with_a_name(self) -> None:
        self.type("talk toys", "two?")
        self.assertEqual(self.talks(), ("stall", "toys"))
        self.assertEqual(self.said("haggle"), [["ann", "toys", "two?"]])

    def test_without_a_partner(self) -> None:
        for line in ("talk", "talk square"):
            self.assertEqual(self.type(line, "hey  all", "end")[0], TALKS.format("square"))
        self.assertEqual(self.said("shout"), [["ann", "hey  all"]] * 2)
        self.assertEqual(self.said("shouts"), [["ann"]] * 2)
        self.type("talk desk")
        self.assertEqual(self.talks(), ("desk", "desk"))
        self.type("where?")
        self.assertEqual(self.said("ask-desk"), [["ann", "where?"]])

    def test_a_partner_where_there_is_none(self) -> None:
        usage = "! Type: talk [PAL|STALL]"
        self.assertEqual(self.type("talk square bob"), [usage])
        self.assertEqual(self.type("talk desk bob"), [usage])
        self.assertEqual(self.type("talk hill bob"), [usage])
        self.assertIsNone(self.conversation.talk)

    def test_neither_of_them(self) -> None:
        self.assertEqual(self.type("talk dan"), ["! You have no pal or stall called dan"])
        self.assertEqual(self.type("talk stall bob"), ["! You have no stall called bob"])

    def test_both(self) -> None:
        self.replies["pals"] = {"pal": ["toys"]}
        both = "! toys is a pal and a stall. Try: talk pal toys, or talk stall toys"
        self.assertEqual(self.type("talk toys"), [both])
        self.type("talk stall toys")
        self.assertEqual(self.talks(), ("stall", "toys"))

    def test_a_list_that_is_none(self) -> None:
        self.replies["stalls"] = {"stall": [{"called": "toys"}]}
        self.assertEqual(self.type("talk stall anything"), [TALKS.format("anything")])

    def test_from_before(self) -> None:
        self.replies["tales"] = {"tale": [told(1, "bob", "hi"), told(2, "ann", "ho", "bob")]}
        lines = ["ann before: bob  hi", "ann before: ann  ho"]
        self.assertEqual(self.type("talk bob")[1:], lines)
        self.assertEqual(self.type("end", "tales bob"), lines)
        self.replies["shouts"] = {"tale": [shouted("bob", "hey")]}
        self.assertEqual(self.type("talk")[1:], ["ann before: #the square bob  hey"])

    def test_what_comes_meanwhile_is_shown_once(self) -> None:
        let_go = self.hold("shouts")
        self.begin("talk")
        before, now = shouted("bob", "before"), shouted("bob", "meanwhile")
        self.announce("ann", now)
        self.replies["shouts"] = {"tale": [before, now]}
        let_go()
        lines = ["ann: #the square bob → ann  meanwhile", TALKS.format("square")]
        self.assertEqual(self.paper.lines, [*lines, "ann before: #the square bob  before"])

    def test_ended_by_a_command(self) -> None:
        self.type("talk", "/go-home")
        self.assertIsNone(self.conversation.talk)
        self.type("talk bob", "/go-home")
        self.assertEqual(self.talks(), ("pal", "bob"))

    def test_ended_as_the_partner_is_gone(self) -> None:
        self.type("talk bob", "/drop cat")
        self.assertEqual(self.talks(), ("pal", "bob"))
        self.type("/drop bob")
        self.assertIsNone(self.conversation.talk)
        self.type("talk toys", "/shut tea")
        self.assertEqual(self.talks(), ("stall", "toys"))
        self.type("/shut")
        self.assertIsNone(self.conversation.talk)

    def test_not_ended_as_another_is_gone_that_the_rest_of_the_line_names(self) -> None:
        self.type("talk toys", "/burn tea")
        self.assertEqual(self.talks(), ("stall", "toys"))
        self.type("/burn toys")
        self.assertIsNone(self.conversation.talk)

    def test_ended_by_an_event(self) -> None:
        self.type("talk toys")
        self.announce("ann", {"event": "closed", "stall": "tea"}, {"event": "closed"})
        self.assertEqual(self.talks(), ("stall", "toys"))
        self.announce("ann", {"event": "dropped", "by": "toys"})
        self.assertEqual(self.talks(), ("stall", "toys"))
        self.announce("ann", {"event": "closed", "stall": "toys"})
        self.assertIsNone(self.conversation.talk)

    def test_what_is_typed_for_a_talk_that_has_ended_is_no_command(self) -> None:
        ended = "* The talk with toys has ended."
        not_sent = "! Not sent: open tea (the talk with toys has ended)"
        for lines, shown in (
            ((("", False), ("open tea", False)), [not_sent]),
            ((("/open tea", False),), ["Done."]),
            ((("open tea", True), ("open tea", True), ("open tea", False)), [not_sent] * 3),
        ):
            self.type("talk toys")
            self.paper.lines.clear()
            self.announce("ann", {"event": "closed", "stall": "toys"})
            self.assertEqual(self.paper.lines[:1], [ended])
            self.paper.lines.clear()
            for line, as_text in lines:
                self.successResultOf(self.begin(line, as_text))
            self.assertEqual(self.paper.lines, shown)
            self.assertEqual(self.type("open tea"), ["Done."])

    def test_not_by_another_users_event(self) -> None:
        self.log_in_here("bob")
        self.type("talk toys")
        self.announce("ann", {"event": "closed", "stall": "toys"})
        self.assertEqual(self.talks(), ("stall", "toys"))

    def test_words_that_say_what_there_is(self) -> None:
        self.assertIn("* talk [<pal or stall>]  Begins a conversation.", self.said_by_help())
        self.assertEqual(
            completion.hint(self.conversation, "talk "),
            "talk [<pal or stall>]  Begins a conversation.",
        )

    def said_by_help(self) -> list[str]:
        return [*map(squeezed, self.type("help"))]


class Changed(FairConversation):
    """The service has another presentation than when a talk began."""

    def test_the_talk_goes_on(self) -> None:
        self.log_in_here("ann")
        self.type("talk toys")
        vocabulary = self.client.vocabulary
        talks = [replace(each, ended_by=["burn"]) for each in vocabulary.presentation.talks]
        vocabulary.presentation = replace(vocabulary.presentation, talks=talks)
        self.announce("ann", haggled("bob", "two?"))
        self.assertEqual(self.conversation.unread, {})
        self.announce("ann", {"event": "closed", "stall": "toys"})
        self.assertIsNone(self.conversation.talk)


class Unread(FairConversation):
    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("ann")
        self.tell("ann", told(1, "bob", "hi"))
        self.announce("ann", haggled("bob", "a"), haggled("bob", "b"), haggled("bob", "c", "tea"))
        self.announce("ann", shouted("cat", "hey"), answered("dan", "no"))

    def test_counted_by_partner(self) -> None:
        expected = {
            Partner(PAL, "bob"): 1,
            Partner(STALL, "toys"): 2,
            Partner(STALL, "tea"): 1,
            Partner(SQUARE, "square"): 1,
            Partner(DESK, "desk"): 1,
        }
        self.assertEqual(self.conversation.unread, expected)
        self.type("use ann", "login bob pw")
        self.assertEqual(self.conversation.unread_elsewhere, 6)

    def test_read_by_talking(self) -> None:
        for line in ("talk bob", "talk toys", "talk tea", "talk", "talk desk"):
            self.type(line, "/end")
        self.assertEqual(self.conversation.unread, {})

    def test_read_by_answering(self) -> None:
        for line in ("tell bob x", "haggle toys x", "haggle tea x", "shout x", "ask-desk x"):
            self.type(line)
        self.assertEqual(self.conversation.unread, {})

    def test_not_of_those_who_are_gone(self) -> None:
        self.type("drop bob", "shut", "go-home")
        self.assertEqual(self.conversation.unread, {Partner(DESK, "desk"): 1})

    def test_not_of_what_was_taken_away(self) -> None:
        self.announce(
            "ann", {"event": "closed", "stall": "toys"}, {"event": "dropped", "by": "bob"}
        )
        names = [partner.name for partner in self.conversation.unread]
        self.assertEqual(names, ["tea", "square", "desk"])


class Echoes(FairConversation):
    """What one said in a room comes back, and is not shown to who typed it."""

    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("ann")

    def test_in_rooms(self) -> None:
        for line, event, shown in (
            ("haggle toys two?", haggled("ann", "two?"), "ann: #toys ann → ann  two?"),
            ("shout hey", shouted("ann", "hey"), "ann: #the square ann → ann  hey"),
        ):
            self.type(line)
            self.paper.lines.clear()
            self.announce("ann", event)
            self.assertEqual(self.paper.lines, [])
            self.announce("ann", event)
            self.assertEqual(self.paper.lines, [shown])
        self.assertEqual(self.conversation.unread, {})

    def test_not_another_stalls(self) -> None:
        self.type("haggle toys two?")
        self.paper.lines.clear()
        self.announce("ann", haggled("ann", "two?", "tea"))
        self.assertEqual(self.paper.lines, ["ann: #tea ann → ann  two?"])

    def test_at_another_terminal_it_is_shown(self) -> None:
        _there, paper = self.another("ann")
        self.type("tell bob hi")
        self.paper.lines.clear()
        self.tell("ann", {**told(3, "ann", "hi", "bob"), "event": "mine"})
        self.assertEqual(paper.lines, ["ann: ann → bob  hi"])
        self.assertEqual(self.paper.lines, [])

    def test_who_answers_there_has_read(self) -> None:
        self.announce("ann", shouted("bob", "hey"))
        self.announce("ann", shouted("ann", "ho"))
        self.assertEqual(self.conversation.unread, {})


class Completing(FairConversation):
    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("bob", "ann")

    def test_arguments(self) -> None:
        for line, expected in (
            ("haggle ", ["toys", "tea", "bob", "ann"]),
            ("haggle t", ["toys", "tea"]),
            ("tell ", ["bob", "cat", "ann"]),
            ("visit ", ["gate", "hill", "bob", "ann"]),
            ("befriend ", ["bob", "ann"]),
            ("talk ", ["toys", "tea", "bob", "cat"]),
            ("shout ", ["bob", "ann"]),
            ("h t", ["toys", "tea"]),
            ("/t c", ["cat"]),
            ("stalls x", []),
        ):
            self.assertEqual(self.completions(line), expected, line)

    def test_what_they_are(self) -> None:
        (found,) = completion.completions(self.conversation, "haggle te")
        self.assertEqual(found.meaning, "a stall")
        (found,) = completion.completions(self.conversation, "visit g")
        self.assertEqual(found.meaning, "place")

    def test_by_commands(self) -> None:
        self.type("open hats", "befriend eve", "drop cat", "shut tea")
        self.assertEqual(self.completions("haggle ")[:2], ["toys", "hats"])
        self.assertEqual(self.completions("tell ")[:2], ["bob", "eve"])
        self.type("shut")
        self.assertEqual(self.completions("haggle "), ["bob", "ann"])

    def test_not_by_commands_that_were_refused(self) -> None:
        self.answer("open", {"status": 1, "message": "No room"})
        self.assertEqual(self.type("open hats"), ["ann: No room"])
        self.assertEqual(self.completions("haggle h"), [])

    def test_by_events(self) -> None:
        self.announce("ann", {"event": "opened", "stall": "hats"})
        self.assertEqual(self.completions("haggle h"), ["hats"])
        self.announce("ann", {"event": "closed", "stall": "hats"})
        self.announce("ann", {"event": "dropped", "by": "cat"})
        self.assertEqual(self.completions("haggle h"), [])
        self.assertEqual(self.completions("tell c"), [])

    def test_by_lists(self) -> None:
        self.replies["stalls"] = {"stall": [{"name": "hats"}]}
        self.replies["pals"] = {"pal": ["eve"]}
        self.type("stalls", "pals")
        self.assertEqual(self.completions("haggle ")[:1], ["hats"])
        self.assertEqual(self.completions("tell ")[:1], ["eve"])
        self.replies["pals"] = {"pal": ["dan", 7]}
        self.type("pals")
        self.assertEqual(self.completions("tell ")[:1], ["eve"])

    def test_by_messages(self) -> None:
        self.tell("ann", told(1, "eve", "hi"))
        self.announce("ann", haggled("bob", "two?", "hats"))
        self.assertEqual(self.completions("tell e"), ["eve"])
        self.assertEqual(self.completions("haggle h"), ["hats"])

    def test_not_names_that_cannot_be_typed(self) -> None:
        self.tell("ann", told(1, "the bank", "hi"))
        self.tell("ann", told(2, "", "hi"))
        for name in ("two words", "", 7):
            self.announce("ann", {"event": "opened", "stall": name})
        self.replies["stalls"] = {"stall": [{"name": "two words"}, {"name": "hats"}]}
        self.type("stalls")
        self.assertEqual(self.completions("tell "), ["bob", "cat", "ann"])
        self.assertEqual(self.completions("haggle "), ["hats", "bob", "ann"])

    def test_within(self) -> None:
        self.type("open hats", "shut hats")
        self.assertEqual(self.completions("visit h"), ["hill", "hats"])

    def test_shared_and_not(self) -> None:
        self.replies["places"] = {"place": ["moon"]}
        self.type("use bob", "places")
        self.replies["stalls"] = {"stall": ["hats"]}
        self.type("stalls", "use ann")
        self.assertEqual(self.completions("visit m"), ["moon"])
        self.assertEqual(self.completions("haggle ")[:2], ["toys", "tea"])
        self.assertEqual(self.completions("haggle bob "), ["hats"])


class Alone(FairConversation):
    """A face for one user has no `use`, so that is the service's."""

    alone = True

    def test_a_command_of_a_name_that_the_client_has_elsewhere(self) -> None:
        self.log_in_here("ann")
        self.assertEqual(self.completions("use "), ["toys", "tea"])
        self.assertEqual(completion.hint(self.conversation, "use "), "use <stall>")
        self.type("use toys")
        self.assertEqual(self.said("use"), [["ann", "toys"]])


class Words(FairConversation):
    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("ann")

    def test_sentences(self) -> None:
        self.assertEqual(
            self.type("help haggle"),
            ["* haggle <stall> <words>", "* Haggles\\x1b at a stall.", "* In short: h"],
        )
        self.assertEqual(self.type("help h"), self.type("help haggle"))
        self.assertEqual(self.type("help ping"), ["* ping", "* Knocks."])
        self.assertEqual(self.type("help open"), ["* open <stall>"])
        logout = ["* logout", "* Logs you out everywhere."]
        self.assertEqual(self.type("help logout"), logout)

    def test_an_alias_that_is_new(self) -> None:
        self.have("wave <user>")
        self.network.advance(61.0)
        told = {"usage": "stalls <user>", "server": "app", "harmless": True}
        said = {"status": 0, "commands": [told], "presentation": {"aliases": {"s": "stalls"}}}
        self.answer("commands", said)
        self.assertEqual(len(self.asked("stalls")), 1)
        self.type("s")
        self.assertEqual(len(self.asked("stalls")), 2)

    def test_a_service_that_was_away_is_asked_again(self) -> None:
        for seconds, questions in ((1.0, 1), (61.0, 2)):
            self.network.unplug(LOGIN)
            self.network.advance(seconds)
            pinging = self.begin("ping")
            self.network.advance(3.0)
            self.network.plug(LOGIN)
            self.network.advance(3.0)
            self.assertTrue(self.successResultOf(pinging))
            self.assertEqual(len(self.asked("commands")), questions)

    def test_groups(self) -> None:
        lines = [re.sub(r"(?<=[^ *])  +.*", "", line) for line in self.type("help")]
        expected = [
            "* Stalls:",
            "*   stalls",
            "*   open <stall>",
            "*   haggle <stall> <words>",
            "* Pals:",
            "*   pals",
            "*   tell <pal> <words>",
            "* Others:",
        ]
        self.assertEqual(lines[: len(expected)], expected)
        self.assertIn("*   shout <words>", lines)
        self.assertIn("* Client:", lines)
        self.assertEqual(len(lines), len({*lines}))
        self.assertNotIn("shouts", " ".join(lines))

    def test_aliases(self) -> None:
        self.assertEqual(self.type("p"), ["bob", "cat"])
        self.type("h toys  two? ")
        self.assertEqual(self.said("haggle"), [["ann", "toys", " two? "]])

    def test_a_command_comes_before_an_alias(self) -> None:
        self.type("visit hill")
        self.assertEqual(self.said("visit"), [["ann", "hill"]])

    def test_nothing_of_the_boards(self) -> None:
        self.assertEqual(self.type("help receive-post"), ["! Unknown command receive-post."])
        self.assertEqual(self.type("msg bob hi"), ["Unknown command msg. help lists all commands."])

    def test_empty_lists(self) -> None:
        for name, member, words in (
            ("stalls", "stall", "No stall is open"),
            ("pals", "pal", "No pals"),
            ("news", "other", "Nothing"),
        ):
            self.replies[name] = {member: []}
            self.assertEqual(self.type(name), [words])

    def test_lines(self) -> None:
        self.replies["stalls"] = {
            "stall": [
                {"name": "toys", "open": True, "goods": {"best": "bear\x1b"}},
                {"name": "tea", "open": 1, "goods": {"best": "green"}, "until": 0},
                {"name": "hats"},
                haggled("bob", "two?"),
                {"event": "rain", "since": 0},
                {"event": "opened", "at": 0, "text": "A stall"},
                {"kind": "note", "text": "Closed at noon", "at": 0},
                {"kind": "fee", "text": "1"},
            ]
        }
        self.assertEqual(
            self.type("stalls"),
            [
                "toys: bear\\x1b",
                "tea, shut since 1970-01-01T00:00:00Z",
                '{"name":"hats"}',
                "#toys bob  two?",
                "It rains since 1970-01-01T00:00:00Z",
                "A stall",
                "Closed at noon",
                '{"kind":"fee","text":"1"}',
            ],
        )

    def test_events(self) -> None:
        self.announce(
            "ann",
            {"event": "rain", "since": 0, "text": "drip"},
            {"event": "rain", "since": "now", "text": "drip"},
            {"event": "rain", "since": 1e15},
            {"event": "opened", "at": 0, "text": "A stall"},
            {"event": "opened", "at": 0},
            {"event": "unheard-of", "text": "hm"},
        )
        lines = ["It rains since 1970-01-01T00:00:00Z", "drip", "A stall", "hm"]
        self.assertEqual(self.paper.lines, [f"ann:  * {line}" for line in lines])


class Parts(FairConversation):
    """Lists that come in parts, as `tests.client.scenarios.test_parts` has them."""

    def setUp(self) -> None:
        super().setUp()
        self.log_in_here("ann")
        self.replies["news"] = {"news": ["a", "b"], "more": "news:1"}
        self.replies["pals"] = {"tale": ["d", "e"], "more": "pals:1"}
        self.answer("more token1 pals", {"status": 0, "tale": ["b", "c"], "more": "pals:2"})
        self.answer("more token1 pals:2", {"status": 0, "tale": ["a"]})

    def test_backwards_the_oldest_part_comes_first(self) -> None:
        self.assertEqual(self.type("pals"), ["a", "b", "c", "d", "e"])

    def test_backwards_as_the_reply_says(self) -> None:
        """The presentation does not know this list."""
        self.replies["pals"] = {"owl": ["c", "d"], "more": "owl:1", "backwards": True}
        self.answer("more token1 owl:1", {"status": 0, "owl": ["a", "b"]})
        self.assertEqual(self.type("pals"), ["a", "b", "c", "d"])
        self.answer("more token1 owl:1", {"status": 1, "message": "gone"})
        self.assertEqual(self.type("pals"), ["(older ones are not shown: gone)", "c", "d"])

    def test_by_the_library(self) -> None:
        reply = self.result(self.client.request("pals ann"))
        self.assertEqual(reply.members, {"status": 0, "tale": ["a", "b", "c", "d", "e"]})

    def test_older_ones_that_cannot_be_had(self) -> None:
        self.pass_on()
        self.answer("more", {"status": 1, "message": "gone"})
        self.assertEqual(self.type("pals"), ["(older ones are not shown: gone)", "d", "e"])

    def test_of_the_recent_only_the_first_part(self) -> None:
        self.assertEqual(self.type("news"), ["a", "b"])
        self.assertEqual(self.asked("more"), [])


class Wrong(FairConversation):
    """A service whose servers tell what does not fit their commands: those check that at their
    start, but a client may be at any."""

    def tell_instead(self, **presentation: object) -> None:
        """Have the next answer to `commands` have this presentation."""
        told = self.service.peer().ask("commands")
        self.answer_always("commands", {**told, "presentation": presentation})

    def test_a_talk_whose_command_takes_no_partner(self) -> None:
        talk = {"name": "pal", "send": "shout", "choices": "pal", "history": "stalls"}
        self.tell_instead(talks=[talk], choices=[{"name": "pal"}])
        self.log_in_here("ann")
        self.assertEqual(self.type("shout hey"), ["Done."])
        self.assertEqual(self.said("shout"), [["ann", "hey"]])
        self.assertNotIn("talk", " ".join(self.type("help")))

    def test_a_question_that_takes_more(self) -> None:
        self.tell_instead(choices=[{"name": "pal", "ask": "tales", "lists": {"tales": "tale"}}])
        self.type("login ann pw")
        self.assertEqual(self.asked("tales"), [])

    def test_what_it_has_not(self) -> None:
        self.tell_instead(
            help={"fly": "Flies."},
            groups={"Air": ["fly"]},
            aliases={"f": "fly"},
            talks=[{"name": "all", "send": "fly"}],
        )
        self.log_in_here("ann")
        self.assertNotIn("fly", " ".join(self.type("help")).lower())
        self.assertNotIn("Air:", " ".join(self.type("help")))
        self.assertEqual(self.type("f"), ["Unknown command f. help lists all commands."])


class AtAScript(Fair, ScriptTestCase):
    def test_backwards_lists(self) -> None:
        self.people_here("ann")
        self.replies["pals"] = {"tale": ["c"], "more": "pals:1"}
        self.answer("more token1", {"status": 0, "tale": ["a", "b"]})
        self.assertEqual(self.type("pals ann"), ["a", "b", "c"])

    def test_messages_and_events(self) -> None:
        self.people_here("ann")
        self.announce("ann", haggled("bob", "two?"), {"event": "rain", "since": 0})
        self.tell("ann", told(1, "bob", "hi"))
        self.assertEqual(
            self.printed,
            ["[toys] bob: two?", "It rains since 1970-01-01T00:00:00Z", "bob to ann: hi"],
        )

    def test_nobody_listens_before_it_is_known_what_a_message_is(self) -> None:
        self.type("register ann 1")
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        let_go = self.hold("commands")
        self.run_script()
        self.type("login ann 1")
        self.assertEqual(self.asked("listen"), [])
        let_go()
        self.assertEqual(self.asked("listen"), [APP_1])
        self.announce("ann", haggled("bob", "two?"))
        self.assertEqual(self.printed[-1], "[toys] bob: two?")

    def people_here(self, *names: str) -> None:
        for name in names:
            self.type(f"register {name} 1", f"login {name} 1")
        self.printed.clear()

    def test_what_is_said_here_is_waited_for(self) -> None:
        self.people_here("ann", "bob")
        self.type("haggle ann toys two?")
        self.printed.clear()
        self.feed(("logout bob",))
        self.network.flush()
        self.assertEqual(self.printed, [])
        self.announce("bob", haggled("ann", "two?"))
        self.assertEqual(self.printed, ["[toys] ann: two?", "Bye!"])

    def test_not_by_who_is_in_no_such_room(self) -> None:
        self.people_here("ann", "bob")
        self.replies["stalls"] = {"stall": [{"name": "tea"}]}
        self.type("haggle ann toys two?")
        self.assertEqual(self.type("logout bob"), ["Bye!"])

    def test_by_a_partner(self) -> None:
        self.people_here("ann", "bob")
        self.type("tell ann bob hi")
        self.printed.clear()
        self.feed(("logout bob",))
        self.network.flush()
        self.assertEqual(self.printed, [])
        self.tell("bob", told(1, "ann", "hi", "bob"))
        self.assertEqual(self.printed, ["ann to bob: hi", "Bye!"])


class AtTheGateway(Fair, GatewayCase):
    def test_an_events_time(self) -> None:
        nc = self.pipe("login ann 1")
        nc.forget()
        since = self.service.wall() - 3600
        self.announce("ann", {"event": "rain", "since": since, "text": ""})
        nc.settle()
        line = f"{datetime.fromtimestamp(since):%H:%M}  * It rains since "
        self.assertIn(line, nc.text)

    def test_an_own_time_where_it_has_none(self) -> None:
        nc = self.pipe("login ann 1")
        nc.forget()
        self.announce("ann", {"event": "unheard-of", "text": "hm"})
        nc.settle()
        self.assertIn(f"{self.time()}  * hm", nc.text)

    def test_messages_and_talks(self) -> None:
        telnet = self.telnet("login ann 1", "talk", "hey")
        self.assertEqual(
            [words for name, *words in self.noted if name == "shout"], [["ann", "hey"]]
        )
        self.announce("ann", shouted("ann", "hey"), shouted("bob", "ho"))
        telnet.settle()
        shown = "\n".join(telnet.shown())
        self.assertIn("#the square bob  ho", shown)
        self.assertEqual(shown.count("ann  hey"), 1)


class AtTheTerminal(SynchronousTestCase):
    def test_an_events_time(self) -> None:
        now = 1e9
        looks = Theme(CommandCatalog(fair), lambda: now, shows_times=True)

        def line(members: Mapping[str, object]) -> str:
            return fragment_list_to_text([*looks.event("ann", ServiceEvent(members), False)])

        def time(seconds: float) -> str:
            return f"{datetime.fromtimestamp(seconds):%H:%M}"

        then = now - 60
        self.assertEqual(
            line({"event": "opened", "at": then, "text": "A stall"}), f"{time(then)}  * A stall"
        )
        for at in (None, "noon", -1, True):
            told = {"event": "opened", "at": at, "text": "A stall"}
            self.assertEqual(line(told), f"{time(now)}  * A stall")
        rain = line({"event": "rain", "since": then})
        since = Timestamps(lambda: now).short(then)
        self.assertEqual(rain, f"{time(then)}  * It rains since {since}")


class AtAProgram(Fair, ScriptTestCase):
    """`--json`."""

    def script(self, client: BBSClient) -> Script:
        return Script(
            self.clock,
            client,
            self,
            form=JSONFormat(),
        )

    def test_events_are_printed_as_they_came(self) -> None:
        self.type("register ann 1", "login ann 1", "events")
        self.printed.clear()
        chat, rain = haggled("b\x1bob", "two?"), {"event": "rain", "since": 0}
        self.announce("ann", chat, rain)
        mine = {**told(2, "ann", "ho", "bob"), "event": "mine", "more": {"a": [1]}}
        self.tell("ann", told(1, "bob", "hi"))
        self.tell("ann", mine)
        printed = [json.loads(line) for line in self.printed]
        expected = [chat, rain, told(1, "bob", "hi"), mine]
        self.assertEqual(printed, [{**event, "user": "ann"} for event in expected])
