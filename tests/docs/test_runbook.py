"""The runbook, `docs/runbook.md`, as a text: `tests/integration/test_runbook.py` runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.stack_template import template
from tests.docs.aws_commands import strangers
from tests.docs.runbook import NOT_RUN, RUNBOOK, Command, blocks, fits
from tests.paths import CHECKOUT

TEXT = RUNBOOK.read_text("utf-8")
BLOCKS = blocks(TEXT)

FOLLOWING = CHECKOUT / "tests/integration/test_runbook.py"

ALERTS = RUNBOOK.parents[1] / "deploy/prometheus/alerts.yml"

IN_OTHER_PAGES = {"bbs up", "bbs user show", "bbs user password", "bbs user kick"}
"""What the text alone names; `tests/integration/test_operators_day.py` runs it."""


def run() -> Iterator[Command]:
    """The commands that a test runs."""
    for block in BLOCKS:
        if block.is_run and block.kind == "console":
            yield from block.commands()


class Page(SynchronousTestCase):
    def test_every_block_is_run_or_says_that_it_is_not(self) -> None:
        self.assertEqual(len(BLOCKS), TEXT.count("\n```") // 2)
        for block in BLOCKS:
            known = (block.kind == "console" and block.is_run) or block.file or not block.is_run
            self.assertTrue(known, f"{block.section}: nobody runs it: {block.text}")
            # A prompt says that it is run.
            self.assertEqual(block.kind == "console", "$ " in block.text[:20], block.text)

    def test_why_one_is_not_run(self) -> None:
        for line in TEXT.splitlines():
            if line.startswith(NOT_RUN):
                self.assertRegex(line, rf"^{re.escape(NOT_RUN)}, as (it|RDS|IAM|Amazon MQ) ")

    def test_what_is_not_run(self) -> None:
        """Commands of AWS's at the least, with what they know; and outputs that the stack has."""
        text = "".join(block.text for block in BLOCKS if not block.is_run)
        self.assertEqual([*strangers(text)], [])
        for name in re.findall(r"\$\(out (\w+)\)", text):
            self.assertIn(name, template()["Outputs"])

    def test_what_a_restored_database_is_told(self) -> None:
        """All that RDS would else take from the account's defaults, as the stack has it."""
        (block,) = (each for each in BLOCKS if "--deletion-protection" in each.text)
        for option, output in {
            "db-subnet-group-name": "DatabaseSubnetGroup",
            "vpc-security-group-ids": "DatabaseSecurityGroup",
            "db-parameter-group-name": "DatabaseParameterGroup",
        }.items():
            self.assertIn(f'--{option} "$(out {output})"', block.text)
        self.assertIn(" --multi-az ", block.text)
        most = template()["Resources"]["Database"]["Properties"]["MaxAllocatedStorage"]
        self.assertIn(f" --max-allocated-storage {most} ", block.text)

    def test_servers_may_read_and_write_what_they_have_to(self) -> None:
        """Root types the commands, and the units run servers as another user."""
        (block,) = (each for each in BLOCKS if each.file == "/etc/bbs/bbs.toml")
        files = re.findall(r'^\w+_file = "(.*)"$', block.text, re.MULTILINE)
        first = [command.text for command in run()]
        check = first.index("bbs config check /etc/bbs/bbs.toml")
        for begin in ("chown bbs: ", "chmod 600 "):
            (given,) = (each for each in first[:check] if each.startswith(begin))
            self.assertEqual(given.removeprefix(begin).split(), files)
        (log,) = re.findall(r'^security = "(.*)/', block.text, re.MULTILINE)
        self.assertIn(f"mkdir --parents {log}", first[:check])

    def test_every_part_is_followed(self) -> None:
        following = FOLLOWING.read_text("utf-8")
        for section in {block.section for block in BLOCKS if block.is_run}:
            self.assertIn(f'"{section}"', following)

    def test_what_the_text_names_is_run(self) -> None:
        whole = "\n".join(command.text for command in run())
        for named in re.findall(r"`(bbs \w+(?: \w+)?)[^`]*`", TEXT):
            if named not in IN_OTHER_PAGES and named != "bbs 3":
                self.assertIn(named, whole)

    def test_no_password_is_on_a_command_line(self) -> None:
        for command in run():
            first = command.text.partition("<<")[0]
            self.assertNotRegex(first, r"sesame|(^|\s)-p\S|--password[= ]|MYSQL_PWD")
            for secret in re.finditer(r"\$new", command.text):
                line = command.text[: secret.start()].rpartition("\n")[2]
                # sed is a program: what it is told is on its command line.
                self.assertTrue(line.lstrip("( ").startswith("echo "), command.text)

    def test_alerts(self) -> None:
        """Those that it names are in the file of Prometheus' rules."""
        for name in set(re.findall(r"`(Bbs\w+)`", TEXT)):
            self.assertIn(f"alert: {name}\n", ALERTS.read_text("utf-8"))

    def test_links(self) -> None:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", TEXT):
            self.assertTrue((RUNBOOK.parent / link).is_file(), link)


class Reading(SynchronousTestCase):
    def test_what_is_printed_is_compared(self) -> None:
        for said, printed, same in (
            ("a 1\nb\n", "a 22\nb\n", True),
            ("a 1\n", "a 1\nb\n", False),
            ("a\nx\ny\nb\n", "a\n…\nb\n", True),
            ("a\nb\n", "a\n…\nb\n", True),
            ("a\nc\n", "a\n…\nb\n", False),
            ("a 2026-11-26T10:36:46+00:00   x\n", "a 2027-01-01T00:00:00+00:00 x\n", True),
            ("fe12fe12fe12fe12 ready\n", "0123456789abcdef …\n", True),
            ("fe12fe12fe12fe12 ready\n", "0123456789abcdef lost\n", False),
        ):
            self.assertIs(fits(said, printed), same, (said, printed))
