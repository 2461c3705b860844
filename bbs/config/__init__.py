"""One validated, frozen configuration.

`load` reads a TOML file, then environment variables (`BBS_DATABASE_URL` for `database.url`), then
options; later values win. An unknown key, a wrong type or an impossible value is a `ConfigError`
that names the key, its place and what would be right. `sections.py` declares the keys and their
defaults, and `docs/operating.md` explains them; an installed provider adds a section of its own.
Paths are relative to the working directory of the process.
"""

from bbs.config.kinds import Kind
from bbs.config.loading import ConfigError, described, load, masked, read, to_toml
from bbs.config.sections import EC2, App, BrokerConfig, Configuration, Fleet, Limits, Messages
from bbs.config.settings import setting

__all__ = [
    "EC2",
    "App",
    "BrokerConfig",
    "ConfigError",
    "Configuration",
    "Fleet",
    "Kind",
    "Limits",
    "Messages",
    "described",
    "load",
    "masked",
    "read",
    "setting",
    "to_toml",
]
