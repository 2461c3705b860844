"""The sections of the configuration: our own, which `docs/operating.md` explains, and those that
the service and installed providers add.

Entry points in the group `bbs.providers` name the providers. Only their names and their sections
are used here; `bbs.scaling.providers` does the rest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar

from bbs.config import kinds
from bbs.config.kinds import Kind
from bbs.config.settings import Key, former_setting, keys_of, name_of, setting
from bbs.core import former
from bbs.core.addresses import ListeningPlace
from bbs.core.plugins import Plugin, PluginUnusable, plugins
from bbs.core.values import Rate, Size

T = TypeVar("T")

AUTO = "auto"
"""The value of `fleet.spare` for a number that follows the demand."""

OWN = "own"
"""The value of `fleet.controller` for a process of its own."""


_FORMER = former.Quotas()

ITS_OWN, NO_AMOUNT = "all: it is nobody else's", "a switch, not an amount"
"""The share of one person or address in a limit that is theirs alone, and in a switch."""


def _local(default: object, help: str, kind: Kind[T]) -> T:
    """Declare a key that app servers are not told."""
    return setting(default, help, kind=kind, handed_on=False)


@dataclass(frozen=True)
class Login:
    listen: tuple[ListeningPlace, ...] = _local(
        "tcp:22222", "endpoint strings, one or a list: tcp:, ssl:, tcp6:, systemd:", kinds.endpoints
    )
    drain_delay: float = _local(
        0.0,
        "s that a login server that is to stop serves on, not ready, for a balancer to see it",
        kinds.seconds(zero=True),
    )


@dataclass(frozen=True)
class App:
    listen: tuple[ListeningPlace, ...] = setting(
        "tcp:22223", "local provider: each child takes a free port", kind=kinds.endpoints
    )
    address: str = _local(
        "",
        "HOST or HOST:PORT that users are told of one run by hand; else what it finds out",
        kinds.told_address,
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = setting(
        [],
        "networks of proxies, whose PROXY header (version 2) says where a connection is from",
        kind=kinds.networks_or_none,
    )
    capacity: int = setting(10, "users that one app server takes", minimum=1)
    place_ttl: float = setting(
        900.0,
        "s without command or listening connection until a place goes back",
        kind=kinds.seconds(),
    )


@dataclass(frozen=True)
class DatabaseConfig:
    url: str = setting(
        "sqlite:///bbs.sqlite3",
        "or mysql://user:password@host:3306/bbs?tls_ca=FILE",
        kind=kinds.database_url,
        handed_on=True,
    )
    pool_size: int = setting(8, "connections, at most", minimum=1)


@dataclass(frozen=True)
class BrokerConfig:
    url: tuple[str, ...] = setting(
        "embedded",
        "or stomp://user:password@host:61613, stomp+ssl://…, or a list for failover",
        kind=kinds.broker_urls,
        handed_on=True,
    )
    all: bool = setting(False, "events through every broker of the list at once, not through one")


@dataclass(frozen=True)
class Fleet:
    controller: str = _local(
        "login",
        '"login": login servers control it; "own": processes NAME-fleet, which nobody reaches',
        kinds.choice("login", OWN),
    )
    provider: str = _local(
        "local",
        "local, ec2, or none (app servers run by hand), or one that a package adds",
        kinds.name,
    )
    minimum: int = _local(1, "app servers kept even when nobody is on", kinds.whole(0))
    maximum: int = _local(20, "app servers, at most", kinds.whole(1))
    spare: int | str = _local(
        5,
        'free places kept ready ahead of demand; "auto": what wait_target needs',
        kinds.whole_or(AUTO, 0),
    )
    wait_target: float = _local(
        1.0,
        "s that 99 of 100 logins wait at most, as far as demand can be forecast",
        kinds.seconds(),
    )
    consolidate_after: float = _local(
        120.0,
        "s that a server's places must be surplus until the emptiest drains; 0: never",
        kinds.seconds(zero=True),
    )
    warm: int = _local(0, "stopped machines kept for a crowd, if the provider can", kinds.whole(0))
    idle_grace: float = _local(
        120.0, "s an empty server beyond need lives on", kinds.seconds(zero=True)
    )
    launch_timeout: float = _local(
        180.0, "s until a launch that is not ready has failed", kinds.seconds()
    )
    heartbeat_interval: float = setting(2.0, "s", kind=kinds.seconds())
    lost_after: float = setting(10.0, "s without a heartbeat", kind=kinds.seconds())
    lease_timeout: float = setting(
        60.0, "s an app server lives on when it cannot renew", kind=kinds.seconds()
    )


@dataclass(frozen=True)
class Limits:
    """The limits of each person and address: `[limits]` of the configuration. A service adds keys
    of its own by a subclass (`Service.limits`).

    `operating.md` explains the keys, in seconds and bytes: `max_line`, `idle_timeout`,
    `unterminated_timeout`, `session_ttl`, `failed_logins`, `logins`, `registrations`,
    `registration`, `password_minimum`, `connections`, `connections_per_address`, `handshakes`,
    `places_per_address`, `trusted`, `first_request`, `commands`, `deliveries`, `sessions_per_user`
    and `free_disk`. The board's `friends`, `groups`, `members`, `inbox`, `posts`, `stored` and
    `invitations` are deprecated for other services.
    """

    max_line: int = setting(65536, "bytes", minimum=64, share=ITS_OWN)
    idle_timeout: float = setting(600.0, "s", kind=kinds.seconds(), share=ITS_OWN)
    unterminated_timeout: float = setting(0.05, "s", kind=kinds.seconds(), share=ITS_OWN)
    session_ttl: float = setting(
        604800.0, "s a session lives unused", kind=kinds.seconds(), share=ITS_OWN
    )
    failed_logins: Rate = setting(
        "20/minute",
        "a name from one address; ten times that a name, and an address",
        kind=kinds.rate,
        share="an address has a tenth of what a name has from all strangers",
    )
    logins: Rate = setting(
        "60/minute",
        "that succeed, a name from one address",
        kind=kinds.rate,
        handed_on=False,
        share=ITS_OWN,
    )
    registrations: Rate = setting("100/minute", "an address", kind=kinds.rate, share=ITS_OWN)
    registration: str = setting(
        "open",
        "or closed",
        kind=kinds.choice("open", "closed"),
        handed_on=False,
        share=NO_AMOUNT,
    )
    password_minimum: int = setting(
        1, "characters", kind=kinds.whole(1), handed_on=False, share=NO_AMOUNT
    )
    connections: int = setting(
        20000,
        "a process",
        minimum=1,
        share="`connections_per_address`; a tenth is for addresses with a login of late",
    )
    connections_per_address: int = setting(
        200, "an IPv6 address by its /64", minimum=1, share=ITS_OWN
    )
    handshakes: Rate = setting(
        "100/second",
        "of TLS at a port; a fifth of it an address; what is over waits 2 s, then is refused",
        kind=kinds.rate,
        share="a fifth; as many again are for addresses with a login of late",
    )
    places_per_address: float = setting(
        0.2,
        "share of all places, at least 10, an IPv6 address by its /48",
        kind=kinds.share,
        handed_on=False,
        share="it is the share of an address in all places",
    )
    trusted: tuple[IPv4Network | IPv6Network, ...] = setting(
        ["127.0.0.0/8", "::1"],
        "networks whose connections are not counted by address",
        kind=kinds.networks_or_none,
        share=NO_AMOUNT,
    )
    first_request: float = setting(
        60.0,
        "s until a connection must have asked something",
        kind=kinds.seconds(),
        share=ITS_OWN,
    )
    commands: Rate = setting(
        "200/second", "a user; what is over waits", kind=kinds.rate, share=ITS_OWN
    )
    deliveries: Rate = setting(
        "500/second", "a user's messages, by readers", kind=kinds.rate, share=ITS_OWN
    )
    sessions_per_user: int = setting(
        32,
        "more end the one longest unused",
        kind=kinds.whole(1),
        handed_on=False,
        share=ITS_OWN,
    )
    # Of the board, which declares them itself. Other services had them up to version 0.4.0.
    friends: int = former_setting(_FORMER.friends, kinds.whole(0))
    groups: int = former_setting(_FORMER.groups, kinds.whole(0))
    members: int = former_setting(_FORMER.members, kinds.whole(1))
    inbox: int = former_setting(_FORMER.inbox, kinds.whole(0))
    posts: int = former_setting(_FORMER.posts, kinds.whole(1))
    stored: int = former_setting(_FORMER.stored, kinds.whole(0))
    invitations: Rate = former_setting(_FORMER.invitations, kinds.rate)
    free_disk: int | str = setting(
        AUTO,
        "bytes free for an SQLite database, below which nobody may send or post; 0: any",
        kind=kinds.whole_or(AUTO, 0),
        share="what `stored`, `posts` and `groups` leave a user",
    )


@dataclass(frozen=True)
class Log:
    format: str = setting(
        "text", "or json, an object a line for collectors", choices=("text", "json")
    )
    rotate: Size = setting("10 MiB", "what bbs up keeps its logs to", kind=kinds.size)
    keep: int = setting(5, "logs kept beside the present one", minimum=1)
    security: str = _local(
        "",
        "a file for logins, limits, registrations; in a data folder logs/security.log",
        kinds.any_text,
    )


@dataclass(frozen=True)
class Messages:
    poll_interval: float = setting(
        2.0, "s between looks at the database while the broker is away", kind=kinds.seconds()
    )
    message_retention: float = setting(2592000.0, "s a message is kept", kind=kinds.seconds())


@dataclass(frozen=True)
class EC2:
    """The section of the provider `ec2`. With any provider, `region` is also where `references.py`
    finds secrets; therefore this section is always there."""

    region: str = setting("us-east-1", "where instances and secrets are", kind=kinds.name)
    endpoint_url: str = _local("", "another EC2 API, for tests", kinds.http_url_or_none)
    image_id: str = _local("", "what instances boot", kinds.any_text)
    instance_type: tuple[str, ...] = _local(
        "t3.micro", "one or a list, tried in turn when capacity lacks", kinds.names
    )
    subnet_ids: tuple[str, ...] = _local(
        [], "tried in turn, each type in all of them", kinds.names_or_none
    )
    security_group_ids: tuple[str, ...] = _local(
        [], "what may reach the instances", kinds.names_or_none
    )
    key_name: str = _local("", "whose SSH key the instances take", kinds.any_text)
    iam_instance_profile: str = _local(
        "", "what the instances may do: a name or ARN", kinds.any_text
    )
    launch_template: str = _local(
        "", "name or id, and after a colon its version, else $Default", kinds.any_text
    )
    address: str = setting(
        "public",
        "which address users are told: public, private, dns, or a name with {ip} in it",
        kind=kinds.instance_address,
    )
    name: str = _local(
        "bbs",
        "tag for people to read; whose an instance is, a tag with the fleet's own id says",
        kinds.name,
    )
    spot: bool = _local(False, "ask for Spot capacity first", kinds.flag)
    credits: str = setting(
        "unlimited",
        "CPU credits of t2, t3, t3a, t4g: unlimited (what is beyond costs more), standard",
        choices=("unlimited", "standard"),
        handed_on=False,
    )
    user_data: str = _local(
        "", "path of a template of the operator's own, else the built-in one", kinds.any_text
    )
    package: str = setting(
        "", "what pip installs where the image has no bbs: a wheel's URL, with options of pip's"
    )
    log_group: str = _local(
        "",
        "where in CloudWatch Logs app servers' logs go, if the image has what ships them",
        kinds.log_group_or_none,
    )

    @property
    def is_public(self) -> bool:
        """Whether people reach an instance by an address of its own, which EC2 has to give it."""
        return self.address in ("public", "dns")

    def check(self) -> None:
        """Refuse a section that does not say what to launch."""
        if not (self.image_id or self.launch_template):
            raise ValueError("ec2.image_id or ec2.launch_template must say what to launch")


@dataclass(frozen=True)
class Telnet:
    listen: tuple[ListeningPlace, ...] = _local(
        "tcp:2323", '"": no gateway in a bbs up', kinds.endpoints_or_none
    )
    server: str = _local(
        "127.0.0.1:22222",
        "the login server that it talks to; by TLS tls://HOST:PORT?tls_ca=FILE&tls_name=NAME",
        kinds.server,
    )
    secret: str = setting(
        "",
        "shared with servers, which then believe the gateway's addresses of people",
        kind=kinds.shared_secret,
    )


@dataclass(frozen=True)
class Web:
    listen: tuple[ListeningPlace, ...] = _local("", "off unless set", kinds.endpoints_or_none)
    password_file: str = _local(
        "", "without one the page shows, and changes nothing", kinds.any_text
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _local(
        [],
        "networks of proxies whose Forwarded or X-Forwarded-For is believed",
        kinds.networks_or_none,
    )


@dataclass(frozen=True)
class Manhole:
    socket: str = setting(
        "",
        "path of a Unix socket, {server} in it stands for the server's id; off unless set",
        kind=kinds.any_text,
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

    `login`, `app`, `database`, `broker`, `fleet`, `limits`, `log`, `messages`, `ec2`, `telnet`,
    `web`, `manhole` and `tracing` have the framework's own keys, with their defaults and units as
    `operating.md` has them; times are in seconds, and sizes in bytes.

    `service` has the sections that the service declares (`Service.sections`), by their names, and
    `providers` those that providers add, by the providers' names. `sources` maps a
    dotted key to `default`, the path of the configuration file, the environment variable,
    `option`, or the path of the secret's file. Configurations with equal values are equal.
    """

    login: Login = Login()
    app: App = App()
    database: DatabaseConfig = DatabaseConfig()
    broker: BrokerConfig = BrokerConfig()
    fleet: Fleet = Fleet()
    limits: Limits = Limits()
    log: Log = Log()
    messages: Messages = Messages()
    ec2: EC2 = EC2()
    telnet: Telnet = Telnet()
    web: Web = Web()
    manhole: Manhole = Manhole()
    tracing: Tracing = Tracing()
    service: Mapping[str, Any] = field(default_factory=dict, hash=False)
    providers: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def sections(self) -> dict[str, Any]:
        """The sections by name, with those of the service and of providers."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        del own["service"], own["providers"], own["sources"]
        return own | dict(self.service) | dict(self.providers)

    def settings(self, section: type[T]) -> T:
        """The section that the service declares, with its defaults if nothing was loaded."""
        found: T = self.service.get(name_of(section)) or section()
        return found

    def limits_of(self, section: type[Limits] | None) -> Limits:
        """`[limits]` with the keys that the service adds by `section`, if it adds any: with their
        defaults if nothing was loaded."""
        if section is None or isinstance(self.limits, section):
            return self.limits
        own = {key: value for name, key, _, value in self.every_key() if name == "limits"}
        return section(**own)

    def every_key(self) -> Iterator[tuple[str, str, Key, Any]]:
        """Yield each key: its section, its name, its declaration and its value; of former keys
        those that are set."""
        for name, section in self.sections().items():
            for key, declared in keys_of(type(section)).items():
                value = getattr(section, key)
                if not declared.former or self._is_set(name, key, value):
                    yield name, key, declared, value

    def _is_set(self, section: str, key: str, value: object) -> bool:
        default = getattr(OWN_SECTIONS[section](), key)
        return value != default or self.sources.get(f"{section}.{key}", "default") != "default"

    def former_keys(self) -> Iterator[str]:
        """Yield a line for each key that is set, though services in general no longer have it."""
        for section, key, declared, _ in self.every_key():
            if declared.former:
                yield (
                    f"{section}.{key} is no key of this service since version 0.5.0, and will be"
                    " refused by a later one"
                )


OWN_SECTIONS: Mapping[str, type] = {
    name: type(section) for name, section in Configuration().sections().items()
}
"""The sections that are always there; a provider cannot add another section of such a name."""

PROVIDERS = "bbs.providers"
"""The entry-point group; each entry point names a `bbs.scaling.providers.Provider`."""


def installed_providers(settings: Sequence[type] = ()) -> Iterator[tuple[Plugin, Any]]:
    """The installed providers, each with its plugin; our own come first.

    :param settings: the sections that the service declares, whose names no provider may have.
    :raises PluginUnusable: one of them cannot be used, or its name is taken.
    """
    sections = {**OWN_SECTIONS, **_of_service(settings)}
    names: dict[str, str] = {}
    found = sorted(plugins(PROVIDERS), key=lambda each: not each.point.value.startswith("bbs."))
    for plugin in found:
        provider = plugin.use(_check)
        name: str = provider.name
        if name in names:
            raise plugin.unusable(f"{names[name]} already has a provider {name}")
        if sections.setdefault(name, provider.section) is not provider.section:
            raise plugin.unusable(f"a provider cannot have the name of the section [{name}]")
        names[name] = plugin.distribution
        yield plugin, provider


def _of_service(settings: Sequence[type]) -> Mapping[str, type]:
    return {section_name(section): section for section in settings}


def section_name(section: type[Any]) -> str:
    """The name of a section that a service declares: `limits` if it adds to the framework's."""
    return name_of(Limits if issubclass(section, Limits) else section)


def _check(thing: Any) -> Any:
    if not all(hasattr(thing, name) for name in ("name", "section", "make")):
        raise TypeError(f"{thing!r} is not a Provider")
    if thing.section is not None:
        keys_of(thing.section)
    return thing


@dataclass(frozen=True)
class ConfigurationSchema:
    """The sections by name, and every key by its dotted name."""

    sections: Mapping[str, type]
    keys: Mapping[str, Key]

    @classmethod
    def installed(cls, settings: Sequence[type] = ()) -> ConfigurationSchema:
        """The schema of this installation, with the sections `settings` of the service; raises
        PluginUnusable if a provider cannot be used."""
        providers = [provider for _, provider in installed_providers(settings)]
        if not providers:
            raise PluginUnusable(f"bbs is not installed: it has no entry points in {PROVIDERS}")
        added = {each.name: each.section for each in providers if each.section is not None}
        sections = {**OWN_SECTIONS, **_of_service(settings), **added}
        keys = {
            f"{name}.{key}": declared
            for name, section in sections.items()
            for key, declared in keys_of(section).items()
        }
        choice = kinds.choice(*(each.name for each in providers))
        keys["fleet.provider"] = replace(keys["fleet.provider"], kind=choice)
        return cls(sections, keys)

    def of_secret_file(self, dotted: str) -> str | None:
        """The secret whose file a key `…_file` names; None for another key."""
        key = dotted.removesuffix("_file")
        return key if key != dotted and key in self.keys and self.keys[key].kind.secret else None

    def nearest(self, key: str) -> str:
        """Suggest a key or section for an unknown one."""
        section, dot, _ = key.partition(".")
        files = [f"{each}_file" for each in self.keys if self.of_secret_file(f"{each}_file")]
        every = [*(key for key in self.keys if not self.keys[key].former), *files]
        if close := difflib.get_close_matches(key, every if dot else self.sections, 1):
            return f"did you mean {close[0]}?"
        keys = [each for each in every if each.startswith(f"{section}.")]
        return f"there are {', '.join(keys or self.sections)}"
