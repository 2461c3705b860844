"""The settings of the service, as its rules read them."""

from __future__ import annotations

from typing import Any, TypeVar

from bbs.storage import models

T = TypeVar("T")


def settings(section: type[T]) -> T:
    """Return the service's section of the configuration in a rule: `settings(Auctions).longest`,
    for `Service(settings=Auctions)` or that of an extension. The settings stay the same while a
    process runs. Call it in a rule; a handler has `ask.settings`.

    :param section: the class that declares it.
    :raises LookupError: neither the service nor an extension declares it.
    """
    database: Any = models.database.obj
    try:
        found: T = database.sections[section]
    except KeyError:
        declared = "Service(settings=…) and its extensions do not declare"
        raise LookupError(f"{declared} the section {section.__name__}") from None
    return found
