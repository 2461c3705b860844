"""Refusals about people, with the texts that peers are told. `limit` marks those by a quota."""

from __future__ import annotations

from bbs.framework import Refusal


class LooksLikeAnother(Refusal):
    text = "{} looks like a name in use"  # The operator has lookalikes refused.
    shown = "{} looks like a name in use. Choose another."


class NoSuchUser(Refusal):
    text = "{} does not exist"
    shown = "There is no user called {}"


class InvitesSelf(Refusal):
    text = "You cannot invite yourself"
    shown = "You cannot invite yourself"


class AlreadyFriends(Refusal):
    text = "{} is already your friend"
    shown = "{} is your friend already"


class AlreadyInvited(Refusal):
    text = "Already invited"
    shown = "You have invited {} already"


class InvitedBy(Refusal):
    text = "{} has invited you"  # The sender may simply accept.
    shown = "{} has invited you. Try: accept-invite {}"


class NotInvitedBy(Refusal):
    text = "{} did not invite you"
    shown = "{} has not invited you"


class TooManyFriends(Refusal):
    text = "You have too many friends"
    shown = "You have too many friends. End a friendship first: unfriend NAME"
    limit = True


class HasTooManyFriends(Refusal):
    text = "{} has too many friends"
    shown = "{} has too many friends already"
    limit = True


class TooManyInvitations(Refusal):
    text = "You have too many invitations under way"
    shown = "You have too many open invitations. Accept or decline some first."
    limit = True


class HasTooManyInvitations(Refusal):
    text = "{} has too many invitations"  # They may succeed later.
    shown = "{} has too many open invitations. Try again later."
    limit = True


class InvitesTooMany(Refusal):
    text = "You have invited too many people, try again later"
    shown = "You have invited too many people. Try again later."
    limit = True


class NotFriends(Refusal):
    text = "{} is not your friend"
    shown = "{} is not your friend"


class InvalidStatus(Refusal):
    text = "A status has {} characters at most, and no control characters"
    shown = "A status has 100 characters at most, and no control characters"


class TakesNothing(Refusal):
    text = "{} takes nothing from you"  # They have blocked the sender.
    shown = "{} does not accept messages from you"


class YouHaveBlocked(Refusal):
    text = "You have blocked {}"
    shown = "You have blocked {}. Try: unblock {}"


class BlocksSelf(Refusal):
    text = "You cannot block yourself"
    shown = "You cannot block yourself"


class TooManyBlocked(Refusal):
    text = "You have blocked too many"
    shown = "You have blocked too many people. Unblock somebody first."
    limit = True


class NotBlocked(Refusal):
    text = "{} is not blocked"
    shown = "{} is not blocked"
