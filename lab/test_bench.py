"""The benchmark's own logic: who sends what, what rounds come to, and what is written down."""

from __future__ import annotations

import math
import socketserver
import subprocess
import threading
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lab.bench import compare, many, measure, report
from lab.bench.figures import Cost, Figures, Round, summary
from lab.bench.goals import IN_PYTHON, MARIADB, SQLITE, Check, checks
from lab.bench.load import Run
from lab.bench.people import IN_TURN, UNTIL_RECEIVED, Circles, People, Person
from lab.bench.processes import Failed, Form

LOGIN = 1


def people(circles: Circles, servers: int = 1) -> People:
    """Everybody of `circles`, at servers whose ports are 100 and more."""
    everybody = [
        Person(
            f"person{circle}-{n}",
            circle,
            n,
            f"token{circle}-{n}",
            100 + n * servers // circles.size,
        )
        for circle in range(circles.circles)
        for n in range(circles.size)
    ]
    return People(circles, everybody, LOGIN)


def senders(job: dict[str, Any], command: str) -> set[int]:
    """The circles of those who send `command`."""
    words = [line.split() for talk in job["talks"] for line in talk["lines"]]
    tokens = [each[1] for each in words if each[0] == command]
    return {int(token.removeprefix("token").partition("-")[0]) for token in tokens}


class Load(SynchronousTestCase):
    def test_who_posts_is_read_by_nobody_who_reads(self) -> None:
        for circles in (measure.CIRCLES, many.TEN.circles, many.TWO.circles):
            everybody = people(circles)
            for connections in (1, 16, 100, 1000):
                authors = senders(everybody.job("post", connections), "post")
                readers = senders(everybody.job("receive-post", connections), "receive-post")
                self.assertEqual(authors & readers, set())
        turn = people(many.TEN.circles).job(IN_TURN, 100)
        self.assertEqual(senders(turn, "post") & senders(turn, "receive-post"), set())

    def test_whoever_is_outside_the_group_sends_nothing(self) -> None:
        everybody = people(measure.CIRCLES)
        lines = [
            line
            for command in ("send", "send-group", "post", UNTIL_RECEIVED)
            for talk in everybody.job(command, 100)["talks"]
            for line in talk["lines"]
        ]
        self.assertEqual([line for line in lines if "-10 " in line], [])

    def test_several_servers_have_equally_many_connections(self) -> None:
        for several in (many.TEN, many.TWO):
            everybody, servers = people(several.circles, several.servers), several.servers
            for command, connections in many.LOADS:
                job = everybody.job(command, connections)
                ports = Counter(talk["port"] for talk in job["talks"])
                self.assertEqual([*ports.values()], [connections // servers] * servers, command)

    def test_people_of_several_servers_write_to_another_one(self) -> None:
        for several in (many.TEN, many.TWO):
            found = people(several.circles, several.servers)
            for each in found.everybody:
                self.assertNotEqual(each.port, found.friend(each).port)

    def test_who_is_to_receive_listens_and_nobody_else(self) -> None:
        everybody = people(measure.CIRCLES)
        job = everybody.job(UNTIL_RECEIVED, 2)
        self.assertEqual(
            [talk["lines"] for talk in job["talks"]],
            [["send token0-0 person0-1 <{}>"], ["send token0-1 person0-2 <{}>"]],
        )
        self.assertEqual(
            [each["line"] for each in job["listens"]], ["listen token0-1", "listen token0-2"]
        )
        self.assertEqual(everybody.job("send", 2)["listens"], [])

    def test_accounts_are_for_the_login_server(self) -> None:
        job = people(measure.CIRCLES).job("login", 3)
        self.assertEqual({talk["port"] for talk in job["talks"]}, {LOGIN})

    def test_whoever_logs_in_has_no_token_that_is_used(self) -> None:
        """Otherwise it ends when the user has too many sessions."""
        everybody = people(measure.CIRCLES)
        lines = [talk["lines"][0] for talk in everybody.job("login", 100)["talks"]]
        names = {line.split()[1] for line in lines}
        self.assertEqual(len(names), 100)
        self.assertEqual(names & {each.name for each in everybody.everybody}, set())


class Server(socketserver.ThreadingTCPServer):
    """Answers `refuse`, and tells whoever listens what is sent, which it answers only then."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.listener: Any = None


class Conversation(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        for line in self.rfile:
            word = line.split()[0]
            if word == b"listen":
                self.server.listener = self.wfile
            if word == b"send":
                event = b'{"event": "message", "message": "%s"}\n' % line.split()[1]
                self.server.listener.write(event)
            self.wfile.write(b'{"status": %d}\n' % (word == b"refuse"))


class Sending(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.server_close)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)
        self.port = self.server.server_address[1]

    def run_(self, *lines: str, **more: Any) -> dict[str, Any]:
        talks = [{"port": self.port, "lines": lines}]
        return Run({"talks": talks, "seconds": None, **more}, count(1).__next__).result()

    def test_refusals_have_no_times(self) -> None:
        for fresh in (False, True):
            done = self.run_("ping", "refuse", "ping", fresh=fresh)
            self.assertEqual(len(done["times"]), 2)
            self.assertEqual(done["replies"], [['{"status": 0}', '{"status": 1}', '{"status": 0}']])

    def test_a_message_is_through_when_it_has_been_heard(self) -> None:
        listens = [{"port": self.port, "line": "listen"}]
        done = self.run_("send <{}>", "ping", "send <{}>", listens=listens)
        self.assertEqual(len(done["times"]), 3)

    def test_only_refusals_are_kept_of_a_timed_job(self) -> None:
        done = self.run_("ping", "refuse", seconds=0.0)
        self.assertEqual(done["replies"], [[]])
        self.assertEqual(len(done["times"]), 1)


def round(rate: float = 100.0, cpu: float = 10.0, p99: float = 2.0, refused: int = 0) -> Round:
    return Round(rate, 1.0, p99, 3.0, cpu, 0.0, 10, refused, "no", Cost(1000.0, 5.0))


class Rounds(SynchronousTestCase):
    def test_the_middle_and_the_worst(self) -> None:
        of = Figures("post", 16, False, (round(100.0, 10.0), round(300.0, 20.0), round(50.0, 90.0)))
        self.assertEqual((of.middle("share"), of.worst("share")), (0.1, 0.05))
        self.assertEqual((of.middle("cpu_ratio"), of.worst("cpu_ratio")), (4.0, 18.0))
        self.assertEqual(of.as_json()["worst"]["cpu_ratio"], 18.0)
        self.assertNotIn("over_hash", of.as_json())

    def test_a_round_is_of_what_was_not_refused(self) -> None:
        done = {"seconds": 2.0, "times": [3000, 1000, 2000], "replies": [["no"], []]}
        found = summary(done, 0.3, 0.06, Cost(1.0, 1.0))
        self.assertEqual((found.rate, found.p50, found.most), (1.5, 2.0, 3.0))
        self.assertAlmostEqual(found.cpu, 100_000)
        self.assertAlmostEqual(found.database, 20_000)
        self.assertEqual((found.measured, found.refused, found.refusal), (3, 1, "no"))

    def test_a_round_of_refusals_alone_is_infinitely_slow(self) -> None:
        done = {"seconds": 2.0, "times": [], "replies": [["no"]]}
        found = summary(done, 0.3, 0.0, Cost(1.0, 1.0))
        self.assertEqual((found.rate, found.p99, found.cpu), (0.0, math.inf, math.inf))


class Goals(SynchronousTestCase):
    def test_they_are_for_sixteen_connections_that_stay(self) -> None:
        found = [
            Figures("send", connections, fresh, (round(cpu=cpu, p99=7.0),))
            for connections, fresh, cpu in ((1, False, 1.0), (16, True, 1.0), (16, False, 36.0))
        ]
        cpu, p99 = checks(SQLITE, found)
        self.assertEqual((cpu.goal, cpu.reached, cpu.holds(cpu.reached)), (7, 7.2, False))
        self.assertEqual((p99.goal, p99.reached, p99.holds(p99.reached)), (6, 7.0, False))
        cpu, p99 = checks(MARIADB, found)
        self.assertTrue(cpu.holds(cpu.reached) and p99.holds(p99.reached))

    def test_by_pymysql_a_command_may_cost_half_as_much_again(self) -> None:
        found = [Figures("send", 16, False, (round(cpu=36.0),))]
        for one, other in zip(checks(MARIADB, found), checks(IN_PYTHON, found), strict=True):
            self.assertAlmostEqual(other.goal, 1.5 * one.goal)

    def test_the_tail_is_that_of_a_hundred_connections(self) -> None:
        [tail] = checks(SQLITE, [Figures("post", 100, False, (round(p99=4.0), round(p99=6.0)))])
        self.assertEqual((tail.reached, tail.worst), (5.0, 6.0))
        self.assertTrue(tail.holds(tail.reached) and not tail.holds(tail.worst))


class Page(SynchronousTestCase):
    def test_what_misses_its_goal_is_bold(self) -> None:
        at_most = Check("post", "× echo", 7, False, 6.0, 8.0)
        at_least = Check("post", "of echo", 0.1, True, 0.2, 0.05)
        other = Check("post", "of echo", 0.3, True, 0.4, 0.4)
        heading, rows = report.goal_rows({"A": [at_most, at_least], "B": [other]})
        self.assertEqual(len(heading), 8)
        self.assertEqual(
            rows,
            [
                ("post", "× echo", "≤ 7", "6", "**8**", "", "", ""),
                ("post", "of echo", "≥ 0.1", "0.2", "**0.05**", "≥ 0.3", "0.4", "0.4"),
            ],
        )

    def test_what_is_much_worse_than_on_the_page_is_told(self) -> None:
        def checks(*reached: float) -> dict[str, list[Check]]:
            goals = [("post", "× echo", 20, False), ("post", "of echo", 0.1, True)]
            found = [
                Check(*goal, value, value) for goal, value in zip(goals, reached[:2], strict=True)
            ]
            none_refused = Check("everything", "refused", 0.0, False, reached[2], reached[2])
            return {SQLITE: found[:1], MARIADB: [*found, none_refused]}

        page = Path(self.mktemp())
        page.write_text("<!-- table: goals -->\n<!-- end -->\n")
        self.assertEqual([*report.worsened(checks(99.0, 0.0, 1.0), report.reached(page))], [])
        table = report.markdown(*report.goal_rows(checks(18.6, 0.05, 0.0)))
        report.write({"goals": table}, [page])
        before = report.reached(page)
        for reached in ((20.4, 0.0451, 0.0), (1.0, 1.0, 0.0)):
            self.assertEqual([*report.worsened(checks(*reached), before)], [])
        self.assertEqual(
            [*report.worsened(checks(30.1, 0.04, 3.0), before)],
            [
                "post on SQLite: 30.1 × echo, 18.6 in results.md (+62 %)",
                "post on MariaDB: 30.1 × echo, 18.6 in results.md (+62 %)",
                "post on MariaDB: 0.04 of echo, 0.05 in results.md (-20 %)",
                "everything on MariaDB: 3 refused, 0 in results.md",
            ],
        )

    def test_the_page_has_what_was_reached(self) -> None:
        found = report.reached()
        for service in (SQLITE, MARIADB):
            self.assertGreater(found[service, "send", "× echo"], 1)
            self.assertEqual(found[service, "everything", "refused"], 0)

    def test_tables_are_put_between_their_marks(self) -> None:
        page = Path(self.mktemp())
        other = "b\n<!-- table: y -->\n<!-- end -->\n"
        page.write_text(f"a\n<!-- table: x -->\nold\n<!-- end -->\n{other}")
        for _ in range(2):
            report.write({"x": r"| \1 |"}, [page])
        self.assertEqual(
            page.read_text(),
            f"a\n<!-- table: x -->\n\n| \\1 |\n\n<!-- end -->\n{other}",
        )

    def test_a_table_without_marks_is_no_silent_loss(self) -> None:
        page = Path(self.mktemp())
        page.write_text("nothing\n")
        self.assertRaises(Failed, report.write, {"x": "table"}, [page])

    def test_the_pages_have_all_tables(self) -> None:
        pages = [Path(self.mktemp()), Path(self.mktemp())]
        for page, real in zip(pages, (report.PAGE, report.RESULTS), strict=True):
            page.write_text(real.read_text())
        names = [SQLITE, MARIADB, IN_PYTHON, "goals", "goals by PyMySQL", "summary"]
        names += ["hashing", "logins", "many", "two", "sizes"]
        report.write(dict.fromkeys(names, "table"), pages)
        found = "".join(page.read_text() for page in pages)
        self.assertEqual(found.count("\ntable\n"), len(names))

    def test_the_summary_is_of_sixteen_connections_that_stay(self) -> None:
        found = [
            Figures("post", connections, fresh, (round(cpu=cpu),))
            for connections, fresh, cpu in ((1, False, 1.0), (16, True, 1.0), (16, False, 36.0))
        ]
        heading, rows = report.summary_rows({"A": found, "B": found})
        self.assertEqual([len(heading), *map(len, rows)], [9, 9])
        self.assertEqual((rows[0][0], rows[0][4], rows[0][8]), ("post", "36", "36"))

    def test_numbers(self) -> None:
        found = [*map(report.number, (0.0, 0.0412, 1.0, 8.04, 58.25, 123.4, 51234.0, math.inf))]
        self.assertEqual(found, ["0", "0.0412", "1", "8.04", "58.2", "123", "51234", "–"])


class Compared(SynchronousTestCase):
    def setUp(self) -> None:
        self.repository = Path(self.mktemp()).absolute()
        self.repository.mkdir()
        self.git("init", "--quiet")
        for number in (1, 2):
            (self.repository / "file").write_text(f"{number}")
            self.git("add", "file")
            settings = ("user.name=A", "user.email=a@example.org", "commit.gpgsign=false")
            who = [word for each in settings for word in ("-c", each)]
            self.git(*who, "commit", "--quiet", "--no-verify", "--message", "a change")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def assert_gone(self) -> None:
        self.assertEqual([*self.folder.iterdir()], [])
        self.assertEqual(len(self.git("worktree", "list").splitlines()), 1)

    def test_the_other_commit_is_there_while_it_is_measured(self) -> None:
        with compare.checkout("HEAD~1", self.folder, self.repository) as root:
            self.assertEqual((root / "file").read_text(), "1")
            self.assertEqual(Form(root=root).environment()["PYTHONPATH"], str(root))
        self.assert_gone()

    def test_an_older_one_is_asked_for_pymysql_as_it_knows_it(self) -> None:
        old = self.folder / "bbs" / "storage" / "engines.py"
        old.parent.mkdir(parents=True)
        old.write_text('IN_C = "mysql+mysqlconnector"\n')
        schemes = ("mysql+mysqlconnector", "mysql+pymysql")
        self.assertEqual([*map(Form().scheme, schemes)], [*schemes])
        self.assertEqual([*map(Form(root=self.folder).scheme, schemes)], [schemes[0], "mysql"])

    def test_nothing_is_left_at_ctrl_c(self) -> None:
        def interrupted() -> None:
            with compare.checkout("HEAD~1", self.folder, self.repository):
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, interrupted)
        self.assert_gone()

    def test_what_names_no_commit_is_said(self) -> None:
        def other() -> None:
            with compare.checkout("--nothing", self.folder, self.repository):
                pass

        self.assertRaises(Failed, other)
        self.assert_gone()
