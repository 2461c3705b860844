"""The users of several requests, found by one query, and the answers to their rules' questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bbs.board.groups import groups
from bbs.board.messages import messages
from bbs.board.people import relationships
from bbs.core.errors import NotLoggedIn
from bbs.rules import accounts, auth
from bbs.rules.auth import Asked, Caller, Question
from bbs.storage.models import Place, Session, User
from tests.database_case import SESSIONS, RulesCase, on_every_driver
from tests.storage.statements_case import TEXTS

TAKEN_APART, COMPOSED = "a\N{COMBINING DIAERESIS}nn", "änn"


@on_every_driver
class IdentifyingMany(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")
        self.befriend(self.ann, self.bob)
        self.call(groups.create, self.ann, "chess")
        self.tokens = [self.log_in(name) for name in ("ann", "bob", "cat")]

    def same(self, asked: list[Asked], first: Question[Any] | None = None) -> list[Any]:
        """The users of all requests, or refusals; fails unless each is as if alone."""
        found = self.call(auth.identify_each, asked, SESSIONS, first)
        for one, caller in zip(asked, found, strict=True):
            answer = self.database.run(
                auth.identify, one.token, SESSIONS, one.now, first, one.arguments
            )
            if isinstance(caller, NotLoggedIn):
                self.failureResultOf(answer, NotLoggedIn)
                continue
            alone = self.successResultOf(answer)
            # Also what does not count when callers are compared.
            self.assertEqual(vars(caller), vars(alone))
        return found

    def names(self, found: list[Any]) -> list[str | None]:
        return [each.name if isinstance(each, Caller) else None for each in found]

    def test_tokens_of_everybody_and_of_nobody(self) -> None:
        ann, bob, cat = self.tokens
        logged_out = self.log_in("cat")
        Session.delete().where(Session.digest == auth.digest(logged_out)).execute()
        texts = (None, "", "0" * 32, ann.upper() + "x", logged_out, f"{ann} ", f"{ann}\0", *TEXTS)
        asked = [Asked(token, self.now) for token in (ann, *texts, bob, ann, cat, bob)]
        found = self.names(self.same(asked))
        self.assertEqual(found, ["ann", *[None] * len(texts), "bob", "ann", "cat", "bob"])
        self.assertEqual(self.same([]), [])
        self.assertEqual(self.names(self.same([Asked(None, self.now)])), [None])

    def test_each_has_its_own_time(self) -> None:
        """A session may have expired for one request, and not for another."""
        ann, bob, _ = self.tokens
        late = self.now + SESSIONS.ttl + 1
        asked = [Asked(ann, self.now), Asked(ann, late), Asked(bob, late - 1), Asked(bob, late)]
        found = self.same(asked)
        self.assertEqual(self.names(found), ["ann", None, "bob", None])
        self.assertEqual([found[0].now, found[2].now], [self.now, late - 1])
        self.assertEqual([each.touch is None for each in (found[0], found[2])], [True, False])

    def test_where_people_are(self) -> None:
        ann, bob, cat = self.tokens
        Place.update(server=None, away=True).where(Place.user == self.bob.id).execute()
        Place.delete().where(Place.user == self.cat.id).execute()
        found = self.same([Asked(token, self.now) for token in (ann, bob, cat)])
        self.assertEqual([each.server for each in found], [self.server, None, None])
        self.assertEqual([each.away for each in found], [False, True, False])

    def test_answers(self) -> None:
        """Each has the answer to its own question, in whatever form a name is."""
        self.befriend(self.ann, self.person(COMPOSED))
        ann, bob, _ = self.tokens
        names = ("bob", "nobody", "ann", COMPOSED, TAKEN_APART, "Bob", "bob ", "", *TEXTS)
        for question in (messages.addressee, relationships.correspondent, groups.named):
            asked = [
                Asked(token, self.now, (name,))
                for name in (*names, "chess")
                for token in (ann, bob, "x" * 32)
            ]
            found = self.same(asked, question)
            for one, caller in zip(asked, found, strict=True):
                if isinstance(caller, Caller):
                    plain = replace(caller, answer=None)
                    expected = self.call(question, plain, *one.arguments)
                    assert caller.answer is not None
                    self.assertEqual(caller.answer.rows, expected)
                    self.assertEqual(self.call(question, caller, *one.arguments), expected)

    def test_a_question_for_many(self) -> None:
        """Whether some or all have the answer already, and whoever has left."""
        ann, bob, _ = self.tokens
        question = messages.addressee
        known = self.same(
            [Asked(ann, self.now, ("bob",)), Asked(bob, self.now, ("ann",))], question
        )
        other = self.same([Asked(ann, self.now, ("chess",))], groups.named)
        for calls in (
            [],
            [(self.ann, "bob")],
            [(self.ann, "bob"), (self.bob, "ann"), (self.ann, "bob"), (self.cat, "nobody")],
            [(known[0], "bob"), (known[1], "ann")],
            [(known[0], "bob"), (self.cat, "ann")],
            [(known[0], "cat"), (known[1], "ann"), (other[0], "bob")],
        ):
            found = self.call(question.each, calls)
            self.assertEqual(found, [self.call(question, *each) for each in calls])
        self.call(accounts.delete, self.cat)
        self.assertEqual(self.call(question.each, [(self.cat, "ann"), (self.ann, "cat")])[0], [])
        self.assertEqual(User.select().where(User.name == "cat").count(), 0)
