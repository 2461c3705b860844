"""What a configuration may hold: the own sections, and what the installed providers add.

A provider is found by its entry point in the group `bbs.providers`. Only its name and its section
matter here; `bbs.scaling.providers` is what makes something of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bbs.config import kinds
from bbs.config.sections import OWN_SECTIONS
from bbs.config.settings import Key, keys_of
from bbs.plugins import Plugin, PluginUnusable, plugins

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
class Schema:
    """The sections by name, and every key by its dotted name."""

    sections: Mapping[str, type]
    keys: Mapping[str, Key]

    @classmethod
    def installed(cls) -> Schema:
        """What this installation knows.

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
        """What somebody may have meant who wrote an unknown key or section."""
        section, dot, _ = key.partition(".")
        files = [f"{each}_file" for each in self.keys if self.of_secret_file(f"{each}_file")]
        every = [*self.keys, *files]
        close = difflib.get_close_matches(key, every if dot else self.sections, 1)
        if close:
            return f"did you mean {close[0]}?"
        keys = [each for each in every if each.startswith(f"{section}.")]
        return f"there are {', '.join(keys or self.sections)}"
