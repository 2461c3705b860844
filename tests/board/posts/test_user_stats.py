"""What `login` says that waits: `docs/protocol.md`, section 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages import messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import friendships
from bbs.board.people.tables import Relationship
from bbs.board.posts import threads, unread, user_stats
from bbs.board.posts.tables import Contribution, PostRow
from bbs.delivery.feed import Cursor
from bbs.rules import accounts, auth, placement
from bbs.rules.auth import Caller
from bbs.storage.models import User
from tests.board.crowds import relate
from tests.database_case import RulesCase, on_both_databases
from tests.rules.crowds import add, crowd


@on_both_databases
class Waiting(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.eve = self.people("ann", "bob", "eve")
        self.befriend(self.ann, self.bob)

    def send(self, at: float) -> int:
        """Have ann write to bob, when; the message's id."""
        return self.call(messages.send, replace(self.ann, now=at), "bob", "hello").event.id

    def deliver(self, caller: Caller, last: int) -> None:
        self.call(messages.note_delivered, [Cursor(caller.id, last)])

    def waiting(self, caller: Caller, seen: float | None = None) -> Mapping[str, int]:
        found = self.call(user_stats.on_login, caller.id, seen)
        self.assertEqual([*found], ["waiting"])
        told: Mapping[str, int] = found["waiting"]  # type: ignore[assignment]
        self.assertEqual([*told], ["invitations", "messages", "after", "posts"])
        return told

    def expect(self, caller: Caller, seen: float | None, messages: int, after: int) -> None:
        told = self.waiting(caller, seen)
        self.assertEqual((told["messages"], told["after"]), (messages, after))

    def fetched(self, caller: Caller, after: int) -> list[int]:
        cursor = Cursor(caller.id, after)
        return [event.id for event in self.call(messages.fetch, [cursor])[cursor]]

    def test_nothing(self) -> None:
        for seen in (None, 0.0, 1e12):
            nothing = {"invitations": 0, "messages": 0, "after": 0, "posts": 0}
            self.assertEqual(self.waiting(self.bob, seen), nothing)

    def test_invitations(self) -> None:
        cat = self.person("cat")
        for inviter in (self.eve, cat):
            self.call(friendships.invite, inviter, "bob")
        self.call(friendships.invite, self.bob, self.person("dan").name)
        self.assertEqual(self.waiting(self.bob)["invitations"], 2)

    def test_more_invitations_than_are_counted(self) -> None:
        others = crowd(user_stats.MOST_COUNTED + 1)
        relate(self.bob.id, Relationship.INVITED_BY, others, Relationship.INVITED)
        self.assertEqual(self.waiting(self.bob)["invitations"], 1000)

    def test_what_no_connection_was_sent(self) -> None:
        first, *_, last = [self.send(at) for at in (100.0, 200.0, 300.0)]
        for seen in (None, 0.0, 150.0, 1e12):
            self.expect(self.bob, seen, 3, 0)
        self.deliver(self.bob, first)
        self.expect(self.bob, None, 2, first)
        self.expect(self.bob, 1e12, 2, first)
        self.deliver(self.bob, last)
        self.expect(self.bob, None, 0, last)

    def test_what_a_forgotten_terminal_was_sent(self) -> None:
        """All since the user was last there, so that `listen` behind it brings them again."""
        numbers = [self.send(at) for at in (100.0, 200.0, 300.0)]
        self.deliver(self.bob, numbers[-1])
        self.expect(self.bob, 300.5, 0, numbers[-1])
        self.expect(self.bob, 200.0, 2, numbers[1] - 1)
        self.assertEqual(self.fetched(self.bob, numbers[1] - 1), numbers[1:])
        self.expect(self.bob, 50.0, 3, numbers[0] - 1)

    def test_not_what_others_were_sent(self) -> None:
        self.befriend(self.ann, self.eve)
        mine = self.send(100.0)
        self.deliver(self.bob, mine)
        self.call(messages.send, replace(self.ann, now=200.0), "eve", "hello")
        told = self.waiting(self.bob, 150.0)
        self.assertEqual(told["messages"], 0)
        self.assertEqual(self.fetched(self.bob, told["after"]), [])

    def test_in_groups_too(self) -> None:
        self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")
        self.call(messages.send_group, self.ann, "chess", "e4")
        self.assertEqual(self.waiting(self.bob)["messages"], 1)

    def test_stamps_of_clocks_that_differ(self) -> None:
        """Whatever they say, what was not delivered is among it."""
        numbers = [self.send(at) for at in (5000.0, 100.0, 9000.0, 50.0)]
        self.deliver(self.bob, numbers[1])
        for seen in (None, 0.0, 60.0, 6000.0, 1e12):
            after = self.waiting(self.bob, seen)["after"]
            self.assertEqual(self.fetched(self.bob, after)[-2:], numbers[2:])

    def test_of_more_nobody_needs_to_know_how_many(self) -> None:
        first = self.send(100.0)
        numbers = range(first + 1, first + 1 + user_stats.MOST_COUNTED)
        sent = [(number, "ann", "bob", False, "hello", 200.0) for number in numbers]
        add(MessageRow, sent, *messages.COLUMNS)
        theirs = [(self.bob.id, number) for number in numbers]
        add(Delivery, theirs, Delivery.user, Delivery.message)
        self.expect(self.bob, None, 1000, 0)

    def test_somebody_without_an_inbox(self) -> None:
        Inbox.delete().where(Inbox.user == self.bob.id).execute()
        self.assertEqual(self.waiting(self.bob)["after"], 0)


@on_both_databases
class New(RulesCase):
    """How much `new` counts, and what that costs."""

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")

    def group(self, name: str, posts: int) -> None:
        """A group of ann's in which bob has published so many posts."""
        self.call(groups.create, self.ann, name)
        [group] = Group.select().where(Group.name == name)
        last = PostRow.insert(text="the last one before").execute()
        numbers = range(1, posts + 1)
        add(PostRow, [(last + each, "hello") for each in numbers], PostRow.id, PostRow.text)
        add(
            Contribution,
            [(last + each, self.bob.id, group.id, each) for each in numbers],
            Contribution.post,
            Contribution.writer,
            Contribution.group,
            Contribution.number,
        )
        Group.update(posts=posts).where(Group.id == group).execute()

    def news(self) -> user_stats.News:
        return self.call(user_stats.summary, self.ann)

    def counts(self) -> list[object]:
        new: Any = self.news()["new"]
        return [each["posts"] for each in new["groups"]]

    def test_nothing(self) -> None:
        self.assertEqual((self.counts(), self.news().price()), ([], 1))

    def test_a_thousand_in_a_group(self) -> None:
        self.group("chess", 1200)
        self.assertEqual((self.counts(), self.news().price()), ([1000], 11))

    def test_ten_thousand_in_all(self) -> None:
        for number in range(16):
            self.group(f"g{number:02}", 700)
        self.assertEqual(self.counts(), [625] * 16)
        self.assertEqual(self.news().price(), 101)

    def test_some_in_each_of_many(self) -> None:
        for number in range(15):
            self.group(f"g{number:02}", 12)
        self.patch(user_stats, "MOST_IN_GROUPS", 100)
        self.assertEqual(self.counts(), [10] * 15)

    def test_friends_without_news(self) -> None:
        """Each is looked at, by `posts` too."""
        relate(self.ann.id, Relationship.FRIEND, crowd(250), Relationship.FRIEND)
        self.assertEqual(self.news().price(), 3)
        self.assertEqual(self.call(unread.of_friends, self.ann).price(), 3)

    def test_own_posts_among_them(self) -> None:
        """They are not told, and looked at all the same."""
        self.group("chess", 3)
        for _ in range(300):
            self.call(threads.post_in_group, self.ann, "chess", "hello")
        self.assertEqual((self.counts(), self.news().price()), ([3], 4))
        Membership.update(read=200).where(Membership.user == self.ann.id).execute()
        self.assertEqual((self.counts(), self.news().price()), ([], 2))


@on_both_databases
class OnLogin(RulesCase):
    """The hook: in the transaction that begins the session, when there is a place."""

    def log_in_with(self, hook: accounts.OnLogin, new: bool = True) -> placement.Search:
        search: placement.Search = self.call(
            accounts.log_in,
            "ann",
            "hash of ann",
            auth.digest(accounts.new_token()),
            None,
            500.0,
            placement.Look(new=new),
            on_login=hook,
        )
        return search

    def test_it_is_told_who_and_when_they_were_last_there(self) -> None:
        self.account("ann")
        ann = User.get().id
        told: list[tuple[int, float | None]] = []

        def hook(user: int, seen: float | None) -> Mapping[str, object]:
            told.append((user, seen))
            return {"a": 1}

        begun = self.log_in_with(hook)
        assert isinstance(begun, accounts.LoginResult)
        self.assertEqual(begun.members, {"a": 1})
        User.update(seen=400.0).execute()
        self.log_in_with(hook)
        self.assertEqual(told, [(ann, None), (ann, 400.0)])

    def test_not_for_who_waits_for_a_place(self) -> None:
        self.account("ann")
        told: list[int] = []

        def hook(user: int, seen: float | None) -> Mapping[str, object]:
            told.append(user)
            return {}

        self.assertIsNone(self.log_in_with(hook, new=False).seat)
        self.assertEqual(told, [])
