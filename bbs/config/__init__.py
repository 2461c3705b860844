"""One validated, frozen configuration.

`load` reads a TOML file, then environment variables (`BBS_DATABASE_URL` for `database.url`), then
options; what comes later wins. An unknown key, a wrong type or an impossible value is a
`ConfigError` that names the key, where it stands and what would be right. The keys and their
defaults are declared in `sections.py` and explained in `docs/operating.md`; a provider of servers
that is installed adds a section of its own. Paths are relative to the folder that the process runs
in.
"""

from bbs.config.loading import ConfigError, described, load, masked, to_toml
from bbs.config.sections import (
    EC2,
    App,
    Broker,
    Configuration,
    Database,
    Fleet,
    Limits,
    Login,
    Messages,
    Telnet,
    Web,
)
from bbs.config.settings import setting
from bbs.core.values import Rate

__all__ = [
    "EC2",
    "App",
    "Broker",
    "ConfigError",
    "Configuration",
    "Database",
    "Fleet",
    "Limits",
    "Login",
    "Messages",
    "Rate",
    "Telnet",
    "Web",
    "described",
    "load",
    "masked",
    "setting",
    "to_toml",
]
