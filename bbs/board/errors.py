"""The board's refusals, with the texts that peers are told. `limit` marks those by a quota."""

from __future__ import annotations

from bbs.framework import Refusal


class NoSuchUser(Refusal):
    text = "{} does not exist"


class InvitesSelf(Refusal):
    text = "You cannot invite yourself"


class AlreadyFriends(Refusal):
    text = "{} is already your friend"


class AlreadyInvited(Refusal):
    text = "Already invited"


class InvitedBy(Refusal):
    text = "{} has invited you"  # The sender may simply accept.


class NotInvitedBy(Refusal):
    text = "{} did not invite you"


class TooManyFriends(Refusal):
    text = "You have too many friends"
    limit = True


class HasTooManyFriends(Refusal):
    text = "{} has too many friends"
    limit = True


class TooManyInvitations(Refusal):
    text = "You have too many invitations under way"
    limit = True


class HasTooManyInvitations(Refusal):
    text = "{} has too many invitations"  # They may succeed later.
    limit = True


class InvitesTooMany(Refusal):
    text = "You have invited too many people, try again later"
    limit = True


class NoSuchFriend(Refusal):
    text = "No such user exist"  # `send` names nobody.
    code = NoSuchUser.code


class NotFriends(Refusal):
    text = "{} is not your friend"


class NotOnline(Refusal):
    text = "{} is not online"


class InvalidStatus(Refusal):
    text = "A status has {} characters at most, and no control characters"


class StoredTooMuch(Refusal):
    text = "Too many of your messages wait for their readers"  # So none of the oldest may go.
    limit = True


class InboxFull(Refusal):
    text = "{}'s inbox is full"  # `send` may succeed once the friend has listened.
    limit = True


class TakesNothing(Refusal):
    text = "{} takes nothing from you"  # They have blocked the sender.


class YouHaveBlocked(Refusal):
    text = "You have blocked {}"


class BlocksSelf(Refusal):
    text = "You cannot block yourself"


class TooManyBlocked(Refusal):
    text = "You have blocked too many"
    limit = True


class NotBlocked(Refusal):
    text = "{} is not blocked"


class InvalidGroup(Refusal):
    text = "Invalid group"  # The name is too long or has a control character.


class GroupExists(Refusal):
    text = "{} already exist"


class TooManyGroups(Refusal):
    text = "You have made too many groups"
    limit = True


class TooManyJoined(Refusal):
    text = "You are in too many groups"
    limit = True


class NoSuchGroup(Refusal):
    text = "{} does not exist"


class AlreadyMember(Refusal):
    text = "Already a member of {}"


class GroupFull(Refusal):
    text = "{} has too many members"
    limit = True


class NoSuchTarget(Refusal):
    text = "No such group exist"  # `send-group` names no group.
    code = NoSuchGroup.code


class NotMember(Refusal):
    text = "You are not the member of {}"


class PrivateGroup(Refusal):
    text = "{} is private"  # And its owner has not invited the caller.


class NotTheOwner(Refusal):
    text = "You do not own {}"


class TopicTooLong(Refusal):
    text = "A topic has at most {} characters"


class AcceptsNoMessages(Refusal):
    text = "{} does not accept messages from you"  # They have blocked the sender.
    code = TakesNothing.code


class IsMember(Refusal):
    text = "{} is already a member of {}"


class IsNotMember(Refusal):
    text = "{} is not a member of {}"


class GroupHasTooManyInvitations(Refusal):
    text = "{} has too many invitations"  # One may succeed once others were used.
    limit = True


class KicksSelf(Refusal):
    text = "You cannot remove yourself, leave the group"


class AlreadyOwner(Refusal):
    text = "You own {} already"


class HasTooManyGroups(Refusal):
    text = "{} has too many groups"  # They count with those that the other has made.
    limit = True


class NoSuchPost(Refusal):
    text = "No such post"  # Or the caller may not read it.


class NotYourPost(Refusal):
    text = "Not your post"
