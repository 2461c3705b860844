"""Where files are that the client keeps for whoever runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_file(environ: Mapping[str, str], name: str) -> Path:
    """Where what the client remembers under `name` is."""
    return _place(environ, "XDG_STATE_HOME", ".local/state", name)


def settings_file(environ: Mapping[str, str], name: str) -> Path:
    """Where what somebody has set under `name` is."""
    return _place(environ, "XDG_CONFIG_HOME", ".config", name)


def _place(environ: Mapping[str, str], variable: str, otherwise: str, name: str) -> Path:
    """By the XDG Base Directory Specification (0.8): in the folder that `variable` names, which
    counts only when it is absolute, and else in one of the home's."""
    folder = environ.get(variable, "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(folder if os.path.isabs(folder) else f"{home}/{otherwise}") / "bbs" / name
