"""The board's refusals, with the texts that peers are told. `limit` marks those by a quota."""

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


class NoSuchFriend(Refusal):
    text = "No such user exist"  # `send` names nobody.
    shown = "There is no user called {}"
    code = NoSuchUser.code


class NotFriends(Refusal):
    text = "{} is not your friend"
    shown = "{} is not your friend"


class NotOnline(Refusal):
    text = "{} is not online"
    shown = "{} is not online. Try: mail {} TEXT"


class InvalidStatus(Refusal):
    text = "A status has {} characters at most, and no control characters"
    shown = "A status has 100 characters at most, and no control characters"


class StoredTooMuch(Refusal):
    text = "Too many of your messages wait for their readers"  # So none of the oldest may go.
    shown = "Too many of your messages are not read yet. Try again later."
    limit = True


class InboxFull(Refusal):
    text = "{}'s inbox is full"  # `send` may succeed once the friend has listened.
    shown = "The inbox of {} has no room for more from you. Try again later."
    limit = True


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


class NoSuchPost(Refusal):
    text = "No such post"  # Or the caller may not read it.
    shown = "There is no post {} that you can read"


class NotYourPost(Refusal):
    text = "Not your post"
    shown = "Post {} is not yours"
