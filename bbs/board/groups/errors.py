"""Refusals about groups, with the texts that peers are told. `limit` marks those by a quota."""

from __future__ import annotations

from bbs.board.people.errors import TakesNothing
from bbs.framework import Refusal


class InvalidGroup(Refusal):
    text = "Invalid group"  # The name is too long or has a control character.
    shown = "{} cannot be a name. Use at most 100 characters, without spaces."


class GroupExists(Refusal):
    text = "{} already exist"
    shown = "There is already a group called {}"


class TooManyGroups(Refusal):
    text = "You have made too many groups"
    shown = "You have made too many groups already"
    limit = True


class TooManyJoined(Refusal):
    text = "You are in too many groups"
    shown = "You are in too many groups. Leave one first."
    limit = True


class NoSuchGroup(Refusal):
    text = "{} does not exist"
    shown = "There is no group called {}"


class AlreadyMember(Refusal):
    text = "Already a member of {}"
    shown = "You are a member of {} already"


class GroupFull(Refusal):
    text = "{} has too many members"
    shown = "{} has too many members already"
    limit = True


class NoSuchTarget(Refusal):
    text = "No such group exist"  # `send-group` names no group.
    shown = "There is no group called {}"
    code = NoSuchGroup.code


class NotMember(Refusal):
    text = "You are not the member of {}"
    shown = "You are not a member of {}"


class PrivateGroup(Refusal):
    text = "{} is private"  # And its owner has not invited the caller.
    shown = "{} is private: its owner has to invite you"


class NotTheOwner(Refusal):
    text = "You do not own {}"
    shown = "You do not own {}"


class TopicTooLong(Refusal):
    text = "A topic has at most {} characters"
    shown = "A topic has at most 200 characters"


class AcceptsNoMessages(Refusal):
    text = "{} does not accept messages from you"  # They have blocked the sender.
    shown = "{} does not accept messages from you"
    code = TakesNothing.code


class IsMember(Refusal):
    text = "{} is already a member of {}"
    shown = "{id} is a member of {group} already"


class IsNotMember(Refusal):
    text = "{} is not a member of {}"
    shown = "{id} is not a member of {group}"


class GroupHasTooManyInvitations(Refusal):
    text = "{} has too many invitations"  # One may succeed once others were used.
    shown = "{group} has too many open invitations. Try again later."
    limit = True


class KicksSelf(Refusal):
    text = "You cannot remove yourself, leave the group"
    shown = "You cannot remove yourself. Try: leave-group {group}"


class AlreadyOwner(Refusal):
    text = "You own {} already"
    shown = "You own {group} already"


class HasTooManyGroups(Refusal):
    text = "{} has too many groups"  # They count with those that the other has made.
    shown = "{id} has too many groups already"
    limit = True
