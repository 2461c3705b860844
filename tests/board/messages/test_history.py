"""What was said before: `docs/protocol.md`, section 3, `history`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bbs.board.groups import groups
from bbs.board.groups.tables import Membership
from bbs.board.messages import history, messages
from bbs.board.messages.tables import MessageRow
from bbs.board.people import blocks
from bbs.board.people.tables import Relationship
from bbs.rules import accounts
from bbs.rules.auth import Caller
from bbs.rules.pagination import Page, Part
from tests.database_case import RulesCase, on_both_databases


class HistoryCase(RulesCase):
    """ann and bob are friends; eve is somebody else."""

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.eve = self.people("ann", "bob", "eve")
        self.befriend(self.ann, self.bob)

    def say(self, caller: Caller, name: str, *texts: str) -> None:
        for text in texts:
            self.call(messages.send, caller, name, text)

    def say_in(self, caller: Caller, name: str, *texts: str) -> None:
        for text in texts:
            self.call(messages.send_group, caller, name, text)

    def read(self, caller: Caller, name: str) -> list[Any]:
        entries: list[Any] = self.call(history.history, caller, name)["history"]
        return entries

    def texts(self, caller: Caller, name: str) -> list[str]:
        return [each["message"] for each in self.read(caller, name)]

    def parts(self, caller: Caller, name: str, rule: Any = history.history) -> list[list[str]]:
        """All parts of a history, the latest first, each oldest first."""
        parts, page = [], Page()
        while True:
            part: Part = self.call(rule.part, caller, page, name)
            parts.append([each["message"] for each in part["history"]])
            if part.last is None:
                return parts
            # As a cursor keeps it.
            page = Page([*part.last])

    def end_friendship(self) -> None:
        Relationship.delete().execute()


@on_both_databases
class WithAFriend(HistoryCase):
    def test_both_sides_oldest_first_as_their_events(self) -> None:
        sent = [
            self.call(messages.send, replace(self.ann, now=1764086400.2512345), "bob", "hello"),
            self.call(messages.send, replace(self.bob, now=1764086401.5), "ann", "hi"),
            self.call(messages.send, self.ann, "bob", "how are you?"),
        ]
        expected = [[*each.event.members.items()] for each in sent]
        for caller, name in ((self.ann, "bob"), (self.bob, "ann")):
            self.assertEqual([[*each.items()] for each in self.read(caller, name)], expected)

    def test_nothing_said_yet(self) -> None:
        self.assertEqual(self.read(self.ann, "bob"), [])

    def test_nothing_of_others(self) -> None:
        self.befriend(self.ann, self.eve)
        self.befriend(self.bob, self.eve)
        self.say(self.ann, "eve", "of bob")
        self.say(self.eve, "bob", "of ann")
        self.call(groups.create, self.ann, "bob")
        self.call(groups.join, self.bob, "bob")
        self.say_in(self.ann, "bob", "to the group")
        self.say(self.ann, "bob", "hello")
        self.assertEqual(self.texts(self.ann, "bob"), ["hello"])
        self.assertEqual(self.texts(self.bob, "ann"), ["hello"])

    def test_in_parts(self) -> None:
        """50 each, and what is new does not shift what follows."""
        texts = [str(number) for number in range(120)]
        for number, text in enumerate(texts):
            self.say(*((self.ann, "bob", text) if number % 3 else (self.bob, "ann", text)))
        self.assertEqual(self.parts(self.ann, "bob"), [texts[70:], texts[20:70], texts[:20]])
        first = self.call(history.history, self.ann, "bob")
        self.say(self.ann, "bob", "new")
        second = self.call(history.history.part, self.ann, Page(first.last), "bob")
        self.assertEqual([each["message"] for each in second["history"]], texts[20:70])

    def test_no_more_than_there_is(self) -> None:
        texts = [str(number) for number in range(50)]
        self.say(self.ann, "bob", *texts)
        self.assertEqual(self.parts(self.bob, "ann"), [texts])

    def test_long_ones_are_fewer(self) -> None:
        self.say(self.ann, "bob", *[f"{number} " + "x" * 60_000 for number in range(20)])
        parts = self.parts(self.bob, "ann")
        self.assertEqual(len(parts), 2)
        self.assertEqual(
            [text.split()[0] for part in reversed(parts) for text in part], [*map(str, range(20))]
        )

    def test_who_is_no_friend(self) -> None:
        self.refused("eve is not your friend", history.history, self.ann, "eve")
        self.refused("ann is not your friend", history.history, self.ann, "ann")
        for name in ("dan", "Bob", "b" * 60_000):
            self.refused("No such user exist", history.history, self.ann, name)

    def test_who_is_a_friend_no_more(self) -> None:
        self.say(self.ann, "bob", "hello")
        self.end_friendship()
        for caller, name in ((self.ann, "bob"), (self.bob, "ann")):
            self.assertEqual(self.texts(caller, name), ["hello"])
            self.assertNotIn("former", self.read(caller, name)[0])
        MessageRow.delete().execute()
        self.refused("bob is not your friend", history.history, self.ann, "bob")

    def test_who_is_blocked(self) -> None:
        """What was said stays readable to both."""
        self.say(self.ann, "bob", "hello")
        self.call(blocks.block, self.bob, "ann")
        for caller, name in ((self.ann, "bob"), (self.bob, "ann")):
            self.assertEqual(self.texts(caller, name), ["hello"])

    def test_whatever_form_the_name_is_typed_in(self) -> None:
        zoe = self.person("zo\N{LATIN SMALL LETTER E WITH DIAERESIS}")
        self.befriend(self.ann, zoe)
        self.say(zoe, "ann", "hello")
        self.assertEqual(self.texts(self.ann, "zoe\N{COMBINING DIAERESIS}"), ["hello"])

    def test_what_servers_of_before_stored_is_in_none(self) -> None:
        self.say(self.ann, "bob", "hello")
        MessageRow.update(sent_by=None, sent_to=None).execute()
        self.assertEqual(self.read(self.ann, "bob"), [])


@on_both_databases
class Formers(HistoryCase):
    """Names that were somebody else's."""

    def setUp(self) -> None:
        super().setUp()
        self.say(self.ann, "bob", "to the first")
        self.say(self.bob, "ann", "from the first")
        self.call(accounts.delete, self.bob)

    def marked(self, caller: Caller, name: str) -> list[tuple[str, bool]]:
        return [(each["message"], each.get("former", False)) for each in self.read(caller, name)]

    def test_deleted(self) -> None:
        first = [("to the first", True), ("from the first", True)]
        self.assertEqual(self.marked(self.ann, "bob"), first)

    def test_made_again(self) -> None:
        first = [("to the first", True), ("from the first", True)]
        bob = self.person("bob")
        self.assertEqual(self.marked(self.ann, "bob"), first)
        self.refused("ann is not your friend", history.history, bob, "ann")
        self.befriend(self.ann, bob)
        self.assertEqual(self.marked(bob, "ann"), [])
        self.say(self.ann, "bob", "to the second")
        self.say(bob, "ann", "from the second")
        second = [("to the second", False), ("from the second", False)]
        self.assertEqual(self.marked(self.ann, "bob"), [*first, *second])
        self.assertEqual(self.marked(bob, "ann"), second)

    def test_whom_nobody_knows_any_more(self) -> None:
        """What the step from version 2 found nobody for was somebody else's."""
        MessageRow.update(sent_by=None).where(MessageRow.sender == "bob").execute()
        bob = self.person("bob")
        self.assertEqual(
            self.marked(self.ann, "bob"), [("to the first", True), ("from the first", True)]
        )
        self.assertNotEqual(bob.id, self.bob.id)

    def test_in_a_group(self) -> None:
        self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.eve, "chess")
        self.say_in(self.eve, "chess", "one")
        self.call(accounts.delete, self.eve)
        self.assertEqual(self.marked(self.ann, "chess"), [("one", True)])
        eve = self.person("eve")
        self.call(groups.join, eve, "chess")
        self.say_in(eve, "chess", "two")
        self.assertEqual(self.marked(self.ann, "chess"), [("one", True), ("two", False)])
        self.assertEqual(self.marked(eve, "chess"), [("two", False)])


@on_both_databases
class InAGroup(HistoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.call(groups.create, self.ann, "chess")

    def test_since_the_caller_joined(self) -> None:
        self.say_in(self.ann, "chess", "e4")
        self.call(groups.join, self.bob, "chess")
        sent = self.call(messages.send_group, self.bob, "chess", "e5")
        self.assertEqual(self.texts(self.ann, "chess"), ["e4", "e5"])
        [entry] = self.read(self.bob, "chess")
        self.assertEqual([*entry.items()], [*sent.event.members.items()])

    def test_what_was_said_while_the_caller_was_away(self) -> None:
        self.call(groups.join, self.bob, "chess")
        self.log_out(self.bob)
        self.say_in(self.ann, "chess", "e4")
        self.assertEqual(self.texts(self.bob, "chess"), ["e4"])

    def test_in_parts(self) -> None:
        self.say_in(self.ann, "chess", "before")
        self.call(groups.join, self.bob, "chess")
        texts = [str(number) for number in range(60)]
        self.say_in(self.ann, "chess", *texts)
        self.assertEqual(self.parts(self.bob, "chess"), [texts[10:], texts[:10]])
        self.assertEqual(self.parts(self.bob, "chess", history.of_group), [texts[10:], texts[:10]])

    def test_who_joined_through_a_server_of_before(self) -> None:
        """What was sent to the member came later, and nothing else is known to have."""
        self.say_in(self.ann, "chess", "before")
        self.call(groups.join, self.bob, "chess")
        Membership.update(after=None).where(Membership.user == self.bob.id).execute()
        texts = [str(number) for number in range(60)]
        self.say_in(self.ann, "chess", *texts)
        self.assertEqual(self.parts(self.bob, "chess"), [texts[10:], texts[:10]])

    def test_who_left_and_came_again(self) -> None:
        """What was said before the last joining is not theirs to read."""
        self.call(groups.join, self.bob, "chess")
        self.say_in(self.bob, "chess", "e4")
        self.call(groups.leave, self.bob, "chess")
        self.refused("You are not the member of chess", history.history, self.bob, "chess")
        self.say_in(self.ann, "chess", "e5")
        self.call(groups.join, self.bob, "chess")
        self.assertEqual(self.texts(self.bob, "chess"), [])
        self.say_in(self.ann, "chess", "d4")
        self.assertEqual(self.texts(self.bob, "chess"), ["d4"])

    def test_who_is_no_member(self) -> None:
        self.refused("You are not the member of chess", history.history, self.bob, "chess")
        self.refused("You are not the member of chess", history.of_group, self.bob, "chess")
        self.refused("No such group exist", history.of_group, self.bob, "go")

    def test_who_is_one_no_more_between_two_parts(self) -> None:
        self.say_in(self.ann, "chess", *map(str, range(60)))
        first = self.call(history.history, self.ann, "chess")
        Membership.delete().execute()
        self.refused(
            "You are not the member of chess",
            history.history.part,
            self.ann,
            Page(first.last),
            "chess",
        )

    def test_a_name_that_is_both(self) -> None:
        """A person's first: one who is a friend, or was written with. Else a group of the
        caller's; and each can be had."""
        self.account("chess")
        self.say_in(self.ann, "chess", *map(str, range(60)))
        self.assertEqual(self.texts(self.ann, "chess"), [*map(str, range(10, 60))])
        first = self.call(history.history, self.ann, "chess")
        chess = self.caller(self.log_in("chess"))
        self.refused("chess is not your friend", history.history, self.eve, "chess")
        self.befriend(self.ann, chess)
        self.assertEqual(self.read(self.ann, "chess"), [])
        self.say(chess, "ann", "hello")
        self.end_friendship()
        self.assertEqual(self.texts(self.ann, "chess"), ["hello"])
        self.assertEqual(len(self.call(history.of_group, self.ann, "chess")["history"]), 50)
        # What was begun goes on.
        rest = self.call(history.history.part, self.ann, Page(first.last), "chess")
        self.assertEqual([each["message"] for each in rest["history"]], [*map(str, range(10))])

    def test_what_is_old_is_gone(self) -> None:
        self.say_in(self.ann, "chess", "e4", "e5")
        MessageRow.delete().where(MessageRow.text == "e4").execute()
        self.assertEqual(self.texts(self.ann, "chess"), ["e5"])
