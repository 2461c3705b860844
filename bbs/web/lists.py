"""The lists of a service's own things, for operators, and the acts on what is in them.

The service declares the lists, the acts and all words (`bbs.rules.service_admin`). One rule on a
database thread reads a part of a list. Equal requests share an answer for a moment, as with people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bbs.core.errors import Refusal
from bbs.rules import service_admin
from bbs.rules.fleet_admin import By
from bbs.rules.service_admin import (
    MOST_POSITION,
    Kind,
    ListRow,
    OperatorAct,
    OperatorField,
    OperatorList,
)
from bbs.web.actions import (
    ActionRejected,
    Controls,
    answer_errors,
    fields_of,
    fields_only_in_body,
    is_text,
    query_value,
    require_page,
    success,
)
from bbs.web.poller import TTLCache
from bbs.web.resources import ChangeResource, HttpAnswer, ReadResource, as_json

MOST_ROWS = 20  # in one part of a list
MOST_SEARCH = 100  # characters of a search
LAST_MOMENT = 253402300799.0  # the end of the year 9999, in seconds since the epoch


@dataclass
class ListControls:
    """Answers requests about the lists of a service; `cache` has parts of them."""

    controls: Controls
    cache: TTLCache[HttpAnswer]
    acts: int = 0  # Whoever reads after an act does not get what was read before.

    async def declared(self, request: Any, by: By) -> HttpAnswer:
        """The lists, with their columns and acts, in words."""
        return as_json([described(each) for each in self.controls.context.lists])

    async def part(self, shown: OperatorList, request: Any, by: By) -> HttpAnswer:
        """The next rows of a list."""
        search, behind = (query_value(request, name) for name in ("search", "behind"))
        search = search[:MOST_SEARCH]
        if len(behind) > MOST_POSITION:
            raise ActionRejected(400, "Malformed field: behind")

        async def make() -> HttpAnswer:
            limit = MOST_ROWS + 1  # One more says whether there are more.
            run, typed = self.controls.context.database.run, search.strip() if shown.search else ""
            found: Sequence[ListRow]
            try:
                found = await run(shown.rows, by.now, typed, behind, limit)
            except ValueError:
                if not behind:
                    raise
                # Somebody made up a position that the list cannot read.
                raise ActionRejected(400, "Malformed field: behind") from None
            some, last = found[:MOST_ROWS], found[MOST_ROWS - 1 : MOST_ROWS]
            rest = len(found) > MOST_ROWS
            rows = [{"key": each.key, "cells": each.cells} for each in some]
            more = (last[0].position or last[0].key) if rest else None
            if more and len(more) > MOST_POSITION:
                raise ValueError(f"{shown.name}: the position of a row is too long")
            return as_json({"rows": rows, "more": more})

        return await self.cache.get((f"{self.acts}", shown.name, search, behind), make)

    async def act(self, act: OperatorAct, request: Any, by: By) -> HttpAnswer:
        """Carry out an act on a row, or one that needs none."""
        fields_only_in_body(request)
        given, database = fields_of(request), self.controls.context.database
        key = given.get("key", "")
        if not is_text(key):
            raise ActionRejected(400, "Malformed field: key")
        if act.again and given.get("again") != key:
            raise ActionRejected(400, "Type the name once more: the two differ")
        values = {each.name: _value(each, given, by.now) for each in act.fields}
        try:
            result = await database.run(service_admin.perform, by, act, str(key), values)
        except Refusal as error:
            raise ActionRejected(409, error.message) from error
        self.acts += 1
        self.controls.report(by, act.name, result.on)
        self.controls.context.on_act()
        while result.rest and not await database.run(result.rest):
            pass  # Each removes a part.
        self.acts += 1
        return success(f"You {act.words(result.on)}")

    def resource(self) -> ReadResource:
        root = self._reader(self.declared)
        for shown in self.controls.context.lists:
            child = self._reader(partial(self.part, shown))
            root.putChild(shown.name.encode(), child)
            for act in (*shown.acts, *shown.adds):
                change = ChangeResource(require_page(self._responder(partial(self.act, act))))
                child.putChild(act.name.encode(), change)
        return root

    def _reader(self, read: Any) -> ReadResource:
        return ReadResource(answer_errors(self._responder(read)))

    def _responder(self, respond: Any) -> Any:
        async def answer(request: Any) -> HttpAnswer | None:
            return await self.controls.by_operator(partial(respond, request))(request)

        return answer


def _value(field: OperatorField, given: Mapping[str, object], now: float) -> str | float | None:
    """The value of a field, as a rule gets it."""
    value = given.get(field.name)
    if value is None or value == "":
        if field.optional:
            return None
        raise ActionRejected(400, f"Missing field: {field.name}")
    if field.kind == Kind.TIME:
        return _moment(field, value, now)
    if not is_text(value):
        raise ActionRejected(400, f"Malformed field: {field.name}")
    if len(str(value)) > field.most:
        raise ActionRejected(400, f"{field.name} has at most {field.most:,} characters")
    return str(value)


def _moment(field: OperatorField, value: object, now: float) -> float:
    try:
        moment = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        moment = math.nan
    if not 0 <= moment <= LAST_MOMENT:
        raise ActionRejected(400, f"{field.name} must be a time, in seconds since the epoch")
    if moment <= now:
        raise ActionRejected(400, "This time is over")
    return moment


def described(shown: OperatorList) -> dict[str, object]:
    return {
        "name": shown.name,
        "title": shown.title,
        "means": shown.means,
        "search": shown.search,
        "columns": [{"title": each.title, "kind": each.kind} for each in shown.columns],
        "acts": [_form(each) for each in shown.acts],
        "adds": [_form(each) for each in shown.adds],
    }


def _form(act: OperatorAct) -> dict[str, object]:
    fields = [
        {
            "name": each.name,
            "label": each.label,
            "kind": each.kind,
            "most": each.most,
            "optional": each.optional,
        }
        for each in act.fields
    ]
    words = {"label": act.label, "title": act.title, "means": act.means}
    return {"name": act.name, **words, "again": act.again, "fields": fields}
