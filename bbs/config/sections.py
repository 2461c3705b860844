"""The sections of the configuration: our own, which `docs/operating.md` explains, and those that
installed providers add.

A provider is found by its entry point in the group `bbs.providers`. Only its name and its section
matter here; `bbs.scaling.providers` makes something of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from bbs.config import kinds
from bbs.config.settings import Key, keys_of, setting
from bbs.core.addresses import ListeningPlace
from bbs.core.plugins import Plugin, PluginUnusable, plugins
from bbs.core.values import Rate, Size

AUTO = "auto"
"""The value of `fleet.spare` for a number that is found as it is needed."""


@dataclass(frozen=True)
class Login:
    listen: tuple[ListeningPlace, ...] = setting(
        "tcp:22222",
        "endpoint strings, one or a list: tcp:, ssl:, tcp6:, systemd:",
        kind=kinds.endpoints,
        handed_on=False,
    )
    drain_delay: float = setting(
        0.0,
        "s that a login server that is to stop serves on, not ready, for a balancer to see it",
        kind=kinds.seconds(zero=True),
        handed_on=False,
    )


@dataclass(frozen=True)
class App:
    listen: tuple[ListeningPlace, ...] = setting(
        "tcp:22223", "local provider: each child takes a free port", kind=kinds.endpoints
    )
    address: str = setting(
        "",
        "HOST or HOST:PORT that users are told of one run by hand; else what it finds out",
        kind=kinds.told_address,
        handed_on=False,
    )
    capacity: int = setting(10, "users that one app server takes", kind=kinds.whole(1))
    place_ttl: float = setting(
        900.0,
        "s without command or listening connection until a place goes back",
        kind=kinds.seconds(),
    )


@dataclass(frozen=True)
class Database:
    url: str = setting(
        "sqlite:///bbs.sqlite3",
        "or mysql://user:password@host:3306/bbs?tls_ca=FILE",
        kind=kinds.database_url,
        handed_on=True,
    )
    pool_size: int = setting(8, "connections, at most", kind=kinds.whole(1))


@dataclass(frozen=True)
class Broker:
    url: tuple[str, ...] = setting(
        "embedded",
        "or stomp://user:password@host:61613, stomp+ssl://…, or a list for failover",
        kind=kinds.broker_urls,
        handed_on=True,
    )


@dataclass(frozen=True)
class Fleet:
    provider: str = setting(
        "local",
        "local, ec2, or none (app servers run by hand), or one that a package adds",
        kind=kinds.name,
        handed_on=False,
    )
    minimum: int = setting(
        1, "app servers kept even when nobody is on", kind=kinds.whole(0), handed_on=False
    )
    maximum: int = setting(20, "app servers, at most", kind=kinds.whole(1), handed_on=False)
    spare: int | str = setting(
        5,
        'free places kept ready ahead of demand; "auto": what wait_target needs',
        kind=kinds.whole_or(AUTO, 0),
        handed_on=False,
    )
    wait_target: float = setting(
        1.0,
        "s that 99 of 100 who come wait at most, as far as foresight can",
        kind=kinds.seconds(),
        handed_on=False,
    )
    consolidate_after: float = setting(
        120.0,
        "s of a server's worth of places beyond need until the emptiest drains; 0: never",
        kind=kinds.seconds(zero=True),
        handed_on=False,
    )
    warm: int = setting(
        0, "stopped instances kept for a crowd (ec2)", kind=kinds.whole(0), handed_on=False
    )
    idle_grace: float = setting(
        120.0,
        "s an empty server beyond need lives on",
        kind=kinds.seconds(zero=True),
        handed_on=False,
    )
    launch_timeout: float = setting(
        180.0,
        "s until a launch that is not ready has failed",
        kind=kinds.seconds(),
        handed_on=False,
    )
    heartbeat_interval: float = setting(2.0, "s", kind=kinds.seconds())
    lost_after: float = setting(10.0, "s without a heartbeat", kind=kinds.seconds())
    lease_timeout: float = setting(
        60.0, "s an app server lives on when it cannot renew", kind=kinds.seconds()
    )


@dataclass(frozen=True)
class Limits:
    max_line: int = setting(65536, "bytes", kind=kinds.whole(64))
    idle_timeout: float = setting(600.0, "s", kind=kinds.seconds())
    unterminated_timeout: float = setting(0.05, "s", kind=kinds.seconds())
    session_ttl: float = setting(604800.0, "s a session lives unused", kind=kinds.seconds())
    failed_logins: Rate = setting(
        "20/minute",
        "a name from one address; ten times that a name, and an address",
        kind=kinds.rate,
    )
    logins: Rate = setting(
        "60/minute", "that succeed, a name from one address", kind=kinds.rate, handed_on=False
    )
    registrations: Rate = setting("100/minute", "an address", kind=kinds.rate)
    registration: str = setting(
        "open", "or closed", kind=kinds.choice("open", "closed"), handed_on=False
    )
    password_minimum: int = setting(1, "characters", kind=kinds.whole(1), handed_on=False)
    connections: int = setting(20000, "a process", kind=kinds.whole(1))
    connections_per_address: int = setting(200, "an IPv6 address by its /64", kind=kinds.whole(1))
    trusted: tuple[IPv4Network | IPv6Network, ...] = setting(
        ["127.0.0.0/8", "::1"],
        "networks whose connections are not counted by address",
        kind=kinds.networks_or_none,
    )
    first_request: float = setting(
        60.0, "s until a connection must have asked something", kind=kinds.seconds()
    )
    commands: Rate = setting("200/second", "a user; what is over waits", kind=kinds.rate)
    deliveries: Rate = setting("500/second", "a user's messages, by readers", kind=kinds.rate)
    sessions_per_user: int = setting(
        32, "more end the one longest unused", kind=kinds.whole(1), handed_on=False
    )
    friends: int = setting(1000, "of a user", kind=kinds.whole(0))
    groups: int = setting(100, "made by a user", kind=kinds.whole(0))
    members: int = setting(1000, "of a group", kind=kinds.whole(1))
    inbox: int = setting(16777216, "bytes that wait for a user", kind=kinds.whole(0))
    posts: int = setting(10000, "of a user, the latest", kind=kinds.whole(1))


@dataclass(frozen=True)
class Log:
    format: str = setting(
        "text", "or json, an object a line for collectors", kind=kinds.choice("text", "json")
    )
    rotate: Size = setting("10 MiB", "what bbs up keeps its logs to", kind=kinds.size)
    keep: int = setting(5, "logs kept beside the present one", kind=kinds.whole(1))
    security: str = setting(
        "",
        "a file for logins, limits, registrations; in a data folder logs/security.log",
        kind=kinds.any_text,
        handed_on=False,
    )


@dataclass(frozen=True)
class Messages:
    poll_interval: float = setting(
        2.0, "s between looks at the database while the broker is away", kind=kinds.seconds()
    )
    message_retention: float = setting(2592000.0, "s a message is kept", kind=kinds.seconds())


@dataclass(frozen=True)
class EC2:
    """The section of the provider `ec2`. Its region is also where secrets are that the
    configuration only names (`references.py`), whatever launches the app servers; so it is here."""

    region: str = setting("us-east-1", "where instances and secrets are", kind=kinds.name)
    endpoint_url: str = setting(
        "", "another EC2 API, for tests", kind=kinds.http_url_or_none, handed_on=False
    )
    image_id: str = setting("", "what instances boot", kind=kinds.any_text, handed_on=False)
    instance_type: tuple[str, ...] = setting(
        "t3.micro",
        "one or a list, tried in turn when capacity lacks",
        kind=kinds.names,
        handed_on=False,
    )
    subnet_ids: tuple[str, ...] = setting(
        [], "tried in turn, each type in all of them", kind=kinds.names_or_none, handed_on=False
    )
    security_group_ids: tuple[str, ...] = setting(
        [], "what may reach the instances", kind=kinds.names_or_none, handed_on=False
    )
    key_name: str = setting(
        "", "whose SSH key the instances take", kind=kinds.any_text, handed_on=False
    )
    iam_instance_profile: str = setting(
        "", "what the instances may do: a name or ARN", kind=kinds.any_text, handed_on=False
    )
    launch_template: str = setting(
        "",
        "name or id, and after a colon its version, else $Default",
        kind=kinds.any_text,
        handed_on=False,
    )
    address: str = setting(
        "public",
        "which address users are told: public, private, dns",
        kind=kinds.choice("public", "private", "dns"),
    )
    name: str = setting(
        "bbs",
        "tag for people to read; whose an instance is, a tag with the fleet's own id says",
        kind=kinds.name,
        handed_on=False,
    )
    spot: bool = setting(False, "ask for Spot capacity first", kind=kinds.flag, handed_on=False)
    user_data: str = setting(
        "",
        "path of a template of the operator's own, else the built-in one",
        kind=kinds.any_text,
        handed_on=False,
    )
    package: str = setting(
        "",
        "what pip installs where the image has no bbs: a wheel's URL, with options of pip's",
        kind=kinds.any_text,
    )
    log_group: str = setting(
        "",
        "where in CloudWatch Logs app servers' logs go, if the image has what ships them",
        kind=kinds.log_group_or_none,
        handed_on=False,
    )

    def check(self) -> None:
        """Refuse what says nothing to launch."""
        if not (self.image_id or self.launch_template):
            raise ValueError("ec2.image_id or ec2.launch_template must say what to launch")


@dataclass(frozen=True)
class Telnet:
    listen: tuple[ListeningPlace, ...] = setting(
        "tcp:2323", '"": no gateway in a bbs up', kind=kinds.endpoints_or_none, handed_on=False
    )
    server: str = setting(
        "127.0.0.1:22222",
        "the login server that it talks to; by TLS tls://HOST:PORT?tls_ca=FILE&tls_name=NAME",
        kind=kinds.server,
        handed_on=False,
    )
    secret: str = setting(
        "",
        "the same at both: the login server believes the gateway whose address people have",
        kind=kinds.shared_secret,
    )


@dataclass(frozen=True)
class Web:
    listen: tuple[ListeningPlace, ...] = setting(
        "", "off unless set", kind=kinds.endpoints_or_none, handed_on=False
    )
    password_file: str = setting(
        "", "without one the page shows, and changes nothing", kind=kinds.any_text, handed_on=False
    )


@dataclass(frozen=True)
class Tracing:
    endpoint: str = setting(
        "",
        "where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318; off unless set",
        kind=kinds.collector_or_none,
        handed_on=True,
    )
    sample: float = setting(
        1.0, "share of the traces begun here that is recorded", kind=kinds.share
    )


@dataclass(frozen=True)
class Configuration:
    """Every section, and where each key came from.

    `providers` has the sections that providers add, by the providers' names. `sources` maps a
    dotted key to `default`, the path of the configuration file, the environment variable,
    `option`, or the path of the file that holds the secret. Two configurations are equal when their
    values are.
    """

    login: Login = Login()
    app: App = App()
    database: Database = Database()
    broker: Broker = Broker()
    fleet: Fleet = Fleet()
    limits: Limits = Limits()
    log: Log = Log()
    messages: Messages = Messages()
    ec2: EC2 = EC2()
    telnet: Telnet = Telnet()
    web: Web = Web()
    tracing: Tracing = Tracing()
    providers: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def sections(self) -> dict[str, Any]:
        """Every section, by name."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        del own["providers"], own["sources"]
        return own | dict(self.providers)

    def every_key(self) -> Iterator[tuple[str, str, Key, Any]]:
        """Every key: its section, its name, what is declared of it, and its value."""
        for name, section in self.sections().items():
            for key, declared in keys_of(type(section)).items():
                yield name, key, declared, getattr(section, key)


OWN_SECTIONS: Mapping[str, type] = {
    name: type(section) for name, section in Configuration().sections().items()
}
"""The sections that are always there; a provider may add no other one under such a name."""


PROVIDERS = "bbs.providers"
"""The entry-point group; each entry point names a `bbs.scaling.providers.Provider`."""

_OWN_DISTRIBUTION = "bbs"


def installed_providers() -> Iterator[tuple[Plugin, Any]]:
    """The providers that are installed, each with the plugin that it is; this distribution's first.

    :raises PluginUnusable: one of them cannot be used, or its name is taken.
    """
    sections = dict(OWN_SECTIONS)
    names: dict[str, str] = {}
    found = sorted(plugins(PROVIDERS), key=lambda each: each.distribution != _OWN_DISTRIBUTION)
    for plugin in found:
        provider = plugin.use(_check)
        name: str = provider.name
        if name in names:
            raise plugin.unusable(f"{names[name]} has a provider {name} already")
        if sections.setdefault(name, provider.section) is not provider.section:
            raise plugin.unusable(f"the section [{name}] is taken, so no provider can be called so")
        names[name] = plugin.distribution
        yield plugin, provider


def _check(thing: Any) -> Any:
    if not all(hasattr(thing, name) for name in ("name", "section", "make")):
        raise TypeError(f"{thing!r} is no Provider")
    if thing.section is not None:
        keys_of(thing.section)
    return thing


@dataclass(frozen=True)
class ConfigurationSchema:
    """The sections by name, and every key by its dotted name."""

    sections: Mapping[str, type]
    keys: Mapping[str, Key]

    @classmethod
    def installed(cls) -> ConfigurationSchema:
        """The schema of this installation.

        :raises PluginUnusable: a provider cannot be used.
        """
        providers = [provider for _, provider in installed_providers()]
        if not providers:
            raise PluginUnusable(f"bbs is not installed: it has no entry points in {PROVIDERS}")
        added = {each.name: each.section for each in providers if each.section is not None}
        sections = {**OWN_SECTIONS, **added}
        keys = {
            f"{name}.{key}": declared
            for name, section in sections.items()
            for key, declared in keys_of(section).items()
        }
        choice = kinds.choice(*(each.name for each in providers))
        keys["fleet.provider"] = replace(keys["fleet.provider"], kind=choice)
        return cls(sections, keys)

    def of_secret_file(self, dotted: str) -> str | None:
        """The secret whose file a key names; None if it is a key of another kind."""
        key = dotted.removesuffix("_file")
        return key if key != dotted and key in self.keys and self.keys[key].kind.secret else None

    def nearest(self, key: str) -> str:
        """Suggest what an unknown key or section may have meant."""
        section, dot, _ = key.partition(".")
        files = [f"{each}_file" for each in self.keys if self.of_secret_file(f"{each}_file")]
        every = [*self.keys, *files]
        close = difflib.get_close_matches(key, every if dot else self.sections, 1)
        if close:
            return f"did you mean {close[0]}?"
        keys = [each for each in every if each.startswith(f"{section}.")]
        return f"there are {', '.join(keys or self.sections)}"
