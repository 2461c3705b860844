"""Rules that an operator or a script runs: `bbs run`."""

from __future__ import annotations

import json
from typing import ClassVar

from bbs.board import board
from bbs.cli.subcommands import CHANGED, run_rule_command
from bbs.core.errors import Refusal
from bbs.framework import User
from bbs.operators import run_rule
from bbs.storage.models import Action
from tests.cli.case import CommandCase, Main
from tests.database_case import RulesCase, on_both_databases

HERE = "tests.cli.scenarios.test_run"


class Rude(Refusal):
    text = "{} is rude"


def rename(old: str, new: str) -> int:
    changed: int = User.update(name=new).where(User.name == old).execute()
    return changed


def unfit(name: str) -> object:
    User.update(name=name).execute()
    return {(1, 2): name}


def refuse(name: str) -> None:
    User.delete().execute()
    raise Rude(name)


@on_both_databases
class Running(CommandCase, RulesCase):
    main: ClassVar[Main] = staticmethod(run_rule_command)

    def test_a_rule(self) -> None:
        self.account("ann")
        self.assertEqual(
            self.bbs(f"{HERE}:rename", "ann", "zoe"), (0, "1\n", f"bbs run: {CHANGED}\n")
        )
        self.assertEqual([each.name for each in User.select()], ["zoe"])
        [act] = Action.select()
        self.assertEqual((act.action, act.detail), ("run", f"{HERE}:rename"))

    def test_as_a_user(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        code, said, warned = self.bbs("bbs.board.people.friendships:friends", "--user", "ann")
        self.assertEqual((code, json.loads(said), warned), (0, {"friend": ["bob"]}, ""))
        code, _, said = self.bbs("bbs.board.people.friendships:friends", "--user", "zoe")
        self.assertEqual((code, said), (1, "bbs run: there is no user zoe\n"))

    def test_what_fails_changes_nothing(self) -> None:
        self.account("ann")
        self.assertEqual(self.bbs(f"{HERE}:refuse", "bob"), (1, "", "bbs run: bob is rude\n"))
        self.assertEqual(User.select().count(), 1)
        code, _, said = self.bbs(f"{HERE}:rename", "ann")
        self.assertEqual(code, 1)
        self.assertIn("rename() missing 1 required positional argument: 'new'", said)
        self.assertEqual(Action.select().count(), 0)

    def test_a_result_that_cannot_be_shown(self) -> None:
        self.account("ann")
        code, _, said = self.bbs(f"{HERE}:unfit", "zoe")
        self.assertEqual(code, 1)
        self.assertIn("keys must be str", said)
        self.assertEqual([each.name for each in User.select()], ["ann"], "nothing was stored")

    def test_what_is_no_rule(self) -> None:
        for rule, reason in (
            ("rename", "rename: "),
            ("no.such:rule", "no.such:rule: No module named 'no'"),
            (f"{HERE}:HERE", f"{HERE}:HERE is not a rule: a plain function"),
        ):
            code, _, said = self.bbs(rule)
            self.assertEqual(code, 2)
            self.assertIn(reason, said)

    def test_in_a_script(self) -> None:
        self.account("ann")
        self.assertEqual(run_rule(board, rename, "ann", new="zoe"), 1)
        self.assertRaises(Rude, run_rule, board, refuse, "bob")
        self.assertEqual([each.name for each in User.select()], ["zoe"])
