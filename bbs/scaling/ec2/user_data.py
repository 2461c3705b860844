"""What an instance on EC2 boots with: user data, made for each launch from a template.

A template is text in which `${server_id}`, `${fleet}`, `${service}`, `${config}`,
`${config_base64}`, `${region}`, `${log_group}` and `${traceparent}` are filled in, and `$$` is a
dollar sign; a dollar sign before anything else stays as it is. The built-in one is `app-server.sh`
beside this, for Debian and Ubuntu; an operator's own is named by `ec2.user_data`.

User data can be read by everybody who may describe instances in the account, and on the instance.
So references to secrets go into it as they are (`bbs/config/references.py`), and the instance asks
for them.
"""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from twisted.logger import Logger

from bbs.config import EC2, ConfigError
from bbs.config.kinds import is_reference, mask
from bbs.scaling.providers import LaunchKit

MAX_BYTES = 16384
"""EC2 takes so much user data, before it is put into base64."""

BUILT_IN = "app-server.sh"

_FIELD = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^}\n]*)\}?)")
_LONGEST_ID = "i" * 64
_LONGEST_TRACE = "t" * 55
_ONLY_HERE = {
    "database.url": "a file; name a mysql:// one",
    "broker.url": "the embedded one; name another",
}

_log = Logger()


def maker(kit: LaunchKit) -> Callable[[str], str]:
    """What makes the user data of a launch from the launch's id.

    The template is read here, once, and tried.

    :raises ConfigError: no app server could boot with it, or reach what only this machine reaches:
        one line says why.
    """
    config: EC2 = kit.section
    # With another API's endpoint the instances may be on this machine too.
    if kit.only_here and not config.endpoint_url:
        key = kit.only_here[0]
        raise ConfigError(f"{key}: instances cannot reach {_ONLY_HERE[key]}")
    template = read_template(config.user_data)

    def filled(server_id: str, trace: str) -> str:
        toml = kit.configuration(server_id)
        return fill(template, config, server_id, toml, kit.service_name, trace)

    filled(_LONGEST_ID, _LONGEST_TRACE)
    _warn_of_secrets(kit.configuration(_LONGEST_ID))
    return lambda server_id: filled(server_id, kit.traceparent(server_id))


def read_template(path: str) -> str:
    """The operator's template at `path`, or the built-in one for an empty path.

    :raises ConfigError: it cannot be read.
    """
    if not path:
        return files("bbs.scaling").joinpath(BUILT_IN).read_text("utf-8")
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"ec2.user_data: {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"ec2.user_data: {path!r} is no text file") from error


def fill(
    template: str,
    config: EC2,
    server_id: str,
    toml: str,
    service_name: str = "bbs",
    traceparent: str = "",
) -> str:
    """A template with its fields filled in.

    :raises ConfigError: it names a field that there is not, or the result is more than EC2 takes.
    """
    values = {
        "server_id": server_id,
        "fleet": config.name,
        "service": service_name,
        "config": toml,
        "config_base64": base64.b64encode(toml.encode()).decode("ascii"),
        "region": config.region,
        "log_group": config.log_group,
        "traceparent": traceparent,
    }
    place = config.user_data or BUILT_IN

    def value(field: re.Match[str]) -> str:
        if field["dollar"]:
            return "$"
        if field["name"] in values and field[0].endswith("}"):
            return values[field["name"]]
        line = template.count("\n", 0, field.start()) + 1
        known = ", ".join(f"${{{name}}}" for name in values)
        raise ConfigError(
            f"ec2.user_data: {place}, line {line}: unknown {field[0]}, there are {known}"
            " ($$ is a dollar sign)"
        )

    filled = _FIELD.sub(value, template)
    size = len(filled.encode())
    if size > MAX_BYTES:
        raise ConfigError(f"ec2.user_data: {place}: {size} bytes, and EC2 takes {MAX_BYTES}")
    return filled


def _warn_of_secrets(toml: str) -> None:
    told = tomllib.loads(toml)
    for key, urls in (
        ("database.url", [told["database"]["url"]]),
        ("broker.url", told["broker"]["url"]),
    ):
        if any(not is_reference(url) and mask(url) != url for url in urls):
            _log.warn(
                "the password in {key} is in the instances' user data, where others may read it;"
                " ssm:/NAME or secretsmanager:NAME would keep it out",
                key=key,
            )
