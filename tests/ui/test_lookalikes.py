"""A person is warned of a name that looks like a friend's."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from bbs.board.client import BBSClient, face
from bbs.board.groups import groups
from bbs.client.catalog import CommandCatalog
from bbs.client.errors import Unreachable
from bbs.ui import completion, lookalikes
from bbs.ui.conversation import Conversation
from bbs.ui.output import TextFormat
from bbs.ui.script import IScriptConsole, Script
from tests.client.case import LOGIN
from tests.ui.scenarios.test_people import PeopleCase
from tests.ui.test_conversation import Paper

WARNING = "! BOB is not your friend bob."


@implementer(IScriptConsole)
class ScriptConsole:
    """The lines of a script, as they are entered."""

    def __init__(self, printed: list[str]) -> None:
        self.write = printed.append
        self._wanted: Deferred[str | None] = Deferred()

    def next_line(self) -> Deferred[str | None]:
        self._wanted = Deferred()
        return self._wanted

    def enter(self, line: str) -> None:
        self._wanted.callback(line)


class Warnings(PeopleCase):
    """Bob is ann's friend, and BOB, Bob and B0B are others."""

    def setUp(self) -> None:
        super().setUp()
        self.register("BOB", "Bob", "B0B", "rob", password="pw")
        self.paper.lines.clear()

    def join_chess(self, *names: str) -> None:
        for name in names:
            self.run_rule(groups.join, self.caller(name), "chess")

    def test_an_invitation(self) -> None:
        self.elsewhere("login BOB pw")
        event = {"event": "invite", "from": "BOB", "text": "BOB invites you"}
        self.announce("ann", event, event)
        invites = "ann:  * BOB wants to be your friend. Type: accept NAME"
        self.assertEqual(self.paper.lines, [invites, WARNING, invites])

    def test_a_message(self) -> None:
        self.join_chess("BOB", "B0B", "rob")
        for sender in ("rob", "BOB", "B0B", "BOB"):
            self.send_group(sender, "chess", "e4")
        said = "ann: #chess {} → ann  e4".format
        self.assertEqual(
            self.paper.lines,
            [
                said("rob"),
                *(said("BOB"), WARNING),
                *(said("B0B"), "! B0B is not your friend bob."),
                said("BOB"),
            ],
        )

    def test_somebody_who_joins(self) -> None:
        self.announce("ann", {"event": "joined", "id": "BOB", "text": "BOB joined go"})
        self.assertEqual(self.paper.lines, ["ann:  * BOB joined go", WARNING])

    def test_names_in_lists(self) -> None:
        """Of invitations that came before the login, and of members."""
        self.invite("BOB", "ann")
        self.assertEqual(self.type("list-invite"), ["BOB", WARNING])
        self.make_group("go", "ann", "bob", "Bob", "rob")
        members = ["ann", "bob", "Bob", "rob"]
        warned = [*members, "! Bob is not your friend bob."]
        self.assertEqual(self.type("list-member go", "list-member go"), [*warned, *members])

    def test_letters_of_another_alphabet(self) -> None:
        name = "b\N{CYRILLIC SMALL LETTER O}b"
        self.announce("ann", {"event": "invite", "from": name, "text": "…"})
        self.assertEqual(self.paper.lines[1:], [f"! {name} is not your friend bob."])

    def test_two_friends_who_look_alike(self) -> None:
        self.befriend("ann", "BOB")
        self.type("list-friend")
        self.elsewhere("login ann pw")
        self.send("BOB", "ann", "hello")
        self.assertEqual(self.paper.lines[-1], "! BOB is not your friend bob, but another one.")

    def test_what_came_before_the_names_of_friends(self) -> None:
        self.type("logout")
        self.join_chess("BOB")
        let_go = self.hold("list-")
        self.type("login ann pw")
        self.send_group("BOB", "chess", "e4")
        said = "ann: #chess BOB → ann  e4"
        self.assertEqual(self.paper.lines[-1], said)
        let_go()
        self.network.flush()
        self.assertEqual(self.paper.lines[-2:], [said, WARNING])
        self.send_group("BOB", "chess", "e5")
        self.assertEqual(self.paper.lines.count(WARNING), 1)

    def test_early_events_take_no_memory(self) -> None:
        self.patch(lookalikes, "MOST_EARLY", 1)
        self.type("logout")
        let_go = self.hold("list-")
        self.type("login ann pw")
        for name in ("B0B", "BOB"):
            self.announce("ann", {"event": "invite", "from": name, "text": "…"})
        let_go()
        self.network.flush()
        self.assertNotIn(WARNING, self.paper.lines)
        self.assertIn("! B0B is not your friend bob.", self.paper.lines)

    def test_of_early_events_only_names_are_kept(self) -> None:
        self.type("logout")
        let_go = self.hold("list-")
        self.type("login ann pw")
        event = {"event": "invite", "from": "BOB", "text": "x" * 1000}
        self.announce("ann", event, event)
        early = self.conversation._lookalikes._early
        self.assertEqual(early, {"ann": {("friend", "BOB"): None}})
        let_go()
        self.network.flush()
        self.assertEqual(early, {})

    def test_nothing_is_kept_where_the_names_do_not_come(self) -> None:
        def fail(known: completion.NameCache) -> list[str]:
            raise Unreachable("gone")

        self.patch(completion.NameCache, "questions", fail)
        self.type("logout", "login ann pw")
        self.announce("ann", {"event": "invite", "from": "BOB", "text": "…"})
        self.assertEqual(self.conversation._lookalikes._early, {})

    def test_once_a_session(self) -> None:
        event = {"event": "invite", "from": "BOB", "text": "…"}
        self.announce("ann", event)
        self.type("logout", "login ann pw")
        self.paper.lines.clear()
        self.announce("ann", event)
        self.assertIn(WARNING, self.paper.lines)

    def test_a_friend_no_longer(self) -> None:
        self.join_chess("BOB", "B0B")
        self.send_group("B0B", "chess", "e4")
        self.assertIn("! B0B is not your friend bob.", self.paper.lines)
        self.type("unfriend bob")
        self.paper.lines.clear()
        self.send_group("BOB", "chess", "e4")
        self.assertEqual(self.paper.lines, ["ann: #chess BOB → ann  e4"])

    def test_a_friend_from_now_on(self) -> None:
        self.announce("ann", {"event": "invite", "from": "Rob", "text": "…"})
        self.befriend("ann", "rob")
        self.send("rob", "ann", "hello")
        self.assertNotIn("!", "".join(self.paper.lines))
        self.announce("ann", {"event": "invite", "from": "Rob", "text": "…"})
        self.assertEqual(self.paper.lines[-1], "! Rob is not your friend rob.")

    def test_not_of_ones_own_name(self) -> None:
        self.register("Ann", password="pw")
        self.befriend("ann", "Ann")
        self.type("list-friend")
        self.paper.lines.clear()
        self.send_group("ann", "chess", "e4")
        self.assertEqual(self.paper.lines, ["ann: #chess ann → ann  e4"])

    def test_whose_friend_it_is_where_several_are_here(self) -> None:
        self.type("login cat pw")
        self.paper.lines.clear()
        event = {"event": "invite", "from": "BOB", "text": "…"}
        self.announce("ann", event)
        self.announce("cat", event)
        warning = "! ann: BOB is not your friend bob."
        wants = "BOB wants to be your friend. Type: accept NAME"
        self.assertEqual(self.paper.lines, [f"ann:  * {wants}", warning, f"cat:  * {wants}"])

    def test_nothing_acts_on_the_terminal(self) -> None:
        self.announce("ann", {"event": "invite", "from": "b\x1bob", "text": "…"})
        self.announce("ann", {"event": "invite", "from": "BO\u200bB", "text": "…"})
        self.assertNotIn("\x1b", "".join(self.paper.lines))
        self.assertNotIn("\u200b", "".join(self.paper.lines))

    def test_no_request_is_made_for_it(self) -> None:
        self.network.requests.clear()
        self.announce("ann", {"event": "invite", "from": "BOB", "text": "…"})
        self.assertEqual((self.paper.lines[1:], self.network.requests), ([WARNING], []))

    def test_a_script_is_not_warned(self) -> None:
        printed: list[str] = []
        script = ScriptConsole(printed)
        verifyObject(IScriptConsole, script)
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(client.close)
        Deferred.fromCoroutine(
            Script(self.clock, client, script, form=TextFormat(client.vocabulary)).run()
        )
        self.network.flush()
        for line in ("events", "login ann pw", "list-friend ann"):
            script.enter(line)
            self.network.flush()
        self.announce("ann", {"event": "invite", "from": "BOB", "text": "BOB invites you"})
        self.assertEqual(printed, ["Success!", "Success!", "bob", "BOB invites you"])

    def test_many_names_take_no_memory(self) -> None:
        self.patch(lookalikes, "MOST_WARNED", 2)
        for name in ("BOB", "Bob", "B0B", "BOB"):
            self.announce("ann", {"event": "invite", "from": name, "text": "…"})
        self.assertEqual(self.paper.lines.count(WARNING), 2)

    def test_a_service_that_declares_none(self) -> None:
        plain = [replace(each, lookalike_events={}, lookalike_lists={}) for each in face.choices]
        self.answer_always("commands", {"status": 1, "message": "Unknown command commands"})
        client = BBSClient(
            self.clock,
            LOGIN,
            self.network.endpoint,
            vocabulary=CommandCatalog(replace(face, choices=plain)),
        )
        paper = Paper(client.vocabulary)
        other = Conversation(client, paper)
        self.addCleanup(other.close)
        self.result(other.carry_out("login ann pw"))
        self.network.flush()
        paper.lines.clear()
        self.announce("ann", {"event": "invite", "from": "BOB", "text": "BOB invites you"})
        self.assertEqual(paper.lines, ["ann:  * BOB wants to be your friend. Type: accept NAME"])
