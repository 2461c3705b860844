"""The configuration: every key read, checked, named when wrong, masked and written again."""

import contextlib
import io
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.names import Board
from bbs.cli import config
from bbs.config import (
    BrokerConfig,
    ConfigError,
    Configuration,
    Limits,
    described,
    kinds,
    load,
    masked,
    sections,
    setting,
    to_toml,
)
from bbs.config.loading import write
from bbs.core.addresses import ListeningPlace
from bbs.core.values import Rate
from bbs.limits.password_hashing import OWASP
from bbs.web.auth import read_passwords
from tests.certificates import certificate
from tests.cli.case import BOARD

MYSQL = "mysql://ann:s3cret@db.example:3306/bbs"

PRINTABLE = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
"""What `str.isprintable` takes, drawn so that nothing need be drawn again."""


class ConfigTestCase(SynchronousTestCase):
    """What the tests below share."""

    def write(self, text: str | bytes) -> str:
        """A file with this text."""
        path = self.mktemp()
        Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(
        self, text: str | bytes = "", environ: Mapping[str, str] = {}, **options: object
    ) -> Configuration:
        """Load a file with this text; an option's dot is written as two underscores."""
        dotted = {key.replace("__", "."): value for key, value in options.items()}
        return load(self.write(text), environ, dotted)

    def refusal(
        self, text: str | bytes = "", environ: Mapping[str, str] = {}, **options: object
    ) -> str:
        """The one line that this is refused with, the file's path shown as FILE."""
        error = self.assertRaises(ConfigError, self.load, text, environ, **options)
        line = str(error)
        self.assertEqual(line.splitlines(), [line])
        return re.sub(r"^\S*temp[^:]*: ", "FILE: ", line.replace(os.path.abspath("."), ""))


class Layers(ConfigTestCase):
    """File, environment and options, each over the one before."""

    def test_defaults(self) -> None:
        """Nothing given is what the defaults are when they are written as a file."""
        self.assertEqual(load(None, {}), self.load(to_toml(load(None, {}))))

    def test_environment_over_file(self) -> None:
        config = self.load("[app]\ncapacity = 3\n", {"BBS_APP_CAPACITY": "4"})
        self.assertEqual(config.app.capacity, 4)

    def test_the_form_of_logs(self) -> None:
        self.assertEqual(self.load("", {"BBS_LOG_FORMAT": "json"}).log.format, "json")
        self.assertEqual(
            self.refusal('[log]\nformat = "JSON"\n'),
            'FILE: log.format must be "text" or "json", not \'JSON\'',
        )
        self.assertEqual(
            self.refusal("", {"BBS_LOG_FORMAT": "xml"}),
            'BBS_LOG_FORMAT: log.format must be "text" or "json", not \'xml\'',
        )

    def test_option_over_environment(self) -> None:
        config = self.load("", {"BBS_APP_CAPACITY": "4"}, app__capacity="5")
        self.assertEqual(config.app.capacity, 5)

    def test_option_as_a_value(self) -> None:
        config = self.load(app__capacity=5, login__listen=("tcp:1", "tcp:2"))
        self.assertEqual(config.app.capacity, 5)
        self.assertEqual(config.login.listen, (ListeningPlace("tcp:1"), ListeningPlace("tcp:2")))

    def test_option_not_given(self) -> None:
        """An option without a value, as `usage.Options` has it, changes nothing."""
        self.assertEqual(self.load(app__capacity=None), Configuration())

    def test_sources(self) -> None:
        path = self.write("[fleet]\nspare = 2\n")
        config = load(path, {"BBS_DATABASE_URL": MYSQL}, {"app.capacity": "3"})
        self.assertEqual(config.sources["fleet.spare"], path)
        self.assertEqual(config.sources["database.url"], "BBS_DATABASE_URL")
        self.assertEqual(config.sources["app.capacity"], "option")
        self.assertEqual(config.sources["web.listen"], "default")

    def test_environment_of_others(self) -> None:
        """Variables of no section are somebody else's."""
        environ = {"BBS_TEST_MYSQL_URL": MYSQL, "BBS_APP": "x", "APP_CAPACITY": "0", "BBS": ""}
        self.assertEqual(self.load("", environ), Configuration())

    def test_lists_in_the_environment(self) -> None:
        config = self.load(
            "",
            {
                "BBS_EC2_SUBNET_IDS": '["a", "b"]',
                "BBS_EC2_INSTANCE_TYPE": "t3.small",
                "BBS_BROKER_URL": '["stomp://one", "stomp://two:1"]',
                "BBS_WEB_LISTEN": "",
            },
        )
        self.assertEqual(config.ec2.subnet_ids, ("a", "b"))
        self.assertEqual(config.ec2.instance_type, ("t3.small",))
        self.assertEqual(config.broker.url, ("stomp://one", "stomp://two:1"))
        self.assertEqual(config.web.listen, ())

    def test_rates(self) -> None:
        for text, rate in {
            "20/second": Rate(20, 1.0),
            "1/minute": Rate(1, 60.0),
            "5/hour": Rate(5, 3600.0),
            "7/day": Rate(7, 86400.0),
        }.items():
            config = self.load(f'[limits]\nfailed_logins = "{text}"\n')
            self.assertEqual(config.limits.failed_logins, rate)
            self.assertEqual(str(rate), text)

    def test_frozen(self) -> None:
        config = self.load()
        self.assertRaises(AttributeError, setattr, config.app, "capacity", 3)
        self.assertFalse(hasattr(config.sources, "update"))


class Everything(ConfigTestCase):
    """All that is wrong, each with its key, its value and what is allowed."""

    TEXT = """
        [app]
        capacity = "many"
        [fleet]
        minimum = 5
        maximum = 4
        lost_after = -1
        colour = "red"
        [wep]
        [database]
        url = "postgres://ann:s3cret@db/bbs"
        """

    def problems(self, text: str, environ: Mapping[str, str] = {}) -> list[str]:
        error = self.assertRaises(ConfigError, self.load, text, environ)
        return [re.sub(r"\A\S*temp: ", "FILE: ", problem) for problem in error.problems]

    def test_it(self) -> None:
        capacity, lost, colour, section, url, variable, relation = self.problems(
            self.TEXT, {"BBS_LOG_FORMAT": "xml"}
        )
        self.assertEqual(
            capacity, "FILE: app.capacity must be a whole number, 1 or more, not 'many'"
        )
        self.assertRegex(lost, r"\AFILE: fleet.lost_after must be a number of .*, not -1\Z")
        self.assertIn("FILE: unknown key fleet.colour, ", colour)
        self.assertEqual(section, "FILE: unknown section [wep], did you mean web?")
        self.assertRegex(url, r'\AFILE: database.url must be "sqlite:///PATH" or "mysql:')
        self.assertNotIn("s3cret", url)
        self.assertIn("BBS_LOG_FORMAT: log.format must be ", variable)
        self.assertEqual(relation, "FILE: fleet.minimum (5) must be at most fleet.maximum (4)")

    def test_one_line_of_a_server(self) -> None:
        self.assertEqual(
            self.refusal('[app]\ncapacity = "many"\n[log]\nformat = "xml"\nkeep = -1\n'),
            "FILE: app.capacity must be a whole number, 1 or more, not 'many'; 2 more: see config"
            " check",
        )

    def test_nothing_follows_from_what_is_wrong(self) -> None:
        """A wrong value has its default meanwhile, which contradicts nothing."""
        for text in (
            "[fleet]\nminimum = 30\nmaximum = true\n",
            '[fleet]\nprovider = "ec2"\n[ec2]\nimage_id = 5\n',
        ):
            self.assertEqual(len(self.problems(text)), 1)

    def test_the_command(self) -> None:
        path, errors = self.write(self.TEXT), io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(config.main(["check", path], BOARD), 1)
        self.assertEqual(len(errors.getvalue().splitlines()), 6)


class Secrets(ConfigTestCase):
    """Secrets that stand in files, and that are never shown."""

    def test_file(self) -> None:
        secret = self.write(MYSQL + "\n")
        config = self.load(f'[database]\nurl_file = "{secret}"\n')
        self.assertEqual(config.database.url, MYSQL)
        self.assertEqual(config.sources["database.url"], secret)

    def test_file_of_several(self) -> None:
        """Each line of a broker's file is one of the brokers."""
        secret = self.write("stomp://u:p@one\n\nstomp://u:p@two\n")
        config = self.load("", {"BBS_BROKER_URL_FILE": secret})
        self.assertEqual(config.broker.url, ("stomp://u:p@one", "stomp://u:p@two"))

    def test_file_over_lower_layer(self) -> None:
        config = self.load(
            f'[database]\nurl_file = "{self.write(MYSQL)}"\n',
            {"BBS_DATABASE_URL": "sqlite:///x"},
        )
        self.assertEqual(config.database.url, "sqlite:///x")

    def test_both(self) -> None:
        secret = self.write(MYSQL)
        refusal = self.refusal(f'[database]\nurl = "{MYSQL}"\nurl_file = "{secret}"\n')
        self.assertIn("database.url is set, and database.url_file too", refusal)

    def test_missing_file(self) -> None:
        self.assertEqual(
            self.refusal('[broker]\nurl_file = "/no/such/file"\n'),
            "FILE: broker.url_file: /no/such/file: No such file or directory",
        )

    def test_no_text_file(self) -> None:
        secret = self.write(b"\xff\xfe")
        self.assertEqual(
            self.refusal("", {"BBS_BROKER_URL_FILE": secret}),
            f"BBS_BROKER_URL_FILE: broker.url_file: {secret!r} is not a text file",
        )

    def test_no_other_key_has_a_file(self) -> None:
        self.assertIn("unknown key app.capacity_file", self.refusal("[app]\ncapacity_file = 'x'\n"))

    def test_never_in_an_error(self) -> None:
        for text in (
            '[database]\nurl = "mysql://ann:s3cret@db.example:port/bbs"\n',
            '[database]\nurl = "mysql://ann:s3cret@"\n',
            '[database]\nurl = ["mysql://ann:s3cret@h/bbs"]\n',
            '[database.url]\nurl = "s3cret"\n',
            '[broker]\nurl = "stomp://ann:s3cret@h:x"\n',
            '[broker]\nurl = ["embedded", "stomp://ann:s3cret@h"]\n',
        ):
            self.assertNotIn("s3cret", self.refusal(text))
            error = self.assertRaises(ConfigError, self.load, text)
            self.assertIsNone(error.__context__)

    def test_never_in_a_representation(self) -> None:
        config = self.load(database__url=MYSQL, broker__url="stomp://ann:s3cret@h")
        self.assertNotIn("s3cret", repr(config))

    def test_masked(self) -> None:
        config = self.load(
            "[app]\ncapacity = 3\n",
            database__url=MYSQL,
            broker__url=["stomp://ann:p@@ss:w@one:1", "stomp://bob@two"],
        )
        rows = {key: (value, source) for key, value, source in masked(config)}
        self.assertEqual(rows["database.url"], ('"mysql://ann:***@db.example:3306/bbs"', "option"))
        self.assertEqual(
            rows["broker.url"], ('["stomp://ann:***@one:1", "stomp://bob@two"]', "option")
        )
        self.assertEqual(rows["app.capacity"], ("3", config.sources["app.capacity"]))
        self.assertEqual(rows["login.listen"], ('["tcp:22222"]', "default"))

    def test_masked_whole(self) -> None:
        """A secret that is no URL shows nothing of itself."""
        config = self.load(telnet__secret="0123456789:abcdef@")
        rows = {key: value for key, value, _ in masked(config)}
        self.assertEqual(rows["telnet.secret"], '"***"')
        self.assertNotIn("0123456789", repr(config))
        self.assertIn(("telnet.secret", '""', "code"), masked(Configuration()))

    def test_masked_and_made_in_code(self) -> None:
        self.assertIn(("app.capacity", "10", "code"), masked(Configuration()))


class Refusals(ConfigTestCase):
    """Each ends in one line that names the key, its place and what would be right."""

    def test_misspelt_key(self) -> None:
        self.assertEqual(
            self.refusal('[database]\nulr = "sqlite:///x"\n'),
            "FILE: unknown key database.ulr, did you mean database.url?",
        )

    def test_misspelt_section(self) -> None:
        self.assertEqual(
            self.refusal("[databse]\n"), "FILE: unknown section [databse], did you mean database?"
        )

    def test_strange_key_and_section(self) -> None:
        self.assertEqual(
            self.refusal("[web]\nquux = 1\n"),
            "FILE: unknown key web.quux,"
            " there are web.listen, web.password_file, web.trusted_proxies",
        )
        self.assertIn("unknown section [quux], there are login, app,", self.refusal("[quux]\n"))
        self.assertIn("unknown section [quux]", self.refusal("quux = 1\n"))

    def test_places_of_servers(self) -> None:
        for place in ("localhost:1", "127.0.0.1:65535", "[::1]:22222", "bbs.example.org:22222"):
            self.assertEqual(self.load(telnet__server=place).telnet.server, place)
        for place in ("", "localhost", ":1", "a:0", "a:65536", "::1:22222", "[a:1", "a b:1", "a:x"):
            self.assertIn("telnet.server must be where a", self.refusal(telnet__server=place))

    def test_collectors_of_traces(self) -> None:
        for right in ("", "http://127.0.0.1:4318", "https://traces.example.org/otlp"):
            self.assertEqual(self.load(tracing__endpoint=right).tracing.endpoint, right)
        for wrong in ("127.0.0.1:4318", "http://", "grpc://a:1", "http://a?b", "http://u:s3cret@a"):
            refusal = self.refusal(tracing__endpoint=wrong)
            self.assertIn('tracing.endpoint must be a URL such as "http://127.0.0.1:4318"', refusal)
            self.assertNotIn("s3cret", refusal)
        for twice in ("http://127.0.0.1:4318/v1/traces", "https://a/otlp/v1/traces/"):
            refusal = self.refusal(tracing__endpoint=twice)
            self.assertIn("without /v1/traces, which is added", refusal)

    def test_shares(self) -> None:
        for right in (0, 0.25, 1):
            self.assertEqual(self.load(f"[tracing]\nsample = {right}\n").tracing.sample, right)
        for wrong in (-0.1, 1.1, "true", '"all"'):
            refusal = self.refusal(f"[tracing]\nsample = {wrong}\n")
            self.assertIn("tracing.sample must be a number from 0 to 1", refusal)

    def test_shared_secrets(self) -> None:
        for secret in ("short", "sixteen letters and spaces"):
            line = self.refusal(telnet__secret=secret)
            self.assertIn("telnet.secret must be a text without spaces, of 16", line)
            self.assertNotIn(secret, line)

    def test_misspelt_variable(self) -> None:
        self.assertEqual(
            self.refusal("", {"BBS_DATABASE_ULR": "sqlite:///x"}),
            "BBS_DATABASE_ULR: unknown key database.ulr, did you mean database.url?",
        )

    def test_misspelt_option(self) -> None:
        self.assertEqual(
            self.refusal(app__capacty=3),
            "option: unknown key app.capacty, did you mean app.capacity?",
        )

    def test_section_that_is_none(self) -> None:
        self.assertEqual(self.refusal("app = 3\n"), "FILE: app must be a section, [app]")

    def test_no_file(self) -> None:
        error = self.assertRaises(ConfigError, load, "/no/such/bbs.toml", {})
        self.assertEqual(str(error), "/no/such/bbs.toml: No such file or directory")

    def test_no_toml(self) -> None:
        self.assertIn("is not TOML: ", self.refusal("[app\n"))
        self.assertIn("is not TOML: ", self.refusal(b"\xff"))
        self.assertEqual(self.refusal("a = " + "[" * 100_000), "FILE: is nested too deeply")

    def test_a_file_without_an_end(self) -> None:
        error = self.assertRaises(ConfigError, load, "/dev/zero", {})
        self.assertEqual(str(error), f"/dev/zero: is longer than {2**20} bytes")

    def test_wrong_variable(self) -> None:
        self.assertEqual(
            self.refusal("", {"BBS_APP_CAPACITY": "ten"}),
            "BBS_APP_CAPACITY: app.capacity must be a whole number, 1 or more, not 'ten'",
        )
        self.assertIn(
            "BBS_FLEET_SPARE: fleet.spare must be", self.refusal("", {"BBS_FLEET_SPARE": ""})
        )
        self.assertIn("ec2.subnet_ids must be", self.refusal("", {"BBS_EC2_SUBNET_IDS": '["a"'}))

    def test_a_number_or_a_word(self) -> None:
        self.assertEqual(self.load("", {"BBS_FLEET_SPARE": "auto"}).fleet.spare, "auto")
        self.assertEqual(self.load("", {"BBS_FLEET_SPARE": "7"}).fleet.spare, 7)
        self.assertEqual(
            self.refusal("", {"BBS_FLEET_SPARE": "some"}),
            'BBS_FLEET_SPARE: fleet.spare must be a whole number, 0 or more, or "auto", not'
            " 'some'",
        )

    def test_wrong_values(self) -> None:
        """Wrong types and impossible values, as TOML has them."""
        for key, values in {
            "app.capacity": ("0", "-1", "1.0", '"10"', "true", "[]", "2020-01-01"),
            "app.address": ('"a b"', '":1"', '"h:0"', '"0.0.0.0"', '"tcp:h:1"', "1"),
            "fleet.spare": ("-1", "nan", "1.5", "true", '"5"', '"Auto"', '""'),
            "fleet.wait_target": ("0", "-1", '"auto"'),
            "fleet.consolidate_after": ("-1", "nan"),
            "limits.max_line": ("63",),
            "limits.idle_timeout": ("0", "0.0", "-1", "nan", "inf", "true", '"1"', "1" + "0" * 400),
            "fleet.idle_grace": ("-0.1", "1.1e9"),
            "limits.failed_logins": ('"20"', '"0/minute"', '"20/fortnight"', "20", '"-1/day"'),
            "fleet.provider": ('"aws"', '""', "1"),
            "login.listen": (
                '""', "[]", "22222", '"22222"', '"tpc:22222"', '"tcp:"', '"tcp:http"',
                '"tcp:65536"', '"tcp:port=x"', '["tcp:1", 2]', '"tcp:1\\n"', '"unix"',
            ),
            "web.listen": ('"tcp"', "0"),
            "web.trusted_proxies": ('"proxy.example"', '["192.0.2.1/24"]', "1"),
            "ec2.region": ('""',),
            "ec2.endpoint_url": ('"127.0.0.1:5000"', '"ftp://host"', '"http://"'),
            "ec2.instance_type": ('""', "[]", '[""]'),
            "ec2.address": ('""', '"Public"', '"{ip}{ip}"', '"{ip}:1"', '"{IP}.x"', '"a b{ip}"'),
            "ec2.key_name": ("1", '"\\u0000"', '"\\u007f"'),
            "database.url": (
                '"sqlite:///a%00b"',
                '"bbs.sqlite3"', '"sqlite://x"', '"sqlite:///"', '"sqlite:///x?y"', '"mysql://h/b"',
                '"mysql://u:p@h"', '"mysql://u:p@h/a/b"', '"mysql://u:p@h/b?ssl=1"', "1",
                '"mysql://u:p@h:0/b"', '"mysql://u:p@h:99999/b"', '"mysql://u:p#q@h/b"',
                '"postgres://u:p@h/b"', '["sqlite:///x"]', '"mysql://[/b"',
                '"mysql+mysqlconnector://h/b"', '"mysql+pymysql://h/b"', '"mysql+aiomysql://u:p@h/b"',
            ),
            "broker.url": (
                '""', "[]", '"stomp:h"', '"stomp://"', '"amqp://h"', '"stomp://h:0"',
                '"stomp://h?x=1"', '"stomp://u:%00@h"',
                '["embedded", "stomp://h"]', '"stomp://u:p/q@h"', "true",
            ),
        }.items():  # fmt: skip
            section, _, name = key.partition(".")
            for value in values:
                refusal = self.refusal(f"[{section}]\n{name} = {value}\n")
                self.assertTrue(refusal.startswith(f"FILE: {key} must be "), (key, value, refusal))

    def test_right_values(self) -> None:
        for key, values in {
            "login.listen": (
                '"tcp:0"', '"tcp:port=1:interface=127.0.0.1"', '"ssl:443:privateKey=key.pem"',
                '"tcp6:22222"', '"systemd:domain=INET:index=0"', '["tcp:1", "unix:/run/bbs"]',
                '"tcp:interface=\\\\:\\\\:1:port=22222"', '"haproxy:tcp:22222"',
            ),
            "database.url": (
                '"sqlite:////var/lib/bbs.sqlite3"', '"mysql://u@[::1]/b"',
                '"mysql://u:p%2F@h:3306/b?tls_ca=/etc/ca.pem"',
                '"mysql+mysqlconnector://u:p%2F@h:3306/b?tls_ca=/etc/ca.pem"',
                '"mysql+pymysql://u:p%2F@h:3306/b?tls_ca=/etc/ca.pem"',
            ),
            "broker.url": ('["embedded"]', '"stomp+ssl://u:p@h:61612"', '"stomp://h/vhost"'),
            "ec2.address": ('"dns"', '"ip-{ip}.apps.example.org"'),
            "fleet.idle_grace": ("0", "0.0", "1000000000"),
            "fleet.spare": ("0", '"auto"'),
            "fleet.wait_target": ("0.1", "60"),
            "fleet.consolidate_after": ("0", "30.0"),
            "ec2.endpoint_url": ('"http://127.0.0.1:5000"', '"https://ec2.example/"'),
        }.items():  # fmt: skip
            section, _, name = key.partition(".")
            for value in values:
                self.load(f"[{section}]\n{name} = {value}\n")

    def test_tls_that_is_not_installed(self) -> None:
        """Better now than when the server listens."""
        for lacking in ("OpenSSL", "service_identity"):
            with mock.patch.dict(sys.modules, {lacking: None}):
                told = self.refusal(login__listen="ssl:443:privateKey=k")
                self.assertIn("login.listen must be an endpoint", told)
                told = self.refusal(broker__url="stomp+ssl://h")
                self.assertIn("where txbbs[tls] is installed", told)
                self.load(login__listen="tcp:1", broker__url="stomp://h")

    def test_a_driver_that_is_not_installed(self) -> None:
        """What to do about it is said, and nothing of the URL."""
        url = "mysql+mysqlconnector://u:s3cret@h/b"
        with mock.patch.dict(sys.modules, {"_mysql_connector": None}):
            told = self.refusal(database__url=url)
            for other in ("", "+pymysql"):
                self.load(database__url=url.replace("+mysqlconnector", other))
        self.assertIn("database.url: mysql+mysqlconnector:// needs", told)
        self.assertIn("pip install 'txbbs[fast-mysql] >= 0.4'", told)
        self.assertNotIn("s3cret", told)

    def test_impossible_together(self) -> None:
        self.assertEqual(
            self.refusal("[fleet]\nminimum = 21\n"),
            "FILE: fleet.minimum (21) must be at most fleet.maximum (20)",
        )
        self.assertEqual(
            self.refusal("", {"BBS_FLEET_HEARTBEAT_INTERVAL": "10"}),
            "BBS_FLEET_HEARTBEAT_INTERVAL: fleet.lost_after (10.0) must be above"
            " fleet.heartbeat_interval (10.0)",
        )
        self.assertIn(
            "fleet.lease_timeout (1.0) must be above", self.refusal("[fleet]\nlease_timeout = 1\n")
        )

    def test_a_fleet_of_one_size(self) -> None:
        """The bound itself is possible."""
        self.assertEqual(self.load("[fleet]\nminimum = 20\n").fleet.minimum, 20)

    def test_ec2_without_an_image(self) -> None:
        self.assertEqual(
            self.refusal('[fleet]\nprovider = "ec2"\n'),
            "FILE: ec2.image_id or ec2.launch_template must say what to launch",
        )
        self.load('[fleet]\nprovider = "ec2"\n[ec2]\nimage_id = "ami-1"\n')
        self.load('[fleet]\nprovider = "ec2"\n[ec2]\nlaunch_template = "bbs"\n')

    def test_credits(self) -> None:
        """As EC2 has it for T3, if nobody says it."""
        self.assertEqual(self.load("").ec2.credits, "unlimited")
        self.assertEqual(self.load('[ec2]\ncredits = "standard"\n').ec2.credits, "standard")
        self.assertEqual(
            self.refusal('[ec2]\ncredits = "none"\n'),
            'FILE: ec2.credits must be "unlimited" or "standard", not \'none\'',
        )


class Writing(ConfigTestCase):
    """`to_toml` and `load` are each other's inverse."""

    def test_default(self) -> None:
        self.assertEqual(self.load(to_toml(Configuration())), Configuration())

    def test_changed_in_code(self) -> None:
        """As the fleet hands a configuration on, with its own broker in it."""
        config = replace(self.load(), broker=BrokerConfig(url=("stomp://u:p@127.0.0.1:1",)))
        self.assertEqual(self.load(to_toml(config)), config)

    @given(st.text(PRINTABLE), st.floats(0, 1e9), st.integers())
    def test_any_value(self, text: str, number: float, whole: int) -> None:
        for value in (text, number, whole):
            self.assertEqual(tomllib.loads(f"key = {write(value)}"), {"key": value})
        self.assertEqual(tomllib.loads(f"key = {write((text, ''))}"), {"key": [text, ""]})

    @given(
        st.text(PRINTABLE),
        st.lists(st.text(PRINTABLE, min_size=1)),
        st.floats(0, 1e9, exclude_min=True),
        st.integers(1),
        st.sampled_from(list(kinds.UNITS)),
    )
    def test_any(self, text: str, texts: list[str], seconds: float, count: int, unit: str) -> None:
        options: dict[str, object] = {
            "ec2.key_name": text,
            "ec2.subnet_ids": texts,
            "limits.idle_timeout": seconds,
            "app.capacity": count,
            "limits.registrations": f"{min(count, 999)}/{unit}",
        }
        config = load(None, {}, options)
        self.assertEqual(self.load(to_toml(config)), config)
        self.assertEqual(config.ec2.subnet_ids, tuple(texts))


@dataclass(frozen=True)
class Hall:
    """The section that a service declares."""

    seats: int = setting(7, "seats", minimum=1)
    closed: bool = setting(False, "closed", handed_on=False)


class Ec2:
    """A provider's name."""


class OfTheService(ConfigTestCase):
    def test_defaults(self) -> None:
        for each in (Configuration(), load(None, {}), load(None, {}, settings=(Hall,))):
            self.assertEqual(each.settings(Hall), Hall())

    def test_from_everywhere(self) -> None:
        path = self.write("[hall]\nseats = 8\nclosed = true\n")
        config = load(path, {}, settings=(Hall,))
        self.assertEqual(config.settings(Hall), Hall(8, True))
        self.assertEqual(config.sources["hall.seats"], path)
        self.assertEqual(
            load(path, {"BBS_HALL_SEATS": "9"}, settings=(Hall,)).settings(Hall).seats, 9
        )
        options = {"hall.seats": 10}
        self.assertEqual(load(path, {}, options, (Hall,)).settings(Hall), Hall(10, True))

    def test_refusals(self) -> None:
        path = self.write("[hall]\nseats = 0\n")
        error = self.assertRaises(ConfigError, load, path, {}, settings=(Hall,))
        self.assertIn("hall.seats must be a whole number, 1 or more, not 0", str(error))
        self.assertIn("unknown section [hall]", self.refusal("[hall]\nseats = 1\n"))

    def test_app_servers_are_told_what_is_handed_on(self) -> None:
        config = load(self.write("[hall]\nseats = 8\nclosed = true\n"), {}, settings=(Hall,))
        theirs = self.write(to_toml(config, for_app_servers=True))
        self.assertEqual(load(theirs, {}, settings=(Hall,)).settings(Hall), Hall(8))
        own = load(None, {"BBS_BOARD_LOOKALIKES": "refuse"}, settings=(Board,))
        self.assertNotIn("[board]", to_toml(own, for_app_servers=True))

    def test_no_provider_has_its_name(self) -> None:
        taken = {**sections.OWN_SECTIONS}
        del taken["ec2"]
        with mock.patch.object(sections, "OWN_SECTIONS", taken):
            error = self.assertRaises(ConfigError, load, None, {}, settings=(Ec2,))
        self.assertIn("a provider cannot have the name of the section [ec2]", str(error))


@dataclass(frozen=True)
class Walls(Limits):
    """What a service adds to `[limits]`."""

    posts: int = setting(3, "of a wall", minimum=1, share="all")
    colours: int = setting(7, "of a wall", share="all")


class OfTheLimits(ConfigTestCase):
    """A service adds keys to `[limits]`; the board's keys were there for every service."""

    def test_beside_the_own_ones(self) -> None:
        path = self.write("[limits]\ncolours = 8\nmax_line = 100\n")
        for environ, posts in (({}, 3), ({"BBS_LIMITS_POSTS": "5"}, 5)):
            limits = load(path, environ, settings=(Walls,)).limits
            self.assertEqual(limits, Walls(colours=8, posts=posts, max_line=100))

    def test_refusals(self) -> None:
        for line, said in (
            ("posts = 0", "limits.posts must be a whole number, 1 or more, not 0"),
            ("colour = 1", "unknown key limits.colour, did you mean limits.colours?"),
        ):
            path = self.write(f"[limits]\n{line}\n")
            error = self.assertRaises(ConfigError, load, path, {}, settings=(Walls,))
            self.assertIn(said, str(error))

    def test_app_servers_have_them(self) -> None:
        config = load(None, {"BBS_LIMITS_COLOURS": "8"}, settings=(Walls,))
        theirs = self.write(to_toml(config, for_app_servers=True))
        self.assertEqual(load(theirs, {}, settings=(Walls,)).limits, Walls(colours=8))

    def test_without_a_file(self) -> None:
        """Tests of services give limits that know no keys of the service."""
        for limits in (Limits(), Limits(max_line=100)):
            loaded = Configuration(limits=limits)
            self.assertEqual(loaded.limits_of(Walls), Walls(max_line=limits.max_line))
            self.assertIs(loaded.limits_of(None), limits)
        mine = Walls(colours=8)
        self.assertIs(Configuration(limits=mine).limits_of(Walls), mine)

    def test_a_former_key_counts_and_is_told_of(self) -> None:
        path = self.write('[limits]\nfriends = 5\ninvitations = "7/hour"\nposts = 10000\n')
        config = load(path, {})
        self.assertEqual((config.limits.friends, config.limits.invitations.count), (5, 7))
        lines = [line.split(" ")[0] for line in config.former_keys()]
        self.assertEqual(lines, ["limits.friends", "limits.posts", "limits.invitations"])
        self.assertEqual(lines, [key for key, *_ in masked(config) if key in lines])
        theirs = load(self.write(to_toml(config, for_app_servers=True)), {})
        self.assertEqual(theirs.limits, config.limits)
        own = load(None, {"BBS_LIMITS_POSTS": "5"}, settings=(Walls,))
        self.assertEqual([*own.former_keys()], [])

    def test_a_former_key_is_not_told_of_elsewhere(self) -> None:
        config = load(None, {})
        self.assertEqual([*config.former_keys()], [])
        for text in (to_toml(config), described(config)):
            self.assertNotIn("invitations", text)
            self.assertIn("free_disk", text)
        self.assertNotIn("invitations", self.refusal("[limits]\ninvitation = 1\n"))


USAGE = """\
usage: bbs config check FILE
       bbs config keys
       bbs config password NAME
       bbs config reveal FILE FOLDER
"""


class Command(ConfigTestCase):
    """`bbs config`."""

    def run_command(self, *argv: str, environ: Mapping[str, str] = {}) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, environ),
        ):
            code = config.main(argv, BOARD)
        return code, out.getvalue(), err.getvalue()

    def test_right(self) -> None:
        path = self.write(f'[database]\nurl = "{MYSQL}"\n')
        code, out, err = self.run_command("check", path, environ={"BBS_APP_CAPACITY": "3"})
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual(len(lines), len(masked(load(None, {}, settings=board.sections))))
        self.assertIn(f'database.url = "mysql://ann:***@db.example:3306/bbs"  # {path}', lines)
        self.assertIn("app.capacity = 3  # BBS_APP_CAPACITY", lines)
        self.assertIn("fleet.spare = 5  # default", lines)
        code, out, _ = self.run_command("check", path, environ={"BBS_FLEET_SPARE": "auto"})
        self.assertIn('fleet.spare = "auto"  # BBS_FLEET_SPARE', out.splitlines())

    def test_certificates_that_end(self) -> None:
        """They keep no server from starting."""
        pem = os.path.abspath(self.mktemp())
        path = self.write(f'[login]\nlisten = "ssl:22222:privateKey={pem}"\n')
        for ends, told in ((15.1, ""), (13.5, "expires in 13 days"), (-3.5, "expired 3 days ago")):
            certificate(pem, ("bbs.example",), ends=ends)
            code, out, err = self.run_command("check", path)
            self.assertEqual(code, 0)
            self.assertIn("login.listen = ", out)
            where = (
                f"{path}: login.listen: the certificate of ssl:22222:privateKey={pem} {told}, on"
            )
            self.assertEqual(err.count("\n"), 1 if told else 0)
            self.assertEqual(err.startswith(where), bool(told), err)

    def test_wrong(self) -> None:
        path = self.write("[app]\ncapacity = 0\n")
        code, out, err = self.run_command("check", path)
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err, f"{path}: app.capacity must be a whole number, 1 or more, not 0\n")

    def test_usage(self) -> None:
        for argv in ([], ["check"], ["check", "a", "b"], ["chekc", "a"]):
            self.assertEqual(self.run_command(*argv), (2, "", USAGE))

    def test_help(self) -> None:
        for flag in ("-h", "--help"):
            self.assertEqual(self.run_command(flag), (0, USAGE, ""))

    def test_password(self) -> None:
        """The line that it prints lets the operator in."""
        self.patch(sys, "stdin", io.StringIO("secret\nmore"))
        code, out, err = self.run_command("password", "liz")
        self.assertEqual((code, err), (0, ""))
        self.assertNotIn("secret", out)
        path = self.write(out)
        os.chmod(path, 0o600)
        self.assertTrue(OWASP.verify(read_passwords(path)["liz"], "secret"))

    def test_no_password(self) -> None:
        for name, typed, reason in (
            ("l:z", "secret\n", "'l:z' cannot be the name of an operator"),
            ("liz", "\n", "a password is needed, in a line of standard input"),
        ):
            self.patch(sys, "stdin", io.StringIO(typed))
            refused = self.run_command("password", name)
            self.assertEqual(refused, (1, "", f"bbs config: {reason}\n"))

    def test_keys(self) -> None:
        """Defaults, whatever the environment says, in a text that loads."""
        code, out, err = self.run_command("keys", environ={"BBS_APP_CAPACITY": "3"})
        self.assertEqual((code, err), (0, ""))
        defaults = load(None, {}, settings=board.sections)
        self.assertEqual(load(self.write(out), {}, settings=board.sections), defaults)
        self.assertIn("capacity = 10                        # users that one app server takes", out)
