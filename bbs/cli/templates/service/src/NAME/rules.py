"""The rules: a plain function for each command, run in one transaction."""

from typing import Any

from bbs.framework import (
    Caller,
    Page,
    Part,
    Place,
    Refusal,
    User,
    for_update,
    paged,
    read_only,
)

from NAME.models import Offer

News = tuple[dict[str, Any], list[str]]
"""An event, and the channels of those who hear it."""


class TooLong(Refusal):
    text = "An offer has at most {} characters"


class NoSuchOffer(Refusal):
    text = "There is no such offer"


class OwnOffer(Refusal):
    text = "This is your own offer"


def offer(caller: Caller, text: str) -> News:
    if len(text) > 200:
        raise TooLong(200)
    number = Offer.insert(owner=caller.id, text=text).execute()
    return _news(caller, "offered", f"{caller.name} offers {text} (take {number})")


@paged
@read_only
def offers(caller: Caller, page: Page) -> Part:
    query = Offer.select(Offer, User.name).join(User).order_by(Offer.id)
    rows = query.where(Offer.id > (page.last or 0)).limit(page.limit)
    return page.part("offer", [(each.id, _shown(each)) for each in rows])


def take(caller: Caller, number: int) -> News:
    # If two people take it at once, the second waits here, and finds nothing.
    found = for_update(Offer.select().where(Offer.id == number)).first()
    if not found:
        raise NoSuchOffer
    if found.owner_id == caller.id:
        raise OwnOffer
    Offer.delete().where(Offer.id == found.id).execute()
    return _news(caller, "taken", f"{caller.name} takes {found.text}")


def _shown(found: Offer) -> dict[str, Any]:
    return {"number": found.id, "text": found.text, "owner": found.owner.name}


def _news(caller: Caller, event: str, text: str) -> News:
    """An event for everybody who is online."""
    online = User.select(User.channel).join(Place)
    told = {"event": event, "who": caller.name, "text": text, "time": caller.now}
    return told, [each.channel for each in online]
