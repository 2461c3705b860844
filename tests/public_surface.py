"""Prints the public names of the `bbs` that Python finds, as JSON: `docs/developers/stability.md`.

It runs with the code of older versions too, so it imports nothing from `tests`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping, Sequence

MODULES = ("bbs.framework", "bbs.client", "bbs.protocols.stomp", "bbs.testing")

Parameter = tuple[str, bool, bool]
"""Its name, whether a call may give it by its place, and whether it may be left out."""

Surface = Mapping[str, Sequence[Parameter]]
"""Public names, and public attributes of public classes, by their dotted names; of each the
parameters, if it can be called."""


def surface() -> Surface:
    found = {}
    for path in MODULES:
        module = importlib.import_module(path)
        for name in module.__all__:
            public = getattr(module, name)
            found[f"{path}.{name}"] = _parameters(public)
            if inspect.isclass(public):
                for attribute in dir(public):
                    if not attribute.startswith("_"):
                        value = getattr(public, attribute, None)
                        found[f"{path}.{name}.{attribute}"] = _parameters(value)
    return found


def _parameters(public: object) -> Sequence[Parameter]:
    try:
        signature = inspect.signature(public)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # No callable, or one in C.
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        (each.name, each.kind in places, each.default is not each.empty or each.kind in variable)
        for each in signature.parameters.values()
    ]


if __name__ == "__main__":
    print(json.dumps(surface()))
