"""Several operators, and the person whom it is about, at the same moment: on SQLite in two
processes, on MySQL in threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bbs.board import board
from bbs.board.announcements import rules as announcements
from bbs.board.announcements.tables import Announcement
from bbs.board.groups import groups
from bbs.board.groups import operators as of_groups
from bbs.board.groups.tables import Group
from bbs.board.messages.tables import Inbox
from bbs.board.posts import operators as of_posts
from bbs.board.posts import posts
from bbs.core.values import Tally
from bbs.rules import accounts, fleet_admin, fleet_transitions, membership, page_history, user_admin
from bbs.rules.fleet_admin import By
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.rules.placement import Look
from bbs.rules.user_admin import NoSuchPerson
from bbs.storage.models import News, OutboxEntry, Place, Session, Suspension, User
from tests.database_case import on_both_databases
from tests.integration.contestants import ROUNDS, SUCCESS, Call, contestants, each, once
from tests.integration.test_concurrency import ContestCase


def in_time(deed: Callable[..., object], *arguments: object) -> bool:
    """Do it, if there is somebody yet; whether there was."""
    try:
        deed(*arguments)
    except NoSuchPerson:
        return False
    return True


def announced(text: str, now: float) -> bool:
    """Announce a text; whether there was room for it."""
    try:
        announcements.add(text, now)
    except announcements.TooMany:
        return False
    return True


def removed(post: int) -> bool:
    """Remove a post; whether it was there."""
    try:
        of_posts.remove_post(post)
    except of_posts.NoSuchPost:
        return False
    return True


def follow(last: int, call: Call) -> list[int]:
    """Read the news behind the id `last`, and again and again behind the last one; their ids."""
    ids: list[int] = []
    for _ in range(50):
        ids += [each.id for each in call(page_history.news_behind, max([last, *ids])).value]
    return ids


@on_both_databases
class OperatorsAtOnce(ContestCase):
    def by(self, operator: str) -> By:
        return By(operator, "bbs user", self.now)

    def test_all_suspend_one(self) -> None:
        """One suspension is in force, of one of them, and each deed is recorded."""
        self.account("ann")
        with contestants(self.database, self.many) as together:
            for number in range(ROUNDS):
                self.log_in("ann")
                names = [f"{number}.{each}" for each in range(self.many)]
                outcomes = together(
                    *(once(user_admin.suspend, self.by(name), "ann", None, name) for name in names)
                )
                self.assertEqual(self.texts(outcomes), [SUCCESS] * self.many)
                [suspension] = Suspension.select()
                self.assertIn(suspension.reason, names)
                deeds = self.call(fleet_admin.actions, self.many)
                self.assertEqual(sorted(deed.operator for deed in deeds), sorted(names))
                # Whoever was first ended the session.
                self.assertEqual(sorted(each.value.sessions for each in outcomes)[-2:], [0, 1])
                self.assertEqual(Session.select().count(), 0)
                self.call(user_admin.resume, self.by("liz"), "ann")
        self.assertEqual(OutboxEntry.select().count(), ROUNDS * self.many)
        self.check_places()

    def test_who_logs_in_while_suspended(self) -> None:
        """Whoever of the two is first: in the end there is no session."""
        self.account("ann")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                log_in = once(
                    accounts.log_in,
                    "ann",
                    "hash of ann",
                    f"{number:064}",
                    None,
                    self.now,
                    Look(new=True),
                )
                outcomes = together(once(user_admin.suspend, self.by("liz"), "ann"), log_in)
                self.assertEqual(outcomes[0].text, SUCCESS)
                self.assertIn(outcomes[1].text, (SUCCESS, "This account is suspended"))
                self.assertEqual((Session.select().count(), Place.select().count()), (0, 0))
                self.call(user_admin.resume, self.by("liz"), "ann")
        self.check_places()

    def test_who_logs_in_while_kicked(self) -> None:
        """Who has a session in the end has a place, and who has none has none."""
        self.account("ann")
        with contestants(self.database, 2) as together:
            for number in range(2 * ROUNDS):
                session = ("hash of ann", f"{number:064}", None, self.now, Look(new=True))
                log_in = once(accounts.log_in, "ann", *session)
                outcomes = together(once(user_admin.kick, self.by("liz"), "ann"), log_in)
                self.assertEqual(self.texts(outcomes), [SUCCESS] * 2)
                self.check_places()

    def test_one_deletes_and_others_do_what_else_there_is(self) -> None:
        with contestants(self.database, self.many) as together:
            for number in range(ROUNDS):
                name = f"user{number}"
                self.account(name)
                self.log_in(name)
                deeds = [
                    once(in_time, user_admin.kick, self.by("one"), name),
                    once(in_time, user_admin.set_password, self.by("two"), name, "other"),
                    once(in_time, user_admin.suspend, self.by("three"), name),
                ]
                deed = deeds[number % 3]
                delete = once(user_admin.delete, self.by("liz"), name, board.on_delete)
                outcomes = together(delete, *[deed] * (self.many - 1))
                self.assertEqual(self.texts(outcomes), [SUCCESS] * self.many)
                done = 1 + [each.value for each in outcomes].count(True)
                # Who came too late did nothing, and nothing is recorded of it.
                recorded = self.call(fleet_admin.actions, 1000)
                self.assertEqual(sum(deed.person == name for deed in recorded), done)
                self.assertEqual((User.select().count(), Suspension.select().count()), (0, 0))
        self.check_places()

    def test_all_announce_something(self) -> None:
        with contestants(self.database, self.many) as together:
            for _ in range(ROUNDS):
                Announcement.delete().execute()
                for number in range(announcements.MOST - 1):
                    self.call(announcements.add, f"{number}", self.now)
                outcomes = together(
                    *(once(announced, f"{each}", self.now) for each in range(self.many))
                )
                self.assertEqual([each.value for each in outcomes].count(True), 1)
                self.assertEqual(Announcement.select().count(), announcements.MOST)

    def test_all_remove_one_post(self) -> None:
        """One of them does, and it is counted once."""
        ann = self.person("ann")
        with contestants(self.database, self.many) as together:
            for _ in range(ROUNDS):
                number = self.call(posts.post, ann, "hello").number
                outcomes = together(*[once(removed, number)] * self.many)
                self.assertEqual([each.value for each in outcomes].count(True), 1)
                self.assertEqual(
                    [(each.posts, each.post_bytes) for each in Inbox.select()], [(0, 0)]
                )

    def test_two_groups_get_one_name(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann = self.person(f"ann{number}")
                for name in ("a", "b"):
                    self.call(groups.create, ann, f"{name}{number}")
                ids = [each.id for each in Group.select().order_by(Group.id.desc()).limit(2)]
                name = f"chess{number}"
                outcomes = together(*(once(of_groups.rename_group, id, name) for id in ids))
                self.assertEqual(self.texts(outcomes), [SUCCESS, f"{name} already exist"])
                self.assertEqual(Group.select().where(Group.name == name).count(), 1)

    def test_who_follows_the_news_misses_none(self) -> None:
        """Whoever stores them: they are committed in the order of their ids."""
        me = membership.Member("k" * 32, "here")
        self.call(membership.enroll, me)
        self.call(membership.observe, me, Tally())
        launch = (fleet_admin.launch, self.by("liz"), 2, 10**6)
        keep = (fleet_transitions.add_launches, me, 2, "test", 2, 10**6, self.now)
        away, back = (
            (page_history.add_seen, [FleetEvent(kind, self.now)], 10**15)
            for kind in (EventKind.BROKER_AWAY, EventKind.BROKER_BACK)
        )
        deeds = [each(*[launch, keep, away, back] * 3)]
        if self.on_mysql:
            deeds = [each(*[launch] * 5), each(*[keep] * 5), *[each(*[away, back] * 5)] * 2]
        last = 0
        with contestants(self.database, len(deeds) + 1) as together:
            for _ in range(ROUNDS):
                *_, seen = together(*deeds, partial(follow, last))
                stored = [row.id for row in News.select().where(News.id > last)]
                later = [
                    each.id for each in self.call(page_history.news_behind, max([last, *seen]))
                ]
                self.assertEqual(seen + later, sorted(stored))
                last = stored[-1]
