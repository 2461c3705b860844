"""Places: who is served where, and that no server takes more people than its capacity."""

from __future__ import annotations

from bbs.core.addresses import counted_as
from bbs.core.values import State
from bbs.rules import accounts, placement, servers
from bbs.rules.placement import LEAST_SHARE, Look, Move, Search, UnusedPlace
from bbs.storage.models import LoginServer, Place, Server, Session, User, Waiter
from tests.database_case import RulesCase, on_both_databases

NEW = Look(new=True)
HELD = Look(new=False)


class PlacesCase(RulesCase):
    """Accounts without number, and no app server but those that a test makes."""

    def setUp(self) -> None:
        super().setUp()
        Server.delete().execute()

    def user(self, name: str = "ann") -> int:
        """An account; returns its id."""
        self.account(name)
        return int(User.get(User.name == name).id)

    def users(self, count: int) -> list[int]:
        return [self.user(f"user{number}") for number in range(count)]

    def enter(self, user: int, look: Look = NEW) -> Search:
        return self.call(placement.enter, user, look)

    def lose(self, server: str) -> list[Move]:
        Server.update(state=State.LOST).where(Server.id == server).execute()
        return self.call(placement.vacate, server)

    def where(self, user: int) -> str | None:
        """The server of the user's place."""
        return Place.get(Place.user == user).server_id


@on_both_databases
class Entering(PlacesCase):
    def test_somebody_takes_people(self) -> None:
        self.assertFalse(self.call(placement.any_ready))
        servers.add("test", 10, 0.0)
        self.assertFalse(self.call(placement.any_ready))
        Server.update(state=State.READY).execute()
        self.assertTrue(self.call(placement.any_ready))

    def test_a_place(self) -> None:
        user, server = self.user(), self.ready_server(capacity=1)
        self.assertEqual(self.enter(user), Search(self.seat(server)))
        self.assertEqual((self.where(user), self.taken(server)), (server, 1))

    def test_the_one_held(self) -> None:
        user, server = self.user(), self.ready_server(capacity=1)
        for look in (NEW, NEW, HELD):
            self.assertEqual(self.enter(user, look), Search(self.seat(server)))
        self.assertEqual(self.taken(server), 1)

    def test_none_held_and_none_wanted(self) -> None:
        user, server = self.user(), self.ready_server(capacity=1)
        self.assertEqual(self.enter(user, HELD), Search(None))
        self.assertEqual((Place.select().count(), self.taken(server)), (0, 0))

    def test_no_server_takes_more_than_its_capacity(self) -> None:
        servers = [self.ready_server(capacity=capacity) for capacity in (1, 3, 2)]
        seats = [self.enter(user).seat for user in self.users(9)]
        self.assertEqual(seats[6:], [None] * 3)
        self.assertEqual([self.taken(server) for server in servers], [1, 3, 2])

    def test_only_servers_that_are_ready(self) -> None:
        for state in State:
            if state is not State.READY:
                server = self.ready_server(capacity=1)
                Server.update(state=state).where(Server.id == server).execute()
        self.assertEqual(self.enter(self.user()), Search(None))

    def test_the_fullest_with_room(self) -> None:
        """So that the emptiest fall idle."""
        first, second, third = users = self.users(3)
        a, b = self.ready_server(capacity=2), self.ready_server(capacity=2)
        for user in users:
            self.enter(user)
        self.assertEqual(sorted((self.taken(a), self.taken(b))), [1, 2])
        fuller = self.where(first)
        self.call(placement.give_back, third)
        self.call(placement.give_back, second)
        self.enter(third)
        self.assertEqual(self.where(third), fuller)

    def test_not_one_that_is_to_be_replaced_if_there_is_another(self) -> None:
        """Who is on it would have to move."""
        first, second, third = self.users(3)
        old = self.ready_server(capacity=2)
        self.enter(first)
        Server.update(replace_asked=True).execute()
        new = self.ready_server(capacity=1)
        self.enter(second)
        self.enter(third)
        self.assertEqual([self.where(user) for user in (first, second, third)], [old, new, old])

    def test_the_row_of_somebody_who_waited(self) -> None:
        LoginServer.insert(id="login", identity="").execute()
        for waiter in ("w1", "w2"):
            Waiter.insert(id=waiter, login_server="login", name="ann").execute()
        user = self.user()
        self.enter(user, Look(new=True, waiter="w1"))
        self.assertEqual(Waiter.select().count(), 2)
        self.ready_server(capacity=1)
        self.enter(user, Look(new=True, waiter="w1"))
        self.assertEqual([waiter.id for waiter in Waiter.select()], ["w2"])


@on_both_databases
class Taking(PlacesCase):
    """`locate`: somebody online asks where to go."""

    def setUp(self) -> None:
        super().setUp()
        self.user_id = self.user()
        self.server = self.ready_server(capacity=1)
        self.enter(self.user_id)

    def take(self, look: Look = NEW) -> Search:
        return self.call(placement.take, self.user_id, look)

    def test_the_one_held(self) -> None:
        for look in (NEW, HELD):
            self.assertEqual(self.take(look), Search(self.seat(self.server)))

    def test_a_new_one_when_the_server_is_lost(self) -> None:
        self.lose(self.server)
        self.assertEqual(self.take(), Search(None, online=True))
        other = self.ready_server(capacity=1)
        self.assertEqual(self.take(HELD), Search(None, online=True))
        self.assertEqual(self.take(), Search(self.seat(other), online=True))
        self.assertEqual(self.take(), Search(self.seat(other)))
        self.assertEqual((self.taken(self.server), self.taken(other)), (0, 1))

    def test_the_one_held_on_a_server_that_drains(self) -> None:
        """It serves until there is a place elsewhere, so nobody who has a place waits."""
        Server.update(state=State.DRAINING).execute()
        self.ready_server(capacity=1)
        self.assertEqual(self.take(), Search(self.seat(self.server)))

    def test_a_new_one_when_the_server_no_longer_serves(self) -> None:
        """Whoever looks need not wait until the place there has been taken away."""
        Server.update(state=State.GONE).execute()
        other = self.ready_server(capacity=1)
        self.assertEqual(self.take(HELD), Search(None, online=True))
        self.assertEqual(self.taken(self.server), 0)
        self.assertEqual(self.take(), Search(self.seat(other), online=True))
        self.assertEqual(self.taken(other), 1)

    def test_a_new_one_when_the_row_of_the_server_is_gone(self) -> None:
        Server.delete().execute()
        other = self.ready_server(capacity=1)
        self.assertEqual(self.take(), Search(self.seat(other), online=True))

    def test_somebody_who_has_gone_offline_gets_none(self) -> None:
        """Nobody would ever give it back."""
        self.call(placement.give_back, self.user_id)
        self.refused("Not login yet", placement.take, self.user_id, NEW)
        self.assertEqual((Place.select().count(), self.taken(self.server)), (0, 0))


@on_both_databases
class Sharing(PlacesCase):
    """A network has a limit on its places."""

    HERE, THERE = "192.0.2.1", "198.51.100.1"

    def setUp(self) -> None:
        super().setUp()
        self.ready_server(capacity=20)

    def come(self, user: int, origin: str, most: int | None = 2, new: bool = True) -> Search:
        return self.enter(user, Look(new=new, origin=origin, most=most))

    def test_the_limit_is_for_each_network(self) -> None:
        users = self.users(5)
        for user in users[:2]:
            self.assertIsNotNone(self.come(user, self.HERE).seat)
        search = self.come(users[2], self.HERE)
        self.assertEqual((search.seat, search.online, search.places), (None, False, 2))
        self.assertIsNotNone(self.come(users[3], self.THERE).seat)
        self.assertIsNotNone(self.come(users[4], "", most=None).seat)
        self.assertIsNone(self.come(users[2], self.HERE).seat)

    def test_a_place_that_is_free_again(self) -> None:
        first, second, third = self.users(3)
        self.come(first, self.HERE)
        self.come(second, self.HERE)
        self.call(placement.give_back, first)
        self.assertEqual(self.come(third, self.HERE, new=False).places, 1)
        self.assertIsNotNone(self.come(third, self.HERE).seat)

    def test_the_place_held_is_no_new_one(self) -> None:
        first, second = self.users(2)
        for user in (first, second):
            self.come(user, self.HERE)
        self.assertIsNotNone(self.come(first, self.HERE).seat)

    def test_all_addresses_of_a_site_are_one_network(self) -> None:
        everybody = self.users(18)
        for site in ("2001:db8:1", "2001:db8:0", "2001:0:0"):
            users = [everybody.pop() for _ in range(6)]
            for user, subnet in zip(users[:3], ("0", "5", "ffff"), strict=True):
                seat = self.come(user, counted_as(f"{site}:{subnet}::1"), most=3).seat
                self.assertIsNotNone(seat, site)
            for user, subnet in zip(users[3:5], ("0", "77"), strict=True):
                self.assertIsNone(self.come(user, counted_as(f"{site}:{subnet}::1"), most=3).seat)
            last = int(site[-1]) + 2
            other = counted_as(f"{site[:-1]}{last}:5::1")
            self.assertIsNotNone(self.come(users[5], other, most=1).seat)

    def test_somebody_away_takes_a_new_one(self) -> None:
        """From where the user is then."""
        first, second, third = self.users(3)
        self.come(first, self.HERE)
        place = Place.get(Place.user == first)
        assert place.server_id is not None
        self.call(placement.leave_unused, place.server_id, {first: place.asked})
        for user in (second, third):
            self.come(user, self.HERE)
        self.assertIsNone(self.come(first, self.HERE).seat)
        self.assertIsNotNone(self.come(first, self.THERE).seat)
        self.assertEqual(Place.get(Place.user == first).origin, self.THERE)

    def test_somebody_whose_server_is_lost_gets_another(self) -> None:
        users = self.users(3)
        lost = self.ready_server(capacity=3)
        Place.insert(user=users[0], server=lost, origin=self.HERE).execute()
        for user in users[1:]:
            self.come(user, self.HERE)
        Server.update(state=State.LOST).where(Server.id == lost).execute()
        self.assertIsNotNone(self.come(users[0], self.HERE).seat)

    def test_coming_back_asks_the_login_server_from_a_network_with_many(self) -> None:
        users = self.users(LEAST_SHARE + 1)
        for user in users:
            self.come(user, self.HERE, most=None)
        server = self.where(users[0])
        assert server is not None
        for user in users[:2]:
            asked = Place.get(Place.user == user).asked
            self.call(placement.leave_unused, server, {user: asked})
        self.assertIsNotNone(self.call(placement.come_back, users[0], server))
        self.assertIsNone(self.call(placement.come_back, users[1], server))
        Place.update(origin="").where(Place.user == users[1]).execute()
        self.assertIsNotNone(self.call(placement.come_back, users[1], server))


@on_both_databases
class Instead(PlacesCase):
    """Somebody new gets the place that another does not use."""

    def setUp(self) -> None:
        super().setUp()
        self.old, self.new = self.users(2)
        self.full = self.ready_server(capacity=1)
        self.enter(self.old, Look(new=True, origin="192.0.2.1"))
        Session.insert(digest="1" * 64, user=self.old, used=self.now - 1000.0).execute()
        asked = Place.get(Place.user == self.old).asked
        self.unused = UnusedPlace(self.old, self.full, asked, "192.0.2.1", self.now - 1000.0)
        self.look = Look(new=True, origin="198.51.100.1", instead=self.unused)

    def test_the_other_is_away(self) -> None:
        self.assertEqual(self.enter(self.new, self.look).seat, self.seat(self.full))
        place = Place.get(Place.user == self.old)
        self.assertEqual((place.server_id, place.away), (None, True))
        self.assertEqual((self.where(self.new), self.taken(self.full)), (self.full, 1))

    def test_not_while_there_is_room(self) -> None:
        self.ready_server(capacity=1)
        self.assertIsNotNone(self.enter(self.new, self.look).seat)
        self.assertEqual(self.where(self.old), self.full)

    def test_not_if_the_other_has_come_back(self) -> None:
        for comes_back in (
            Session.update(used=self.now),
            Place.update(asked=Place.asked + 1),
            Session.update(used=self.now - 1000.0),
        ):
            comes_back.execute()
            self.assertIsNone(self.enter(self.new, self.look).seat)
            self.assertEqual((self.where(self.old), self.taken(self.full)), (self.full, 1))

    def test_once_only(self) -> None:
        """Two login servers saw the same."""
        self.enter(self.new, self.look)
        another = self.user("another")
        self.assertIsNone(self.enter(another, self.look).seat)
        self.assertEqual(self.taken(self.full), 1)

    def test_not_if_the_newcomer_has_one(self) -> None:
        other = self.ready_server(capacity=1)
        self.enter(self.new)
        self.assertEqual(self.enter(self.new, self.look).seat, self.seat(other))
        self.assertEqual(self.where(self.old), self.full)


@on_both_databases
class GivingBack(PlacesCase):
    def test_it_is_free_for_others(self) -> None:
        ann, bob = self.users(2)
        server = self.ready_server(capacity=1)
        self.enter(ann)
        self.assertIsNone(self.enter(bob).seat)
        self.call(placement.give_back, ann)
        self.assertEqual(self.taken(server), 0)
        self.assertEqual(self.enter(bob).seat, self.seat(server))

    def test_once_only(self) -> None:
        ann, bob = self.users(2)
        server = self.ready_server(capacity=2)
        self.enter(ann)
        self.enter(bob)
        for _ in range(3):
            self.call(placement.give_back, ann)
        self.assertEqual(self.taken(server), 1)

    def test_a_place_without_a_server(self) -> None:
        user, server = self.user(), self.ready_server(capacity=1)
        self.enter(user)
        self.lose(server)
        self.call(placement.give_back, user)
        self.assertEqual((Place.select().count(), self.taken(server)), (0, 0))


@on_both_databases
class Whereabouts(PlacesCase):
    def test_served_moving_and_offline(self) -> None:
        served, moving, leaving, offline = self.users(4)
        lost, well = self.ready_server(capacity=1), self.ready_server(capacity=1)
        draining = self.ready_server(capacity=1)
        for user, server in ((served, well), (moving, lost), (leaving, draining)):
            Place.insert(user=user, server=server).execute()
        self.lose(lost)
        Server.update(state=State.DRAINING).where(Server.id == draining).execute()
        found = self.call(placement.whereabouts, {served, moving, leaving, offline})
        self.assertEqual(found[served], self.seat(well))
        self.assertEqual({moving, leaving, served}, set(found))
        self.assertEqual(found[leaving], self.seat(draining))
        self.assertEqual(self.call(placement.whereabouts, []), {})


@on_both_databases
class Moving(PlacesCase):
    """People whose server goes."""

    def channels(self, users: list[int]) -> list[str]:
        return [User.get(User.id == user).channel for user in users]

    def test_everybody_finds_another(self) -> None:
        users = self.users(3)
        old = self.ready_server(capacity=3)
        for user in users:
            self.enter(user)
        servers = [self.ready_server(capacity=1), self.ready_server(capacity=2)]
        moves = self.lose(old)
        self.assertEqual(sorted(move.channel for move in moves), sorted(self.channels(users)))
        self.assertEqual(
            sorted(str(move.seat and move.seat.server) for move in moves),
            sorted([servers[0], servers[1], servers[1]]),
        )
        self.assertEqual([self.taken(server) for server in (old, *servers)], [0, 1, 2])

    def test_never_to_where_they_were(self) -> None:
        """Even if that server should still be ready."""
        user, old = self.user(), self.ready_server(capacity=2)
        self.enter(user)
        Server.update(state=State.DRAINING).execute()
        self.assertEqual(
            self.call(placement.vacate, old), [Move(self.channels([user])[0], None, old)]
        )
        self.assertIsNone(self.where(user))

    def test_some_wait_and_settle_later(self) -> None:
        users = self.users(3)
        old = self.ready_server(capacity=3)
        for user in users:
            self.enter(user)
        new = self.ready_server(capacity=1)
        moves = self.lose(old)
        self.assertEqual(len([move for move in moves if move.seat]), 1)
        self.assertEqual(self.call(placement.settle), [])
        later = self.ready_server(capacity=10)
        moves = self.call(placement.settle)
        self.assertEqual([move.seat for move in moves], [self.seat(later)] * 2)
        self.assertEqual([self.taken(server) for server in (old, new, later)], [0, 1, 2])
        self.assertEqual(self.call(placement.settle), [])

    def test_where_there_is_no_room_nobody_looks_again(self) -> None:
        old = self.ready_server(capacity=5)
        users = self.users(5)
        for user in users:
            self.enter(user)
        self.ready_server(capacity=2)
        said: list[str] = []
        self.database.peewee.query_hooks.append(lambda event: said.append(event.sql))
        moves = self.lose(old)
        self.database.peewee.query_hooks.clear()
        self.assertEqual([move.seat is not None for move in moves], [True] * 2 + [False] * 3)
        self.assertEqual({move.channel for move in moves}, {*self.channels(users)})
        # For each who found some; and for one who did not, on servers that are to be replaced too.
        looks = [sql for sql in said if sql.startswith("SELECT") and "capacity" in sql]
        self.assertEqual(len(looks), 2 + 2)

    def test_settling_a_few_at_a_time(self) -> None:
        users = self.users(5)
        for user in users:
            Place.insert(user=user, server=None).execute()
        server = self.ready_server(capacity=10)
        settled = [len(self.call(placement.settle, most=2)) for _ in range(4)]
        self.assertEqual(settled, [2, 2, 1, 0])
        self.assertEqual(self.taken(server), 5)

    def test_who_goes_offline_meanwhile_is_not_placed(self) -> None:
        users = self.users(2)
        old = self.ready_server(capacity=2)
        for user in users:
            self.enter(user)
        self.lose(old)
        self.call(placement.give_back, users[0])
        new = self.ready_server(capacity=2)
        self.call(placement.settle)
        self.assertEqual(self.taken(new), 1)

    def test_an_empty_server(self) -> None:
        server = self.ready_server(capacity=2)
        self.assertEqual(self.call(placement.vacate, server), [])
        self.assertEqual(self.call(placement.vacate, "no server"), [])


@on_both_databases
class WithSessions(RulesCase):
    def test_a_session_says_where_to_go_after_a_move(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        Server.update(state=State.LOST).execute()
        self.call(placement.vacate, self.server)
        ann = self.caller(token)
        self.assertIsNone(ann.server)
        other = self.ready_server(capacity=1, host="other")
        self.call(placement.take, ann.id, NEW)
        self.assertEqual(self.caller(token).server, other)
        seats = self.call(placement.whereabouts, [ann.id])
        self.assertEqual(seats, {ann.id: self.seat(other, "other")})
        self.call(accounts.log_out, ann)
        self.assertEqual((self.taken(self.server), self.taken(other)), (0, 0))


@on_both_databases
class MovingOff(PlacesCase):
    def test_as_many_as_there_are_other_places(self) -> None:
        draining = self.ready_server(capacity=3)
        for user in self.users(3):
            self.enter(user)
        Server.update(state=State.DRAINING).execute()
        other = self.ready_server(capacity=2)
        moves = self.call(placement.move_off, draining)
        self.assertEqual([move.seat for move in moves], [self.seat(other)] * 2)
        self.assertEqual((self.taken(draining), self.taken(other)), (1, 2))
        self.assertEqual(Place.select().where(Place.server == draining).count(), 1)
        self.assertEqual(self.call(placement.move_off, draining), [])
