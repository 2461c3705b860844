"""The board's refusals, in its words."""

from __future__ import annotations

from bbs.framework import Refusal


class NoSuchUser(Refusal):
    """`invite` names nobody."""

    text = "{} does not exist"


class InvitesSelf(Refusal):
    """`invite` names its own sender."""

    text = "You cannot invite yourself"


class AlreadyFriends(Refusal):
    """`invite` names a friend."""

    text = "{} is already your friend"


class AlreadyInvited(Refusal):
    """The invitation stands already."""

    text = "Already invited"


class InvitedBy(Refusal):
    """The other has invited the sender, who may simply accept."""

    text = "{} has invited you"


class NotInvitedBy(Refusal):
    """`accept-invite` or `decline-invite` names somebody who did not invite."""

    text = "{} did not invite you"


class TooManyFriends(Refusal):
    """The sender has as many friends as one may have."""

    text = "You have too many friends"
    limit = True


class HasTooManyFriends(Refusal):
    """The person who is to be a friend has as many as one may have."""

    text = "{} has too many friends"
    limit = True


class TooManyInvitations(Refusal):
    """The sender has invited as many people as may be who have not answered yet."""

    text = "You have too many invitations under way"
    limit = True


class NoSuchFriend(Refusal):
    """`send` names nobody."""

    text = "No such user exist"
    code = NoSuchUser.code


class NotFriends(Refusal):
    """`send` or `unfriend` names somebody who is not a friend."""

    text = "{} is not your friend"


class NotOnline(Refusal):
    """`send` names a friend who is logged out."""

    text = "{} is not online"


class InboxFull(Refusal):
    """As much waits for a friend as may; `send` may succeed once the friend has listened."""

    text = "{}'s inbox is full"
    limit = True


class TakesNothing(Refusal):
    """`invite` or `send` names somebody who has blocked the sender."""

    text = "{} takes nothing from you"


class YouHaveBlocked(Refusal):
    """`invite` names somebody whom the sender has blocked, and may unblock."""

    text = "You have blocked {}"


class BlocksSelf(Refusal):
    """`block` names its own sender."""

    text = "You cannot block yourself"


class TooManyBlocked(Refusal):
    """The sender has blocked as many people as one may block."""

    text = "You have blocked too many"
    limit = True


class NotBlocked(Refusal):
    """`unblock` names somebody whom the sender has not blocked."""

    text = "{} is not blocked"


class InvalidGroup(Refusal):
    """The name of a new group is too long or holds a control character."""

    text = "Invalid group"


class GroupExists(Refusal):
    """Another group has the name."""

    text = "{} already exist"


class TooManyGroups(Refusal):
    """The sender has made as many groups as one may make."""

    text = "You have made too many groups"
    limit = True


class TooManyJoined(Refusal):
    """The sender is in as many groups as one may be in."""

    text = "You are in too many groups"
    limit = True


class NoSuchGroup(Refusal):
    """`join-group` names no group."""

    text = "{} does not exist"


class AlreadyMember(Refusal):
    """`join-group` names a group that the sender is in."""

    text = "Already a member of {}"


class GroupFull(Refusal):
    """The group has as many members as one may have."""

    text = "{} has too many members"
    limit = True


class NoSuchTarget(Refusal):
    """`send-group` names no group."""

    text = "No such group exist"
    code = NoSuchGroup.code


class NotMember(Refusal):
    """`send-group`, `leave-group` or `list-member` names a group that the sender is not in."""

    text = "You are not the member of {}"
