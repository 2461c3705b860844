"""What a conversation knows of people: who wrote meanwhile, talks that go on, short names, help."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence

from bbs.board import BBSClient
from bbs.board.client import face
from bbs.client.replies import ChatMessage
from bbs.storage.models import User
from bbs.testing import Link
from bbs.ui import completion, conversation
from bbs.ui.chat import Chat, Partner, is_for, is_said, partner_of
from bbs.ui.conversation import Conversation
from tests.client.case import APP_1, LOGIN
from tests.ui.test_conversation import FRIEND, GROUP, ConversationCase, Paper

TALKS = "* Talking to {}. Type end to stop; start a command with /"


class PeopleCase(ConversationCase):
    """Ann is logged in; bob is her friend, who is online, and elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.make_group("chess", "ann", "bob")
        self.bob = self.service.peer()
        self.elsewhere("login bob pw")
        self.type("login ann pw")

    def elsewhere(self, line: str) -> Mapping[str, object]:
        """A line on another connection, to the server that it is for."""
        peer = self.service.peer()
        reply = peer.ask(line)
        self.network.flush()
        return reply

    def on_the_board(self, *lines: str) -> None:
        """Lines on other connections to the app servers of those whom they name."""
        for line in lines:
            command, name, rest = line.split(" ", 2)
            token = self.service.people(name)[name]
            reply = self.service.at_home(token).ask(f"{command} {token} {rest}")
            self.assertEqual(reply["status"], 0)
        self.network.flush()

    def another(self) -> tuple[Conversation, Paper]:
        """Ann at another terminal."""
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        paper = Paper(client.vocabulary)
        conversation = Conversation(client, paper)
        self.addCleanup(conversation.close)
        self.result(conversation.carry_out("login ann pw"))
        self.network.flush()
        paper.lines.clear()
        self.paper.lines.clear()
        return conversation, paper

    def delete(self, name: str) -> None:
        self.run_rule(User.delete().where(User.name == name).execute)


class Waits(ConversationCase):
    """What is said at the login."""

    def test_nothing(self) -> None:
        said = ["Logged in as ann.", "* Try: invite NAME, talk NAME or help"]
        self.assertEqual(self.type("login ann pw"), said)

    def test_what_waits_and_what_came(self) -> None:
        self.register("dan")
        self.type("login bob pw")
        self.client.close()
        self.befriend("cat", "bob")
        self.invite("dan", "bob")
        self.send("cat", "bob", "one")
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.conversation = Conversation(client, self.paper)
        self.addCleanup(self.conversation.close)
        said = self.type("login bob pw")
        self.assertEqual(
            said,
            [
                "Logged in as bob.",
                "* 1 invitation waits: list-invite; 1 message came while you were away",
                "bob: cat → bob  one",
            ],
        )
        self.assertEqual(self.conversation.unread, {Partner(FRIEND, "cat"): 1})

    def test_a_terminal_that_was_forgotten_swallows_nothing(self) -> None:
        self.type("login ann pw")
        self.network.advance(100)
        self.send("bob", "ann", "are you there?")
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        here = Paper(client.vocabulary)
        conversation = Conversation(client, here)
        self.addCleanup(conversation.close)
        self.result(conversation.carry_out("login ann pw"))
        self.network.flush()
        self.assertIn("ann: bob → ann  are you there?", here.lines)

    def test_a_script_begins_where_it_always_did(self) -> None:
        self.type("login ann pw")
        self.assertEqual(self.asked("events"), [LOGIN, APP_1])
        (listen,) = [line for _, line in self.network.requests if line.startswith("listen")]
        self.assertEqual(len(listen.split()), 3)
        self.network.requests.clear()
        script = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(script.close)
        self.result(script.login("bob", "pw"))
        self.result(script.listen("bob", lambda user, message: None))
        (listen,) = [line for _, line in self.network.requests if line.startswith("listen")]
        self.assertEqual(len(listen.split()), 2)
        self.assertEqual(self.asked("events"), [])


class Talks(PeopleCase):
    def test_begins_with_what_was_said(self) -> None:
        self.send("bob", "ann", *(f"line {number}" for number in range(25)))
        said = self.type("talk bob")
        lines = [f"ann before: bob  line {number}" for number in range(5, 25)]
        self.assertEqual(said, [TALKS.format("bob"), "…", *lines])
        self.assertEqual(self.conversation.unread, {})

    def test_with_nothing_if_nothing_was_said(self) -> None:
        self.assertEqual(self.type("talk bob"), [TALKS.format("bob")])

    def test_in_a_group(self) -> None:
        self.send_group("bob", "chess", "e4")
        before = "ann before: #chess bob  e4"
        self.assertEqual(self.type("talk chess"), [TALKS.format("chess"), before])

    def test_of_two_with_the_same_name_that_which_is_meant(self) -> None:
        self.make_group("bob", "ann")
        self.send("bob", "ann", "hello")
        self.assertEqual(self.type("talk group bob"), [TALKS.format("bob")])
        self.assertEqual(self.type("/talk friend bob")[1:], ["ann before: bob  hello"])
        self.send_group("ann", "bob", "e4")
        before = ["ann before: #bob ann  e4"]
        self.assertEqual(self.type("/talk group bob")[1:], before)

    def test_what_comes_meanwhile_is_shown_once(self) -> None:
        self.send("bob", "ann", "before")
        let_go = self.hold("history")
        self.paper.lines.clear()
        self.begin("talk bob")
        self.send("bob", "ann", "meanwhile")
        let_go()
        lines = ["ann: bob → ann  meanwhile", TALKS.format("bob")]
        self.assertEqual(self.paper.lines, [*lines, "ann before: bob  before"])

    def test_without_what_cannot_be_had_now(self) -> None:
        self.answer("history", {"status": 1, "message": "Service unavailable", "code": "x"})
        self.assertEqual(self.type("talk bob"), [TALKS.format("bob")])
        self.answer("history", {"status": 0, "history": ["nonsense"]})
        self.assertEqual(self.type("/talk bob"), [TALKS.format("bob")])

    def test_given_up(self) -> None:
        self.hold("history")
        self.paper.lines.clear()
        running = self.begin("talk bob")
        running.cancel()
        self.network.flush()
        self.assertTrue(self.successResultOf(running))
        self.assertEqual(self.paper.lines, ["* Given up."])
        self.assertIsNone(self.conversation.talk)

    def test_nobody_talks_who_was_logged_out_meanwhile(self) -> None:
        let_go = self.hold("history")
        self.paper.lines.clear()
        running = self.begin("talk bob")
        self.log_out("ann")
        let_go()
        self.network.advance(0.1)
        self.successResultOf(running)
        self.assertIsNone(self.conversation.talk)
        self.assertEqual(self.paper.lines, ["* ann was logged out."])

    def test_an_older_server_remembers_nothing(self) -> None:
        self.client.close()
        self.be_old()
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.conversation = Conversation(self.client, self.paper)
        self.addCleanup(self.conversation.close)
        self.type("login ann pw")
        self.network.requests.clear()
        self.assertEqual(self.type("talk bob"), [TALKS.format("bob")])
        self.assertEqual(self.asked("history"), [])

    def test_who_had_the_name_once_is_told(self) -> None:
        self.send("bob", "ann", "I was bob")
        self.delete("bob")
        self.register("bob", password="pw")
        self.befriend("ann", "bob")
        said = self.type("talk bob")
        self.assertEqual(said[1:], ["ann before: bob (no more)  I was bob"])

    def test_a_history_that_is_asked_for(self) -> None:
        self.assertEqual(self.type("history bob"), ["No messages"])
        self.send("bob", "ann", *(f"line {number}" for number in range(60)))
        said = self.type("history bob")
        self.assertEqual(len(said), 51)
        self.assertEqual(self.conversation.unread, {})
        self.assertEqual(said[:2], ["…", "ann before: bob  line 10"])
        self.assertEqual(len(self.asked("more")), 0)
        self.assertEqual(self.type("history cat"), ["cat is not your friend"])

    def test_who_is_left_is_talked_to_no_more_and_not_unread(self) -> None:
        self.befriend("ann", "cat")
        self.type("create-group go")
        for parting, talk in (
            ("unfriend bob", Partner(FRIEND, "bob")),
            ("block cat", Partner(FRIEND, "cat")),
            ("leave-group go", Partner(GROUP, "go")),
        ):
            self.type(f"talk {talk.name}")
            self.assertNotIn("Success!", self.type(f"/{parting}"))
            self.assertIsNone(self.conversation.talk)
        self.send_group("bob", "chess", "e4")
        self.assertEqual(self.conversation.unread, {Partner(GROUP, "chess"): 1})
        self.type("leave-group chess")
        self.assertEqual(self.conversation.unread, {})

    def test_who_is_removed_from_a_group_talks_there_no_more(self) -> None:
        self.on_the_board("create-group bob go")
        self.type("join-group go", "talk go")
        self.on_the_board("set-topic bob go Joseki")
        topic = "ann:  * bob set the topic of go: Joseki"
        self.assertIn(topic, self.paper.lines)
        self.on_the_board("kick bob go ann")
        ended = "* The talk with {} has ended."
        said = ["ann:  * bob removed you from go", ended.format("go")]
        self.assertEqual(self.paper.lines[-2:], said)
        self.assertIsNone(self.conversation.talk)
        self.assertEqual(self.completions("leave-group "), ["chess", "ann"])
        self.type("/talk chess")
        self.on_the_board("give-group ann chess bob", "delete-group bob chess")
        said = ["ann:  * bob deleted chess", ended.format("chess")]
        self.assertEqual(self.paper.lines[-2:], said)
        self.assertIsNone(self.conversation.talk)

    def test_who_is_left_by_another_user_here_is_talked_to(self) -> None:
        self.type("login cat pw", "use ann", "talk bob", "/unfriend cat bob")
        self.assertEqual(self.conversation.talk, Partner(FRIEND, "bob"))

    def test_what_came_is_remembered_only_while_it_matters(self) -> None:
        talking = Chat(self.client, self.paper)
        messages = [ChatMessage(number, "bob", "hello", to="ann") for number in range(5000)]
        with talking.loading():
            talking.count("ann", messages.pop(), True)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for message in messages:
            talking.count("ann", message, True)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 10_000)

    def test_what_is_not_sent_is_said_beside_the_text(self) -> None:
        self.type("talk bob")
        self.log_out("bob")
        reason = f"(bob is not online{self.next_step})"
        self.assertEqual(self.type("hello"), [f"! Not sent: hello {reason}"])
        long = "x" * 1000
        self.assertEqual(self.type(long), [f"! Not sent: {long} {reason}"])
        self.type("/login cat pw", "use ann", "talk bob")
        self.assertIn(f"! Not sent as ann: hello {reason}", self.type("hello"))


class Leaving(PeopleCase):
    """`exit` in a talk may be meant for the talk."""

    def test_asked(self) -> None:
        for word in ("exit", "quit"):
            self.type("talk bob")
            asked = [f"! Type end to stop talking, or {word} again to leave."]
            self.assertEqual(self.type(word), asked)
            self.assertEqual(self.conversation.talk, Partner(FRIEND, "bob"))
            self.assertEqual(self.messages(), [])
            self.assertFalse(self.successResultOf(self.begin(word)))
            self.type("end")

    def test_not_the_second_time_when_something_was_between(self) -> None:
        self.type("talk bob", "exit", "hello")
        self.assertTrue(self.successResultOf(self.begin("exit")))

    def test_a_command_leaves_at_once(self) -> None:
        self.type("talk bob")
        self.assertFalse(self.successResultOf(self.begin("/exit")))

    def test_with_a_space_before_it_is_said(self) -> None:
        self.type("talk bob")
        for line in (" exit", " ?", "?!", "exit now"):
            self.type(line)
        texts = [text for _, _, text in self.messages()]
        self.assertEqual(texts, [" exit", " ?", "?!", "exit now"])


class Elsewhere(PeopleCase):
    """One person at two terminals."""

    def test_own_lines_from_there(self) -> None:
        _there, paper = self.another()
        self.type("talk bob", "hello")
        self.assertEqual(paper.lines, ["ann: ann → bob  hello"])
        self.assertEqual(paper.for_you[-1], False)
        self.assertNotIn("ann: ann → bob  hello", self.paper.lines)

    def test_the_same_words_at_both(self) -> None:
        there, paper = self.another()
        self.type("send bob hi")
        paper.lines.clear()
        self.paper.lines.clear()
        self.result(there.carry_out("send bob hi"))
        self.network.flush()
        self.assertEqual(self.paper.lines, ["ann: ann → bob  hi"])
        self.assertEqual(paper.lines, ["Sent to bob."])

    def test_in_a_group(self) -> None:
        _there, paper = self.another()
        self.assertEqual(self.type("talk chess", "e4")[1:], [])
        self.assertEqual(paper.lines, ["ann: #chess ann → ann  e4"])
        self.assertEqual(self.type("/send-group chess d4"), ["Sent to chess."])

    def test_who_answers_there_has_read(self) -> None:
        there, _paper = self.another()
        self.send("bob", "ann", "hello?")
        self.assertEqual(there.unread, {Partner(FRIEND, "bob"): 1})
        self.type("send bob hello!")
        self.assertEqual((there.unread, self.conversation.unread), ({}, {}))

    def test_a_line_that_was_refused_is_not_expected(self) -> None:
        there, _paper = self.another()
        self.log_out("bob")
        self.assertEqual(self.type("send bob hi"), [f"bob is not online{self.next_step}"])
        self.elsewhere("login bob pw")
        self.result(there.carry_out("send bob hi"))
        self.network.flush()
        self.assertIn("ann: ann → bob  hi", self.paper.lines)

    def test_a_line_that_may_have_been_lost_shows_that_it_was_not(self) -> None:
        held: list[tuple[Link, str]] = []

        def to_clients(link: Link, line: str) -> str | None:
            if '"event": "sent"' not in line:
                return line
            held.append((link, line))
            return None

        self.network.to_clients = to_clients
        self.lose_answer("send")
        self.assertIn("! May not have been sent: send bob hi (", self.type("send bob hi")[0])
        self.paper.lines.clear()
        for link, line in held:
            link.tell(line)
        self.network.flush()
        self.assertEqual(self.paper.lines, ["ann: ann → bob  hi"])

    def test_nothing_is_expected_for_ever(self) -> None:
        there, _paper = self.another()
        self.network.to_clients = lambda link, line: None if '"sent"' in line else line
        self.type("send bob hi")
        self.pass_on()
        self.network.advance(61)
        self.paper.lines.clear()
        self.result(there.carry_out("send bob hi"))
        self.network.flush()
        self.assertEqual(self.paper.lines, ["ann: ann → bob  hi"])


class News(PeopleCase):
    def test_an_invitation_and_who_accepts(self) -> None:
        self.paper.lines.clear()
        told = {"event": "invite", "from": "cat", "text": "cat invites you"}
        self.tell("ann", told)
        self.assertEqual(
            self.paper.lines, ["ann:  * cat wants to be your friend. Type: accept NAME"]
        )
        self.assertIn("cat", self.completions("accept-invite "))
        self.tell("ann", {"event": "friend", "with": "cat", "text": "cat is your friend now"})
        self.assertIn("cat", self.completions("send "))
        self.assertNotIn("cat", self.completions("accept-invite "))

    def test_an_invitation_of_the_services(self) -> None:
        cat = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(cat.close)
        self.result(cat.login("cat", "pw"))
        self.paper.lines.clear()
        self.result(cat.invite("cat", "ann"))
        self.network.flush()
        self.assertEqual(
            self.paper.lines, ["ann:  * cat wants to be your friend. Type: accept NAME"]
        )

    def test_names_that_cannot_be_typed_are_not_learned(self) -> None:
        for name in ("a b", "", 5, None):
            self.tell("ann", {"event": "invite", "from": name, "text": "x"})
        self.assertEqual(self.completions("accept-invite "), ["ann"])

    def test_ways_out_are_learned(self) -> None:
        self.befriend("ann", "cat")
        self.type("list-friend", "unfriend cat", "leave-group chess")
        self.assertEqual(self.completions("unfriend "), ["bob", "ann"])
        self.assertEqual(self.completions("leave-group "), ["ann"])
        self.type("block bob")
        self.assertEqual(self.completions("unfriend "), ["ann"])
        self.assertEqual(self.completions("unblock "), ["bob", "ann"])
        self.type("unblock bob")
        self.assertEqual(self.completions("unblock "), ["ann"])
        self.invite("cat", "ann")
        self.type("list-invite", "decline-invite cat")
        self.assertEqual(self.completions("decline-invite "), ["ann"])


class Events(PeopleCase):
    """What friends and groups do, at a terminal."""

    def setUp(self) -> None:
        super().setUp()
        self.network.advance(3)
        self.paper.lines.clear()

    def post(self, number: int, sender: str = "bob", **more: object) -> dict[str, object]:
        return {"event": "post", "from": sender, "post": number, "text": "e4", "group": None} | more

    def test_a_post_in_a_group_names_it(self) -> None:
        reply = self.post(8, event="reply", to=7, group="chess")
        self.announce("ann", self.post(7, group="chess"), reply, self.post(9, "cat"))
        self.assertEqual(
            self.paper.lines,
            [
                "ann:  * #chess bob, post 7: e4",
                "ann:  * #chess bob, reply 8 to 7: e4",
                "ann:  * cat, post 9: e4",
            ],
        )

    def test_an_invitation_to_a_group_says_how_to_join(self) -> None:
        self.make_group("go", "cat")
        text = "cat invites you to go"
        invitation = {"event": "invite", "from": "cat", "group": "go", "text": text}
        self.announce("ann", invitation)
        self.assertEqual(self.paper.lines, ["ann:  * cat invites you to a group: join-group go"])
        self.assertEqual(self.completions("accept-invite "), ["ann"])
        self.assertEqual(self.completions("join-group "), ["go", "ann"])

    def test_many_posts_are_one_line(self) -> None:
        self.announce("ann", *map(self.post, range(1, 13)), self.post(13, "cat"))
        first = ["ann:  * bob, post 1: e4", "ann:  * cat, post 13: e4"]
        self.assertEqual(self.paper.lines, first)
        self.network.advance(1)
        folded = "ann:  * bob posted 12 times. Try: posts"
        self.assertEqual(self.paper.lines, [*first, folded])
        self.announce("ann", self.post(14))
        self.network.advance(1)
        self.assertEqual(self.paper.lines[3:], ["ann:  * bob, post 14: e4"])
        self.network.advance(1)
        self.announce("ann", self.post(15), self.post(16))
        self.network.advance(1)
        last = ["ann:  * bob, post 15: e4", "ann:  * bob, post 16: e4"]
        self.assertEqual(self.paper.lines[4:], last)
        self.network.advance(1)
        self.assertEqual(len(self.paper.lines), 6)

    def test_many_posts_in_a_group(self) -> None:
        posts = [self.post(number, group=name) for number in range(3) for name in ("chess", None)]
        self.announce("ann", *posts)
        self.network.advance(1)
        self.assertEqual(
            self.paper.lines[2:],
            [
                "ann:  * bob posted 3 times. Try: group-posts chess",
                "ann:  * bob posted 3 times. Try: posts",
            ],
        )

    def test_a_name_is_not_taken_for_the_number(self) -> None:
        self.announce("ann", *(self.post(number, "{}") for number in range(3)))
        self.network.advance(1)
        self.assertEqual(self.paper.lines[1:], ["ann:  * {} posted 3 times. Try: posts"])

    def test_a_program_reads_each(self) -> None:
        self.paper.for_programs = True
        self.announce("ann", *map(self.post, range(12)))
        self.assertEqual(len(self.paper.lines), 12)

    def test_what_is_held_ends_with_the_login(self) -> None:
        self.on_the_board(*[f"post bob text{number}" for number in range(3)])
        self.type("logout")
        self.paper.lines.clear()
        self.network.advance(conversation.FOLDED)
        self.assertEqual(self.paper.lines, [])

    def test_messages_are_never_folded(self) -> None:
        self.send("bob", "ann", *(["hello"] * 12))
        self.assertEqual(self.paper.lines, ["ann: bob → ann  hello"] * 12)

    def test_what_is_held_at_the_end_is_dropped(self) -> None:
        self.announce("ann", *map(self.post, range(12)))
        self.conversation.close()
        self.network.advance(2)
        self.assertEqual(len(self.paper.lines), 1)


class Posts(PeopleCase):
    """Numbers of posts, which are completed."""

    def test_those_that_were_shown_the_latest_first(self) -> None:
        self.assertEqual(self.completions("reply "), ["ann"])
        self.on_the_board("post bob one", "post bob two", "post bob three")
        self.type("receive-post")
        self.assertEqual(self.completions("reply "), ["3", "2", "1", "ann"])
        self.type("thread 1")
        for command in ("reply", "thread", "delete-post"):
            self.assertEqual(self.completions(f"{command} "), ["1", "3", "2", "ann"])
        self.type("reply 2 nice")
        self.assertEqual(self.completions("thread "), ["4", "1", "3", "2", "ann"])
        self.type("delete-post 4")
        self.assertEqual(self.completions("thread "), ["1", "3", "2", "ann"])
        event = {"event": "post", "from": "bob", "post": 9, "text": "four", "group": None}
        self.announce("ann", event, {"event": "deleted", "post": 3})
        self.assertEqual(self.completions("thread "), ["9", "1", "2", "ann"])

    def test_not_any_number_of_them(self) -> None:
        self.patch(completion, "MOST_RECENT", 2)
        self.on_the_board("post bob one", "post bob two", "post bob three")
        self.type("receive-post")
        self.assertEqual(self.completions("reply "), ["3", "2", "ann"])
        for number in (True, "7", None, [1]):
            self.tell("ann", {"event": "post", "from": "bob", "post": number, "text": "x"})
        self.assertEqual(self.completions("reply "), ["3", "2", "ann"])


class ForYou(PeopleCase):
    def test_told_to_the_screen(self) -> None:
        self.send("bob", "ann", "hi")
        self.send_group("bob", "chess", "good morning")
        self.send_group("bob", "chess", "good morning, Ann!")
        self.network.advance(3)
        self.assertEqual(self.paper.for_you, [True, False, True])

    def test_words(self) -> None:
        for text, named in (
            ("ann", True),
            ("ANN: look", True),
            ("(ann)", True),
            ("anna", False),
            ("joann", False),
            ("ann_b", False),
        ):
            self.assertEqual(is_for("ann", ChatMessage(1, "bob", text, group="go")), named, text)
        self.assertFalse(is_for("ann", ChatMessage(1, "ann", "ann", group="go")))
        self.assertFalse(is_for("ann", ChatMessage(1, "ann", "ann", to="bob")))
        self.assertTrue(is_for("a+b", ChatMessage(1, "bob", "hi a+b", group="go")))

    def test_partners(self) -> None:
        self.assertEqual(
            partner_of(face, "ann", ChatMessage(1, "ann", "x", to="bob")), Partner(FRIEND, "bob")
        )
        self.assertEqual(
            partner_of(face, "ann", ChatMessage(1, "bob", "x", to="ann")), Partner(FRIEND, "bob")
        )
        group = ChatMessage(1, "ann", "x", group="go")
        self.assertEqual(partner_of(face, "ann", group), Partner(GROUP, "go"))


class Owners(PeopleCase):
    """What people see of groups that somebody owns."""

    def test_a_topic_is_the_rest_of_the_line(self) -> None:
        self.type("set-topic chess  Openings, and  ends ")
        entry = "chess (joined, members 2, owner ann)   Openings, and  ends "
        self.assertEqual(self.type("groups"), [entry])
        self.assertEqual(self.type("set-topic chess"), ["chess has no topic now."])
        self.assertEqual(self.type("groups"), ["chess (joined, members 2, owner ann)"])

    def test_a_topic_does_not_act_on_a_terminal(self) -> None:
        _, elsewhere = self.another()
        said = self.type("set-topic chess \x1b[31mred")
        self.assertEqual(said, ["The topic of chess is now: \\x1b[31mred"])
        topic = "ann:  * ann set the topic of chess: \\x1b[31mred"
        self.assertEqual(elsewhere.lines, [topic])
        entry = "chess (joined, members 2, owner ann)  \\x1b[31mred"
        self.assertEqual(self.type("groups"), [entry])

    def test_own_acts_are_said_once(self) -> None:
        self.on_the_board("create-group bob go")
        self.assertEqual(self.type("join-group go"), ["You are in go now. Try: talk go"])
        self.assertEqual(self.type("kick chess bob"), ["bob is no longer a member of chess."])
        self.assertEqual(self.type("post-group chess e4"), ["Posted to chess, as post 1."])
        self.assertEqual(self.type("reply 1 hm"), ["Replied, as post 2."])
        self.assertEqual(self.type("delete-post 2"), ["Post 2 is deleted."])
        self.assertEqual(self.type("delete-group chess"), ["chess is deleted."])

    def test_only_the_event_of_the_act_is_not_told(self) -> None:
        """Ann acts here, and at once at another terminal."""
        self.type("set-status busy")
        self.on_the_board("post-group ann chess e4")
        self.assertEqual(self.paper.lines[-1], "ann:  * #chess ann, post 1: e4")
        self.network.advance(conversation.FOLDED)
        self.type("post-group chess d4")
        self.on_the_board("post-group ann chess d4")
        self.assertEqual(self.paper.lines[-1], "ann:  * #chess ann, post 3: d4")
        self.type("kick chess nobody")  # It is refused, so no event comes of it.
        self.on_the_board("set-topic ann chess nobody")
        self.assertEqual(self.paper.lines[-1], "ann:  * ann set the topic of chess: nobody")

    def test_own_acts_elsewhere_are_told(self) -> None:
        self.network.advance(1.0)
        self.on_the_board("set-topic ann chess Openings")
        topic = "ann:  * ann set the topic of chess: Openings"
        self.assertEqual(self.paper.lines[-1], topic)
        self.type("set-topic chess")
        self.network.advance(conversation.OWN_EVENT)
        self.on_the_board("set-topic ann chess Openings")
        self.assertEqual(self.paper.lines[-1], topic)

    def test_a_program_reads_of_its_own_acts(self) -> None:
        self.paper.for_programs = True
        self.type("login cat pw")
        said = self.type("join-group chess")
        self.assertEqual(
            sorted(said),
            ["Success!", "ann:  * cat joined chess", "cat:  * cat joined chess"],
        )

    def test_somebody_who_does_not_exist(self) -> None:
        for command in ("invite-group", "kick", "give-group"):
            said = self.type(f"{command} chess eve")
            self.assertEqual(said, ["There is no user called eve"])

    def test_members_and_groups_are_learned(self) -> None:
        self.type("list-member chess")
        self.assertEqual(self.completions("kick chess "), ["ann", "bob"])
        self.make_group("go", "ann")
        self.assertEqual(
            self.type("groups"),
            ["chess (joined, members 2, owner ann)", "go (joined, members 1, owner ann)"],
        )
        self.assertIn("go", self.completions("join-group "))


class Words(PeopleCase):
    """Short names of commands, slashes, help and slips of the keyboard."""

    unexplained: Sequence[str] = ("quit", "help", "events")

    def test_short_names(self) -> None:
        self.assertEqual(self.type("friends"), ["bob"])
        self.assertEqual(self.type("w"), ["bob is here"])
        self.assertEqual(self.type("msg bob hello"), ["Sent to bob."])
        self.assertEqual(self.messages(), [("ann", "bob", "hello")])

    def test_a_command_with_a_slash_anywhere(self) -> None:
        self.assertEqual(self.type("/list-friend"), ["bob"])
        self.assertEqual(self.type("/friends"), ["bob"])
        self.assertEqual(self.type("/"), [])
        self.type("/talk bob")
        self.assertEqual(self.type("/friends"), ["bob"])

    def test_help_anywhere(self) -> None:
        outside = self.type("?")
        self.assertEqual(outside, self.type("help"))
        self.assertEqual(self.type("/?"), outside)
        self.type("talk bob")
        self.assertEqual(self.type("?"), outside)
        self.assertEqual(self.messages(), [])

    def test_help_for_a_command(self) -> None:
        lines = [
            "* send <friend> <message>",
            "* Sends one message to a friend who is online.",
            "* In short: msg",
        ]
        for line in ("help send", "? send", "?send", "help msg", "help /send"):
            self.assertEqual(self.type(line), lines)
        own = ["* end", "* Ends the conversation."]
        self.assertEqual(self.type("help end"), own)
        asked = ["! Unknown command lsit-friend. Did you mean list-friend?"]
        self.assertEqual(self.type("help lsit-friend"), asked)
        self.assertEqual(self.type("help xyzzy"), ["! Unknown command xyzzy."])
        self.assertEqual(self.type("help send now"), ["! Type: help [COMMAND]"])

    def test_every_command_of_the_boards_is_explained(self) -> None:
        for name, info in self.client.vocabulary.commands.items():
            if name not in self.unexplained:
                self.assertGreater(len(self.type(f"help {name}")), 1, info.usage)

    def test_did_you_mean(self) -> None:
        self.network.requests.clear()
        asked = ["! Unknown command list-frend. Did you mean list-friend?"]
        self.assertEqual(self.type("list-frend"), asked)
        self.assertEqual(self.type("freinds"), ["! Unknown command freinds. Did you mean friends?"])
        self.assertEqual(self.network.requests, [])

    def test_what_is_meant_all_the_same_is_asked(self) -> None:
        self.type("list-frend")
        self.assertEqual(
            self.type("list-frend"), ["Unknown command list-frend. help lists all commands."]
        )

    def test_what_is_like_nothing_is_asked(self) -> None:
        self.assertEqual(self.type("xyzzy"), ["Unknown command xyzzy. help lists all commands."])

    def test_who_spoke_is_said_where_two_may_have(self) -> None:
        self.assertEqual(self.type("send cat hi"), ["cat is not your friend"])
        self.type("login cat pw", "use ann")
        self.assertEqual(self.type("send cat hi"), ["ann: cat is not your friend"])
        self.assertEqual(self.type("send cat bob hi"), ["cat: bob is not your friend"])
        self.assertEqual(self.type("list-friend"), ["bob"])

    def test_what_is_said_in_a_talk(self) -> None:
        for line, said in (
            ("hello", True),
            ("", False),
            ("  ", False),
            ("end", False),
            (" end ", False),
            ("exit", False),
            ("exit ", False),
            (" exit", True),
            ("?", False),
            ("??", True),
            ("/who", False),
            ("//who", True),
        ):
            self.assertEqual(is_said(line), said, line)


class OtherWords(PeopleCase):
    """A service has a command by a short name's name."""

    def test_its_own_comes_first(self) -> None:
        info = {"usage": "w <user>", "server": "app", "rest": False, "harmless": True}
        who = info | {"usage": "who <user>"}
        send = {"usage": "send <user> <what>", "server": "app", "rest": True, "harmless": True}
        answer = {"status": 0, "commands": [info, who, send]}
        self.answer_always("commands", answer)
        self.answer("w ", {"status": 0, "message": "water"})
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        conversation = Conversation(client, self.paper)
        self.addCleanup(conversation.close)
        self.result(conversation.carry_out("login ann pw"))
        self.paper.lines.clear()
        self.result(conversation.carry_out("w"))
        self.assertEqual(self.paper.lines, ["water"])
        self.paper.lines.clear()
        self.result(conversation.carry_out("msg bob hello"))
        self.assertEqual(self.paper.lines, ["Unknown command msg. help lists all commands."])

    def test_also_before_it_is_known(self) -> None:
        info = {"usage": "friends <what>", "server": "login", "rest": False, "harmless": True}
        self.answer_always("commands", {"status": 0, "commands": [info]})
        self.answer("friends of", {"status": 0, "message": "of whom?"})
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        conversation = Conversation(client, self.paper)
        self.addCleanup(conversation.close)
        self.paper.lines.clear()
        self.result(conversation.carry_out("friends of"))
        self.assertEqual(self.paper.lines, ["of whom?"])


class NewPasswords(PeopleCase):
    def test_asked_for(self) -> None:
        self.paper.passwords = ["pw", "new", "new"]
        self.assertEqual(
            self.type("change-password"),
            ["The password is changed. Your other sessions have ended."],
        )
        prompts = ["Old password for ann: ", "New password for ann: ", "Repeat the password: "]
        self.assertEqual(self.paper.prompts, prompts)
        self.assertTrue(self.is_password("ann", "new"))
        self.assertEqual(self.type("list-friend"), ["bob"])

    def test_of_a_user_who_is_named(self) -> None:
        self.type("login cat pw")
        self.paper.passwords = ["pw", "new", "new"]
        self.assertEqual(
            self.type("change-password ann"),
            ["The password is changed. Your other sessions have ended."],
        )
        self.assertTrue(self.is_password("ann", "new"))
        self.assertTrue(self.is_password("cat", "pw"))

    def test_two_that_differ(self) -> None:
        self.paper.passwords = ["pw", "new", "old"]
        different = ["! The passwords differ. The old one stays."]
        self.assertEqual(self.type("change-password"), different)
        self.assertTrue(self.is_password("ann", "pw"))

    def test_typed(self) -> None:
        self.assertEqual(
            self.type("change-password pw new"),
            ["The password is changed. Your other sessions have ended."],
        )
        self.assertTrue(self.is_password("ann", "new"))

    def test_wrong(self) -> None:
        self.paper.passwords = ["nonsense", "new", "new"]
        self.assertEqual(self.type("change-password"), ["The old password is wrong"])

    def test_of_nobody(self) -> None:
        self.type("logout")
        self.assertEqual(self.type("change-password"), ["You are not logged in. Try: login NAME"])
