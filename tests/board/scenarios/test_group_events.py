"""Events of groups: who hears them, at which server, and who no longer does (`docs/protocol.md`,
section 4)."""

from __future__ import annotations

import json
from inspect import signature
from typing import Any
from unittest import mock

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.commands.cost_limits import CostLimits
from bbs.core.errors import Unavailable
from bbs.delivery.broadcast import CHANNEL
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import SAFETY_FACTOR
from bbs.storage.models import User
from bbs.testing import Peer
from tests.slow_service import SlowService

SUCCESS = {"status": 0, "message": "Success!"}


class GroupEventsCase(SynchronousTestCase):
    """ann, who owns chess, and bob are at one app server, cat and dan at another; all but dan are
    in the group."""

    def setUp(self) -> None:
        self.service = SlowService()
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob", "cat", "dan"))
        self.do("create-group ann chess")
        for name in ("bob", "cat"):
            self.do(f"join-group {name} chess")

    def ask(self, line: str, peer: Peer | None = None) -> dict[str, Any]:
        """Ask with a name in the place of its token."""
        command, name, *rest = line.split(" ", 2)
        token = self.tokens[name]
        return (peer or self.service.at_home(token)).ask(" ".join([command, token, *rest]))

    def do(self, line: str, peer: Peer | None = None) -> None:
        self.assertEqual(self.ask(line, peer), SUCCESS)

    def asking(self, name: str) -> Peer:
        """A connection that listens and said `events`."""
        peer = self.service.listening(self.tokens[name])
        peer.ask("events")
        return peer

    def hears(self, name: str) -> bool:
        """Whether the server of somebody is subscribed to chess for them."""
        listeners: Any = self.service.serving(self.tokens[name]).serving.listeners
        channel = groups.channel_of(Group.get(Group.name == "chess").channel)
        user = User.get(User.name == name).id
        return user in listeners._channels._hearers.get(channel, ())

    def heard_channels(self) -> set[str]:
        """The channels that are heard at any server."""
        servers = self.service.servers.values()
        return {each.channel for server in servers for each in server.serving.home.bus.hearings}

    def look(self) -> None:
        """Let each server look once at what some of its users hear."""
        self.service.advance(2.0 * SAFETY_FACTOR)

    def event(self, kind: str, text: str, **members: object) -> dict[str, object]:
        of_group = {"event": kind, "group": "chess", **members}
        return {**of_group, "time": self.service.wall(), "text": text}


class Told(GroupEventsCase):
    def test_who_joins_and_leaves(self) -> None:
        ann, cat, dan = self.asking("ann"), self.asking("cat"), self.asking("dan")
        self.do("join-group dan chess", dan)
        joined = self.event("joined", "dan joined chess", id="dan")
        for peer in (ann, cat, dan):
            self.assertEqual(peer.heard(), [joined])
        also_dan = self.asking("dan")
        self.do("leave-group dan chess", dan)
        left = self.event("left", "dan left chess", id="dan")
        for peer in (ann, cat):
            self.assertEqual(peer.heard(), [left])
        # The one who left hears nothing more.
        self.do("send-group ann chess e4")
        self.do("set-topic ann chess Openings")
        self.assertEqual((dan.heard(), also_dan.heard()), ([], []))

    def test_a_topic(self) -> None:
        cat = self.asking("cat")
        self.do("set-topic ann chess  Openings")
        self.do("set-topic ann chess")
        told = [(each["event"], each["topic"], each["id"], each["text"]) for each in cat.heard()]
        self.assertEqual(
            told,
            [
                ("topic", " Openings", "ann", "ann set the topic of chess:  Openings"),
                ("topic", None, "ann", "ann removed the topic of chess"),
            ],
        )

    def test_an_invitation(self) -> None:
        dan = self.asking("dan")
        self.do("close-group ann chess")
        self.do("invite-group ann chess dan")
        expected = {"event": "invite", "from": "ann", "group": "chess"}
        self.assertEqual(dan.heard(), [{**expected, "text": "ann invites you to chess"}])
        self.do("join-group dan chess", dan)

    def test_not_who_has_not_asked(self) -> None:
        """Older clients see what they always saw."""
        cat = self.service.listening(self.tokens["cat"])
        for line in ("join-group dan chess", "leave-group dan chess", "set-topic ann chess x"):
            self.do(line)
        self.do("kick ann chess cat")
        self.assertEqual(cat.heard(), [])

    def test_what_it_costs(self) -> None:
        """An event is told to as many as a message, so it costs as many deliveries."""
        for line, members in (
            ("join-group dan chess", 4),
            ("leave-group dan chess", 3),
            ("set-topic ann chess x", 3),
            ("kick ann chess cat", 2),
        ):
            with mock.patch.object(CostLimits, "carried_out", autospec=True) as carried_out:
                self.do(line)
            [call] = carried_out.call_args_list
            charged = signature(CostLimits.carried_out).bind(*call.args, **call.kwargs).arguments
            deliveries = charged["costs"].deliveries(charged["result"])
            self.assertEqual(deliveries, members, line)


class Kicked(GroupEventsCase):
    """Who was removed hears nothing more of the group, at whichever server."""

    def setUp(self) -> None:
        super().setUp()
        self.ann = self.asking("ann")

    def check(self, name: str) -> None:
        peers = [self.asking(name), self.asking(name)]
        self.do("close-group ann chess")
        self.do(f"kick ann chess {name}", self.ann)
        text = f"ann removed {name} from chess"
        left = self.event("left", text, id=name, by="ann")
        self.assertEqual(self.ann.heard(), [left])
        for peer in peers:
            self.assertEqual(peer.heard(), [{**left, "you_left": "chess"}])
        self.assertFalse(self.hears(name))
        self.do("send-group ann chess e4")
        self.do("set-topic ann chess secret")
        self.do("invite-group ann chess dan")
        self.do("join-group dan chess")
        self.service.advance(60.0)
        for peer in peers:
            self.assertEqual(peer.heard(), [])

    def test_at_the_same_server(self) -> None:
        self.check("bob")

    def test_at_another_server(self) -> None:
        self.check("cat")

    def test_others_there_hear_it_still(self) -> None:
        self.do("join-group dan chess")
        dan, cat = self.asking("dan"), self.asking("cat")
        self.do("kick ann chess cat")
        self.do("set-topic ann chess x")
        self.assertEqual([each["event"] for each in dan.heard()], ["left", "topic"])
        self.assertEqual([each["event"] for each in cat.heard()], ["left"])

    def test_who_writes_at_that_moment(self) -> None:
        cat = self.asking("cat")
        self.service.hints.holds = True
        self.do("kick ann chess cat")
        self.assertEqual(self.ask("send-group cat chess e4", cat)["code"], "not-member")
        self.service.hints.holds = False
        for hint in self.service.hints.held:
            self.service.broker.deliver(hint)
        self.assertEqual([each["event"] for each in cat.heard()], ["left"])
        self.assertEqual([each["event"] for each in self.ann.heard()], ["left"])

    def test_a_lost_hint_costs_time_only(self) -> None:
        cat = self.asking("cat")
        with mock.patch.object(Bus, "tell_unhear"):
            self.do("kick ann chess cat")
        self.assertTrue(self.hears("cat"))
        # Messages are for members alone, whoever hears the channel.
        cat.heard()
        self.do("send-group ann chess e4")
        self.assertEqual(cat.heard(), [])
        self.look()
        self.assertFalse(self.hears("cat"))
        self.do("set-topic ann chess secret")
        self.assertEqual(cat.heard(), [])

    def test_a_broker_that_was_away(self) -> None:
        """When it is back, everybody has a turn at once."""
        self.do("join-group dan chess")
        peers = [self.asking(name) for name in ("cat", "dan")]
        with mock.patch("bbs.delivery.channels.CHECKED_AT_ONCE", 1):
            self.service.broker.away()
            for name in ("cat", "dan"):
                self.do(f"kick ann chess {name}")
            self.service.broker.back()
            self.service.clock.advance(0.1)
        self.assertEqual([self.hears(name) for name in ("cat", "dan")], [False, False])
        self.do("set-topic ann chess secret")
        self.assertEqual([peer.heard() for peer in peers], [[], []])

    def test_a_hint_that_proves_nothing(self) -> None:
        """It is a reason to look, and ends nothing by itself."""
        self.asking("cat")
        channel = Group.get(Group.name == "chess").channel
        cat = User.get(User.name == "cat").channel
        topic, to = self.service.address(cat, self.tokens["cat"])
        hint = {"event": "unhear", "id": 0, "_unhear": f"group.{channel}", **to}
        client = self.service.broker.client()
        client.publish(topic, json.dumps(hint).encode())
        self.assertTrue(self.hears("cat"))
        Membership.delete().where(Membership.user == User.get(User.name == "cat").id).execute()
        client.publish(topic, json.dumps(hint).encode())
        self.assertFalse(self.hears("cat"))

    def test_servers_of_before_look_for_messages(self) -> None:
        """Their clients are sent nothing that they do not know."""
        self.asking("cat")
        self.service.hints.holds = True
        self.do("kick ann chess cat")
        bodies = [json.loads(each.body) for each in self.service.hints.held]
        self.assertEqual([each["id"] for each in bodies], [0, 0, 0])


class Changes(GroupEventsCase):
    """Looks at what users hear, beside commands that change it."""

    def setUp(self) -> None:
        super().setUp()
        self.cat = self.asking("cat")

    def test_a_group_that_is_joined_during_a_look(self) -> None:
        """What the look had found before is older than what the command did."""
        self.service.slow.hold(groups.channels_of)
        self.look()
        for call in self.service.slow.waiting:
            call.go_on(lambda: self.do("create-group cat go"))
        self.cat.heard()
        self.do("set-topic cat go Joseki")
        self.assertEqual([each["group"] for each in self.cat.heard()], ["go"])

    def test_a_group_that_is_left_during_a_look(self) -> None:
        self.service.slow.hold(groups.channels_of)
        self.look()
        for call in self.service.slow.waiting:
            call.go_on(lambda: self.do("leave-group cat chess"))
        self.do("set-topic ann chess secret")
        self.assertEqual(self.cat.heard(), [])

    def test_who_goes_during_a_look(self) -> None:
        self.do("create-group ann go")
        go, cat = Group.get(Group.name == "go"), User.get(User.name == "cat")
        Membership.insert(group=go.id, user=cat.id, after=0).execute()
        self.service.slow.hold(groups.channels_of)
        self.look()
        for call in self.service.slow.waiting:
            call.go_on(lambda: self.cat.protocol.connectionLost(Failure(ConnectionLost())))
        self.assertEqual(self.heard_channels(), {CHANNEL})

    def test_a_group_that_was_joined_elsewhere(self) -> None:
        self.do("create-group ann go")
        go, cat = Group.get(Group.name == "go"), User.get(User.name == "cat")
        Membership.insert(group=go.id, user=cat.id, after=0).execute()
        self.look()
        self.do("set-topic ann go Joseki")
        self.assertEqual([each["group"] for each in self.cat.heard()], ["go"])

    def test_everybody_has_a_turn(self) -> None:
        with mock.patch("bbs.delivery.channels.CHECKED_AT_ONCE", 1):
            dan = self.asking("dan")
            with mock.patch.object(Bus, "tell_unhear"):
                self.do("join-group dan chess")
                for name in ("cat", "dan"):
                    self.do(f"kick ann chess {name}")
            self.look()
            self.look()
        self.assertEqual([self.hears(name) for name in ("cat", "dan")], [False, False])
        self.assertTrue(dan)

    def test_while_the_database_is_away(self) -> None:
        with mock.patch.object(Bus, "tell_unhear"):
            self.do("kick ann chess cat")
        self.service.slow.hold(groups.channels_of)
        self.look()
        for call in self.service.slow.waiting:
            call.fail(Unavailable())
        self.service.slow.hold_no_more()
        self.assertTrue(self.hears("cat"))
        self.look()
        self.assertFalse(self.hears("cat"))


class Deleted(GroupEventsCase):
    def test_the_owners_account(self) -> None:
        self.do("close-group ann chess")
        self.assertEqual(self.ask("open-group bob chess")["code"], "not-the-owner")
        self.assertEqual(self.service.peer().ask(f"delete {self.tokens['ann']}"), SUCCESS)
        [entry] = self.ask("groups dan")["group"]
        self.assertEqual((entry["owner"], entry["private"]), ("bob", True))
        self.do("open-group bob chess")

    def test_members_are_told_and_hear_nothing_more(self) -> None:
        ann, also_ann, cat = self.asking("ann"), self.asking("ann"), self.asking("cat")
        channel = Group.get(Group.name == "chess").channel
        self.do("delete-group ann chess", ann)
        text = "ann deleted chess"
        left = self.event("left", text, id=None, by="ann", you_left="chess")
        self.assertEqual((also_ann.heard(), cat.heard()), ([], [left]))
        self.look()
        self.assertNotIn(groups.channel_of(channel), self.heard_channels())
        self.do("create-group dan chess")
        self.do("set-topic dan chess x")
        for peer in (ann, also_ann, cat):
            self.assertEqual(peer.heard(), [])

    def test_with_posts(self) -> None:
        """The reply comes when all is gone."""
        with mock.patch.object(groups, "REMOVED_AT_ONCE", 1):
            self.do("delete-group ann chess")
        self.assertEqual((Group.select().count(), Membership.select().count()), (0, 0))
