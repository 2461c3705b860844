"""Providers from other packages: their sections, what they are given, and what is refused."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from bbs.config import ConfigError, Configuration, load, masked, to_toml
from bbs.core.clock import IReactor
from bbs.core.plugins import PluginUnusable
from bbs.rules.fleets import FleetIdentity
from bbs.rules.membership import Member
from bbs.scaling import providers
from bbs.scaling.interfaces import IProvider, LaunchRefused
from bbs.scaling.local import LocalProvider
from bbs.scaling.providers import NoProvider
from tests.installed import InstalledCase

SHIPS = """
    from dataclasses import dataclass
    from bbs.framework import setting
    from bbs.providers import Provider
    from bbs.testing import MemoryProvider

    @dataclass(frozen=True)
    class Ships:
        harbour: str = setting("Bergen", "where they lie")
        number: int = setting(3, "how many there are", minimum=1)
        speed: float = setting(10, "knots, as usual")
        sails: bool = setting(True, "whether they have any")
        crew: tuple[str, ...] = setting((), "who is on board")
        flag: str = setting("no", "what they show", choices=("no", "dk"), handed_on=False)
        papers: str = setting("", "who may call them", secret=True)

        def check(self):
            if self.harbour == "Basel":
                raise ValueError("ships.harbour: Basel is too far from the sea")

    kits = []

    def make(kit):
        kits.append(kit)
        provider = MemoryProvider(kit.scope)
        provider.kit = kit
        return provider

    async def make_slowly(kit):
        return make(kit)

    ships = Provider("ships", Ships, make)
    slow = Provider("slow", None, make_slowly, here=False)
    none = Provider("nothing", None, lambda kit: "no provider")

    def machine(kit):
        kits.append(kit)
        return kit.section.harbour

    sailing = Provider(
        "ships",
        Ships,
        make,
        machine=machine,
        everywhere=["speed"],
        behind_proxy=lambda section, host: host == section.harbour,
        price=lambda section, kind: section.speed if kind == "brig" else None,
    )
"""


class Outside(InstalledCase):
    """A provider of somebody else's, with a section."""

    def setUp(self) -> None:
        super().setUp()
        self.install("acme-ships", "whatever = acme_ships:ships", acme_ships=SHIPS)

    def load(self, text: str = "", **environ: str) -> Configuration:
        path = self.site / "bbs.toml"
        path.write_text(text)
        return load(str(path), environ)

    def refusal(self, text: str, **environ: str) -> str:
        line = str(self.assertRaises(ConfigError, self.load, text, **environ))
        return line.replace(f"{self.site}/bbs.toml", "FILE")

    def test_is_known_by_its_name(self) -> None:
        """By its own, not by its entry point's."""
        self.assertEqual(self.load('[fleet]\nprovider = "ships"\n').fleet.provider, "ships")
        self.assertEqual(
            self.refusal('[fleet]\nprovider = "whatever"\n'),
            'FILE: fleet.provider must be "ec2", "local", "none" or "ships", not \'whatever\'',
        )

    def test_section(self) -> None:
        """It is read from the file and the environment like any other."""
        text = '[ships]\nharbour = "Turku"\nspeed = 12\nsails = false\ncrew = ["ann", "bob"]\n'
        ships = self.load(text, BBS_SHIPS_NUMBER="7", BBS_SHIPS_FLAG="dk").sections()["ships"]
        self.assertEqual(
            (ships.harbour, ships.number, ships.speed, ships.sails, ships.crew, ships.flag),
            ("Turku", 7, 12.0, False, ("ann", "bob"), "dk"),
        )
        self.assertIs(self.load("", BBS_SHIPS_SAILS="true").sections()["ships"].sails, True)

    def test_what_is_wrong_with_it(self) -> None:
        """A line names the key, and what would be right."""
        for text, right in (
            ("[ships]\nharbour = 1\n", "ships.harbour must be a text without control characters"),
            ("[ships]\nnumber = 0\n", "ships.number must be a whole number, 1 or more, not 0"),
            ("[ships]\nspeed = nan\n", "ships.speed must be a number, not nan"),
            ("[ships]\nspeed = 1" + "0" * 400, "ships.speed must be a number"),
            ('[ships]\nsails = "yes"\n', "ships.sails must be true or false, not 'yes'"),
            ('[ships]\nflag = "se"\n', 'ships.flag must be "no" or "dk", not \'se\''),
            ("[ships]\nharbor = 1\n", "unknown key ships.harbor, did you mean ships.harbour?"),
            ("[shipps]\n", "unknown section [shipps], did you mean ships?"),
            ("[ships]\npapers = 1\n", "ships.papers must be a text without control characters"),
        ):
            self.assertIn(f"FILE: {right}", self.refusal(text))
        self.assertIn("BBS_SHIPS_SAILS: ships.sails must", self.refusal("", BBS_SHIPS_SAILS="1"))

    def test_what_it_finds_wrong_itself(self) -> None:
        """Where it is the provider in use."""
        text = '[ships]\nharbour = "Basel"\n'
        self.load(text)
        self.assertEqual(
            self.refusal('[fleet]\nprovider = "ships"\n' + text),
            "FILE: ships.harbour: Basel is too far from the sea",
        )

    def test_shown_and_written(self) -> None:
        secret = self.site / "papers"
        secret.write_text("s3cret\n")
        config = self.load(f'[ships]\npapers_file = "{secret}"\n')
        self.assertEqual(config.sections()["ships"].papers, "s3cret")
        self.assertNotIn("s3cret", repr(config))
        rows = [row for row in masked(config) if row[0].startswith("ships.")]
        self.assertEqual(
            rows[:3],
            [
                ("ships.harbour", '"Bergen"', "default"),
                ("ships.number", "3", "default"),
                ("ships.speed", "10", "default"),
            ],
        )
        self.assertEqual(rows[3][:2], ("ships.sails", "true"))
        self.assertEqual(rows[-1], ("ships.papers", '"***"', str(secret)))
        self.assertEqual(self.load(to_toml(config)), config)

    def test_what_app_servers_are_told(self) -> None:
        """Its section, but for secrets and what it keeps to itself; and no section of others."""
        text = '[ships]\npapers = "s3cret"\nnumber = 9\nflag = "dk"\n'
        config = self.load('[fleet]\nprovider = "ships"\n' + text)
        told = providers.configuration_text(config, ("stomp://h",), config.app.listen)
        self.assertEqual(
            tomllib.loads(told)["ships"],
            {"harbour": "Bergen", "number": 9, "speed": 10, "sails": True, "crew": []},
        )
        other = self.load(text)
        told = providers.configuration_text(other, ("stomp://h",), other.app.listen)
        self.assertNotIn("ships", tomllib.loads(told))

    def test_all_brokers(self) -> None:
        """Only where it is set: older app servers do not know the key."""
        brokers = ("stomp://h", "stomp://i")
        for value, told in ((True, {"all": True}), (False, {})):
            config = self.load(f"[broker]\nall = {str(value).lower()}\n")
            text = providers.configuration_text(config, brokers, config.app.listen)
            self.assertEqual(tomllib.loads(text)["broker"], {"url": [*brokers], **told})


class Kits(InstalledCase):
    """What a provider is made of."""

    def setUp(self) -> None:
        super().setUp()
        names = "ships = acme_ships:ships\nslow = acme_ships:slow\nnothing = acme_ships:none"
        self.install("acme-ships", names, acme_ships=SHIPS)
        self.data = str(self.site / "data")
        self.stops: list[Callable[[], Any]] = []
        self.clock = Clock()

    def config(self, provider: str, **options: str) -> Configuration:
        given = {key.replace("__", "."): value for key, value in options.items()}
        return load(None, {}, {"fleet.provider": provider, **given})

    def make(self, config: Configuration, service_name: str = "bbs") -> Deferred[IProvider]:
        return Deferred.fromCoroutine(
            providers.make_provider(
                config,
                ("stomp://bbs:s3cret@127.0.0.1:1",),
                Member("1" * 32, "this process"),
                self.data,
                cast("IReactor", self.clock),
                maybeDeferred,
                self.stops.append,
                FleetIdentity(id="0123456789abcdef"),
                service_name,
            )
        )

    def made(self, config: Configuration, service_name: str = "bbs") -> Any:
        return self.successResultOf(self.make(config, service_name))

    def stop(self) -> None:
        """As a daemon does it."""
        while self.stops:
            self.successResultOf(maybeDeferred(self.stops.pop()))

    def test_kit(self) -> None:
        os.environ |= {"BBS_SHIPS_NUMBER": "3", "NOTIFY_SOCKET": "/run/none"}
        self.addCleanup(os.environ.pop, "BBS_SHIPS_NUMBER")
        self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
        config = self.config("ships", ships__number="4", app__listen="tcp:5:interface=127.0.0.9")
        kit = self.made(config, "lobby").kit
        self.assertEqual((kit.reactor, kit.section.number), (self.clock, 4))
        self.assertEqual((kit.scope, kit.host), ("ships:this process", "127.0.0.9"))
        self.assertEqual((kit.service_name, kit.data_folder), ("lobby", self.data))
        self.assertEqual((kit.fleet_id, kit.former), ("0123456789abcdef", False))
        self.assertNotIn("BBS_SHIPS_NUMBER", kit.environment)
        self.assertNotIn("NOTIFY_SOCKET", kit.environment)
        self.assertEqual(kit.environment["PATH"], os.environ["PATH"])
        self.assertEqual(kit.only_here, ("database.url", "broker.url"))
        command = kit.command("a-1")
        self.assertEqual(command[0], sys.executable)
        self.assertIn("lobby-app", command)
        self.assertIn("--server-id=a-1", command)
        self.assertNotIn("s3cret", " ".join(command))
        (path,) = [each[len("--config=") :] for each in command if each.startswith("--config=")]
        text = Path(path).read_text()
        self.assertEqual(kit.configuration("a-1"), text)
        theirs = load(path, {})
        self.assertEqual(str(theirs.app.listen[0]), "tcp:0:interface=127.0.0.9")
        self.assertEqual(theirs.broker.url, ("stomp://bbs:s3cret@127.0.0.1:1",))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.stop()
        self.assertFalse(os.path.exists(path))

    def test_a_warm_pool_needs_a_provider_that_stops_machines(self) -> None:
        config = self.config("ships", fleet__warm="2")
        told = "fleet.warm: the provider ships cannot keep stopped servers: set it to 0"
        with self.assertRaises(ConfigError) as refused:
            providers.check(config, "bbs")
        self.assertEqual(str(refused.exception), told)
        self.assertEqual(str(self.failureResultOf(self.make(config), ConfigError).value), told)
        providers.check(self.config("ships"), "bbs")

    def test_stops(self) -> None:
        """What it asks for is called after what was begun later has stopped, last to first, also
        if it asks late, and whatever becomes of the others."""
        kit = self.made(self.config("ships")).kit
        order: list[str] = []
        kit.on_stop(lambda: succeed(None).addCallback(lambda _: order.append("first")))
        self.stops.append(lambda: order.append("provider"))
        kit.on_stop(lambda: 1 / 0)
        kit.on_stop(lambda: order.append("late"))
        self.stop()
        self.assertEqual(order, ["provider", "late", "first"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_elsewhere(self) -> None:
        """What makes it may wait for something. Nothing is written where nothing runs here."""
        kit = self.made(self.config("slow", app__listen="tcp:5")).kit
        self.assertIs(kit.section, None)
        self.assertFalse(os.path.exists(self.data))
        self.assertEqual(tomllib.loads(kit.configuration("a"))["app"]["listen"], ["tcp:5"])
        self.assertRaises(LookupError, kit.command, "a")

    def test_no_provider(self) -> None:
        failure = self.failureResultOf(self.make(self.config("nothing")), PluginUnusable)
        self.assertEqual(
            str(failure.value),
            "plugin nothing of acme-ships (bbs.providers): it made 'no provider', which does not"
            " provide IProvider",
        )

    def test_folder_that_cannot_be_written(self) -> None:
        Path(self.data).touch()
        failure = self.failureResultOf(self.make(self.config("ships")), LaunchRefused)
        self.assertIn(f"cannot write {self.data}/run/app-", str(failure.value))

    def test_own(self) -> None:
        """Those of this package are made alike."""
        local = self.made(self.config("local"))
        self.assertIsInstance(local, LocalProvider)
        self.assertEqual(local.scope, "local:this process")
        by_hand = self.made(self.config("none"), "lobby")
        self.assertIsInstance(by_hand, NoProvider)
        failure = self.failureResultOf(by_hand.launch("a"), LaunchRefused)
        self.assertEqual(
            str(failure.value), "fleet.provider is none: run twistd lobby-app yourself"
        )
        launches = {name: providers.named(name)[1].launches for name in ("local", "none", "ec2")}
        self.assertEqual(launches, {"local": True, "none": False, "ec2": True})

    def test_unknown(self) -> None:
        """What was put together in code may name any."""
        config = Configuration()
        config = replace(config, fleet=replace(config.fleet, provider="aws"))
        failure = self.failureResultOf(self.make(config), ConfigError)
        self.assertEqual(str(failure.value), "fleet.provider: unknown provider 'aws'")


class Machines(InstalledCase):
    """What an app server learns of who launched it."""

    def setUp(self) -> None:
        super().setUp()
        self.install("acme-ships", "ships = acme_ships:sailing", acme_ships=SHIPS)

    def theirs(self, provider: str, **given: str) -> Configuration:
        """The configuration of an app server that `provider` launches."""
        known = {key.replace("__", "."): value for key, value in given.items()}
        options = {"fleet.provider": provider, "ec2.image_id": "ami-1", **known}
        config = load(None, {}, options)
        text = providers.configuration_text(config, config.broker.url, config.app.listen)
        path = Path(self.mktemp())
        path.write_text(text)
        return load(str(path), {})

    def launcher(self, provider: str, **given: str) -> str | None:
        found = providers.launcher(self.theirs(provider, **given))
        return found.name if found else None

    def test_who_launched(self) -> None:
        for provider, launcher in (
            *(("ec2", "ec2"), ("ships", "ships")),
            *(("local", None), ("none", None)),
        ):
            self.assertEqual(self.launcher(provider), launcher)

    def test_other_sections(self) -> None:
        """Nobody else did, though the login server's configuration should speak of EC2."""
        for address in ("public", "private", "dns"):
            self.assertEqual(self.launcher("ec2", ec2__address=address), "ec2")
            self.assertEqual(self.launcher("local", ec2__address=address), None)
            self.assertEqual(self.theirs("ec2", ec2__address=address).ec2.address, address)

    def test_what_everybody_is_told(self) -> None:
        theirs = self.theirs("local", ec2__region="eu-north-1", ships__speed="7")
        self.assertEqual(theirs.ec2.region, "eu-north-1")

    def kit(self) -> Any:
        section = load(None, {}, {"ships.harbour": "Oslo"}).sections()["ships"]
        return providers.MachineKit(Clock(), section, "a-1", {"PATH": "/"}, lambda stop: None)

    def test_kit(self) -> None:
        kit = self.kit()
        provider = providers.named("ships")[1]
        error = self.assertRaises(TypeError, providers.make_machine, provider, kit)
        self.assertEqual(str(error), "it made 'Oslo', which does not provide IMachine")
        self.assertIs(sys.modules["acme_ships"].kits[-1], kit)

    def test_none(self) -> None:
        """A provider may have nothing to say."""
        section: Any = providers.named("ships")[1].section
        make: Any = print
        silent = providers.Provider("ships", section, make, machine=lambda kit: None)
        self.assertIs(providers.make_machine(silent, self.kit()), None)
        self.assertIs(providers.make_machine(providers.local, self.kit()), None)

    def test_behind_a_proxy(self) -> None:
        says = providers.behind_proxy(
            load(None, {}, {"ships.harbour": "Oslo", "ec2.address": "ip-{ip}.example.org"})
        )
        hosts = ("Oslo", "ip-10-0-0-1.example.org", "ip-10-0-0.example.org", "10.0.0.1", "public")
        self.assertEqual([host for host in hosts if says(host)], [*hosts[:2]])
        self.assertFalse(providers.behind_proxy(Configuration())("public"))

    def test_prices(self) -> None:
        prices = providers.prices(load(None, {}, {"ships.speed": "0.25"}))
        self.assertEqual({*prices}, {"ec2", "ships"})
        self.assertEqual((prices["ships"]("brig"), prices["ships"]("raft")), (0.25, None))
        self.assertIs(prices["ec2"]("no such type"), None)

    def test_malformed(self) -> None:
        section, make = providers.named("ships")[1].section, cast("Any", print)
        with self.assertRaises(ValueError) as caught:
            providers.Provider("ships", section, make, everywhere=["sail"])
        self.assertEqual(str(caught.exception), "everywhere: the section has no key sail")
        with self.assertRaises(ValueError) as caught:
            providers.Provider("ships", None, make, machine=make)
        told = "a provider with a machine needs a key that it hands on"
        self.assertEqual(str(caught.exception), told)


class Unusable(InstalledCase):
    """Each ends a start in one line, which names the distribution at fault."""

    def refused(self, distribution: str, text: str, point: str = "it") -> str:
        self.install(distribution, f"{point} = acme_bad:it", acme_bad=text)
        error = self.assertRaises(ConfigError, load, None, {})
        line = str(error)
        self.assertEqual(line.splitlines(), [line])
        head = f"plugin {point} of {distribution} (bbs.providers): "
        self.assertTrue(line.startswith(head), line)
        return line[len(head) :]

    def provider(self, name: str = "ships", section: str = "None") -> str:
        """A module with a provider that makes none."""
        declared = section if section.startswith("@") else f"Section = {section}"
        return (
            "from dataclasses import dataclass\n"
            "from bbs.config import EC2\n"
            "from bbs.framework import Provider, setting\n"
            f"{declared}\n"
            f"it = Provider({name!r}, Section, lambda kit: None)\n"
        )

    def test_does_not_import(self) -> None:
        self.assertEqual(self.refused("acme-bad", "1 / 0"), "ZeroDivisionError: division by zero")

    def test_names_nothing(self) -> None:
        self.assertIn("AttributeError: ", self.refused("acme-bad", "that = 1"))

    def test_names_no_module(self) -> None:
        """The value of an entry point may be any text."""
        for text in ("acme-bad:it", "acme_bad:", ""):
            self.clean_site()
            self.install("acme-bad", f"it = {text}", acme_bad="it = 1")
            error = self.assertRaises(ConfigError, load, None, {})
            self.assertIn("plugin it of acme-bad (bbs.providers): ", str(error))

    def test_no_provider(self) -> None:
        self.assertEqual(self.refused("acme-bad", "it = 1"), "TypeError: 1 is not a Provider")

    def test_name_of_a_section(self) -> None:
        taken = "a provider cannot have the name of the section [login]"
        self.assertEqual(self.refused("acme-bad", self.provider("login")), taken)

    def test_section_of_another_name(self) -> None:
        """It may not have a section of the framework's under the framework's name either."""
        section = "@dataclass(frozen=True)\nclass Section:\n    x: int = setting(1, 'x')\n"
        refusal = self.refused("acme-bad", self.provider("web", section))
        self.assertEqual(refusal, "a provider cannot have the name of the section [web]")

    def test_name_of_ours(self) -> None:
        """Whoever comes from elsewhere is at fault, wherever it stands in the alphabet."""
        for name in ("local", "none", "ec2"):
            self.clean_site()
            section = "EC2" if name == "ec2" else "None"
            refusal = self.refused("aaa", self.provider(name, section), "aaa")
            self.assertEqual(refusal, f"txbbs already has a provider {name}")

    def test_name_twice(self) -> None:
        self.install("acme-one", "one = acme_one:it", acme_one=self.provider("ships"))
        refusal = self.refused("acme-two", self.provider("ships"), "two")
        self.assertEqual(refusal, "acme-one already has a provider ships")

    def test_bad_name(self) -> None:
        for name in ("", "Ships", "my_ships", "my-ships", "7"):
            self.clean_site()
            refusal = self.refused("acme-bad", self.provider(name))
            self.assertIn("a provider's name is small letters and digits, not", refusal)
