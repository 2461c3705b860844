"""How a configuration is written: as TOML for whoever reads it, and in lines for operators."""

from __future__ import annotations

import json
from collections.abc import Collection

from bbs.config.sections import Configuration


def masked(config: Configuration) -> list[tuple[str, str, str]]:
    """Each key, its value as TOML with passwords masked, and where it came from."""
    rows = []
    for section, key, declared, value in config.every_key():
        kind, dotted = declared.kind, f"{section}.{key}"
        shown = write(kind.masked(value) if kind.secret else value)
        rows.append((dotted, shown, config.sources.get(dotted, "code")))
    return rows


def to_toml(
    config: Configuration, *, for_app_servers: bool = False, without: Collection[str] = ()
) -> str:
    """A TOML text, secrets included, that loads to an equal configuration.

    :param for_app_servers: write only the keys that are handed on to app servers.
    :param without: dotted keys that are left out.
    """
    lines: list[str] = []
    before = ""
    for section, key, declared, value in config.every_key():
        if (for_app_servers and not declared.handed_on) or f"{section}.{key}" in without:
            continue
        if section != before:
            lines.append(f"[{section}]")
        before = section
        lines.append(f"{key} = {write(value)}")
    return "\n".join(lines) + "\n"


def described(config: Configuration) -> str:
    """A TOML text with a line for each key, and what it is for; secrets are masked."""
    lines: list[str] = []
    before = ""
    for section, key, declared, value in config.every_key():
        if section != before:
            lines += [f"[{section}]"] if not before else ["", f"[{section}]"]
        before = section
        shown = write(declared.kind.masked(value) if declared.kind.secret else value)
        lines.append(f"{f'{key} = {shown}':36} # {declared.help}")
    return "\n".join(lines)


def write(value: object) -> str:
    """A value as TOML text."""
    if isinstance(value, tuple):
        return "[" + ", ".join(write(element) for element in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False)
