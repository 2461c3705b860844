"""The documentation as a site: `make docs` builds it, without a network and without a warning."""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import bbs

project = "bbs"
copyright = "the bbs developers"
version = release = bbs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "public"]
public_modules = ["bbs.framework"]
public_modules += [f"bbs.framework.{each}" for each in ("fast", "feeds", "limits", "names")]
public_modules += ["bbs.operators", "bbs.providers", "bbs.client", "bbs.client.aio"]
public_modules += ["bbs.protocols.stomp", "bbs.testing", "bbs.board"]
"""What is promised to other people (`developers/stability.md`); `api/` has a page for each."""

exclude_patterns = [
    f"api/{name.rpartition('.')[2]}.rst" for name in public_modules if find_spec(name) is None
]
"""The page of a module that is not there yet appears as soon as the module does."""

html_theme = "furo"
html_title = f"bbs {release}"
html_copy_source = False
html_show_sphinx = False

# Headings are link targets by the names that GitHub and its like give them.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_default_options = {"members": True, "imported-members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
# In docstrings, single backticks are code.
default_role = "code"

nitpicky = True
# There is no network while the pages are made, so nothing leads to other projects' pages. What is
# of this project has to be found: what a public signature names is public, private by its name, or
# a type variable (of one letter).
nitpick_ignore_regex = [
    (r"py:.*", r"(?!bbs\.).*"),
    (r"py:.*", r"bbs\..*\.(_\w+|[A-Z])"),
    # `operating.md` has the sections of the configuration, and their keys.
    (r"py:class", r"bbs\.config\.(sections|settings)\.\w+"),
]
# Handed on as they are, and not promised beyond that: readers neither make one nor look inside.
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "bbs.client.request.ClientRequest",
        "bbs.client.catalog.CommandCatalog",
        "bbs.commands.context.ServerContext",
        "bbs.config.kinds.Kind",
        "bbs.rules.attendance.Hooks",
        "bbs.rules.fleet_admin.By",
        "bbs.daemons.composition.Runtime",
        "bbs.core.values.Rate",
        "bbs.daemons.plugin.TwistdPlugin",
        "bbs.protocols.commands.Request",
        "bbs.protocols.line.connection.LineFactory",
        "bbs.rules.pagination.PagedRule",
        "bbs.protocols.line.interfaces.IConnection",
        "bbs.rules.auth.IHearers",
        "bbs.rules.auth.Question",
        "bbs.rules.placement.Seat",
        "bbs.storage.database.Database",
        "bbs.storage.partitions.Change",
        "bbs.storage.schema.Schema",
        "bbs.core.values.Instance",
        "bbs.storage.statements.Bound",
        "bbs.storage.database.BulkRule",
        "bbs.storage.statements.Statement",
        "bbs.core.threads.ILanes",
    )
]
