"""How clients present the board.

`LEGACY` has the commands of servers up to version 0.3.0, which send no presentation: later servers
send their own, so it never changes."""

from __future__ import annotations

from bbs.framework import (
    ChatEvent,
    Choices,
    Command,
    Legacy,
    Line,
    Listing,
    Notice,
    Presentation,
    Role,
    Talk,
)

LEGACY = Legacy(
    first=(
        Command("invite <user> <id>", Role.APP),
        Command("list-invite <user>", Role.APP, harmless=True),
        Command("accept-invite <user> <id>", Role.APP),
        Command("list-friend <user>", Role.APP, harmless=True),
        Command("post <user> <message>", Role.APP, rest=True),
        Command("receive-post <user>", Role.APP, harmless=True),
        Command("send <user> <friend> <message>", Role.APP, rest=True),
        Command("create-group <user> <group>", Role.APP),
        Command("list-group <user>", Role.APP, harmless=True),
        Command("list-joined <user>", Role.APP, harmless=True),
        Command("join-group <user> <group>", Role.APP),
        Command("send-group <user> <group> <message>", Role.APP, rest=True),
    ),
    later=(
        Command("history <user> <name>", Role.APP, harmless=True),
        Command("history-group <user> <group>", Role.APP, harmless=True, listed=False),
        Command("who <user>", Role.APP, harmless=True),
        Command("unfriend <user> <friend>", Role.APP),
        Command("decline-invite <user> <id>", Role.APP),
        Command("block <user> <id>", Role.APP),
        Command("unblock <user> <id>", Role.APP),
        Command("list-block <user>", Role.APP, harmless=True),
        Command("leave-group <user> <group>", Role.APP),
        Command("list-member <user> <group>", Role.APP, harmless=True),
    ),
)


INVITATIONS = Choices(
    "invitation",
    ask="list-invite",
    lists={"list-invite": "invite"},
    removed_by=("accept-invite", "decline-invite", "decline-all", "block"),
    added_by_events={"invite": "from", "invite group": ""},
    removed_by_events={"friend": "with"},
)
FRIENDS = Choices(
    "friend",
    ask="list-friend",
    lists={"list-friend": "friend", "who": "friend"},
    parameters=("friend",),
    added_by=("accept-invite",),
    removed_by=("unfriend", "block"),
    added_by_events={"friend": "with"},
    lookalike_events={
        "invite": "from",
        "message": "from",
        "joined": "id",
        "post": "from",
        "reply": "from",
    },
    lookalike_lists={"list-invite": "invite", "list-member": "member"},
)
JOINED = Choices(
    "group",
    ask="list-joined",
    lists={"list-joined": "group"},
    parameters=("group",),
    added_by=("create-group", "join-group"),
    removed_by=("leave-group", "delete-group"),
    removed_by_events={"left": "you_left"},
    within="any group",
)
GROUPS = Choices(
    "any group",
    label="group",
    ask="list-group",
    lists={"list-group": "group", "groups": "group"},
    key="group",
    removed_by=("delete-group",),
    added_by_events={"invite group": "group"},
    shared=True,
)
MEMBERS = Choices(
    "member",
    lists={"list-member": "member"},
    added_by_events={"joined": "id"},
    removed_by_events={"left": "id"},
)
POSTS = Choices(
    "post number",
    label="post",
    lists=dict.fromkeys(
        [
            *("posts", "receive-post", "my-posts", "thread", "group-posts"),
            *("reply", "post-group"),
        ],
        "post",
    ),
    key="post",
    parameters=("post",),
    removed_by=("delete-post",),
    added_by_events={"post": "post", "reply": "post"},
    removed_by_events={"deleted": "post"},
    recent=True,
)
BLOCKED = Choices(
    "blocked", lists={"list-block": "block"}, added_by=("block",), removed_by=("unblock",)
)

DONE = {
    "invite": "Invited {id}. You can talk once {id} accepts.",
    "accept-invite": "You and {id} are friends now. Try: talk {id}",
    "decline-invite": "Declined the invitation from {id}.",
    "decline-all": "Declined all invitations.",
    "unfriend": "{friend} is no longer your friend.",
    "block": "Blocked {id}, who can no longer write to you or invite you.",
    "unblock": "Unblocked {id}, who can invite you again.",
    "post": "Posted to all your friends.",
    "reply": "Replied, as post {post}.",
    "delete-post": "Post {post} is deleted.",
    "post-group": "Posted to {group}, as post {post}.",
    "send": "Sent to {friend}.",
    "mail": "Sent to {friend}. It waits if {friend} is not online.",
    "set-status": "Your friends see: {text}",
    "set-status -text": "Your status is removed.",
    "create-group": "Made the group {group}, with you in it. Try: talk {group}",
    "join-group": "You are in {group} now. Try: talk {group}",
    "leave-group": "You have left {group}.",
    "send-group": "Sent to {group}.",
    "set-topic": "The topic of {group} is now: {text}",
    "set-topic -text": "{group} has no topic now.",
    "close-group": "{group} is private now: only people whom you invite can join.",
    "open-group": "{group} is open now: everybody can join.",
    "invite-group": "Invited {id} to {group}.",
    "kick": "{id} is no longer a member of {group}.",
    "give-group": "{id} owns {group} now.",
    "delete-group": "{group} is deleted.",
}
"""What people read after a command. A new command needs one entry here."""

FAILURES = {
    "no-such-user": "There is no user called {}",
    "history no-such-user": "You have no friend or group called {}",
    "invites-self": "You cannot invite yourself",
    "already-friends": "{} is your friend already",
    "already-invited": "You have invited {} already",
    "invited-by": "{} has invited you. Try: accept-invite {}",
    "not-invited-by": "{} has not invited you",
    "too-many-friends": "You have too many friends. End a friendship first: unfriend NAME",
    "has-too-many-friends": "{} has too many friends already",
    "too-many-invitations": "You have too many open invitations. Accept or decline some first.",
    "has-too-many-invitations": "{} has too many open invitations. Try again later.",
    "invites-too-many": "You have invited too many people. Try again later.",
    "not-friends": "{} is not your friend",
    "not-online": "{} is not online. Try: mail {} TEXT",
    "invalid-status": "A status has 100 characters at most, and no control characters",
    "stored-too-much": "Too many of your messages are not read yet. Try again later.",
    "inbox-full": "The inbox of {} has no room for more from you. Try again later.",
    "takes-nothing": "{} does not accept messages from you",
    "invite takes-nothing": "{} does not accept invitations from you",
    "you-have-blocked": "You have blocked {}. Try: unblock {}",
    "blocks-self": "You cannot block yourself",
    "too-many-blocked": "You have blocked too many people. Unblock somebody first.",
    "not-blocked": "{} is not blocked",
    "invalid-group": "{} cannot be a name. Use at most 100 characters, without spaces.",
    "group-exists": "There is already a group called {}",
    "too-many-groups": "You have made too many groups already",
    "too-many-joined": "You are in too many groups. Leave one first.",
    "no-such-group": "There is no group called {}",
    "already-member": "You are a member of {} already",
    "group-full": "{} has too many members already",
    "not-member": "You are not a member of {}",
    "private-group": "{} is private: its owner has to invite you",
    "not-the-owner": "You do not own {}",
    "topic-too-long": "A topic has at most 200 characters",
    "is-member": "{id} is a member of {group} already",
    "is-not-member": "{id} is not a member of {group}",
    **{
        f"{command} no-such-user": "There is no user called {id}"
        for command in ("invite-group", "kick", "give-group")
    },
    "reply takes-nothing": "The author of post {post} does not accept messages from you",
    "invite-group takes-nothing": "{id} does not accept invitations from you",
    "invite-group you-have-blocked": "You have blocked {id}. Try: unblock {id}",
    "invite-group already-invited": "You have invited {id} already",
    "group-has-too-many-invitations": "{group} has too many open invitations. Try again later.",
    "kicks-self": "You cannot remove yourself. Try: leave-group {group}",
    "already-owner": "You own {group} already",
    "has-too-many-groups": "{id} has too many groups already",
    "looks-like-another": "{} looks like a name in use. Choose another.",
    "no-such-post": "There is no post {} that you can read",
    "not-your-post": "Post {} is not yours",
}
"""What people read instead of a failure's message, by its code, or by command and code: `{}` is
the command's first argument. A new code needs one entry here."""

_ONLINE = "{id:text}  online"
_OFFLINE, _LONG_OFFLINE = "{id:text}  offline since {last:time}", "{id:text}  offline"

WHO = (
    Line(_ONLINE, when={"state": "here", "status": ""}, shown="{id:text} is here"),
    Line(_ONLINE, when={"state": "here"}, shown="{id:text} is here: {status:text}"),
    Line(_ONLINE, when={"state": "away", "status": ""}, shown="{id:text} is away"),
    Line(_ONLINE, when={"state": "away"}, shown="{id:text} is away: {status:text}"),
    Line(
        _OFFLINE,
        when={"state": "out", "status": ""},
        shown="{id:text} is out, last here {last:time}",
    ),
    Line(
        _OFFLINE,
        when={"state": "out"},
        shown="{id:text} is out, last here {last:time}: {status:text}",
    ),
    Line(
        _LONG_OFFLINE, when={"state": "out", "status": ""}, has=("last",), shown="{id:text} is out"
    ),
    Line(
        _LONG_OFFLINE, when={"state": "out"}, has=("last",), shown="{id:text} is out: {status:text}"
    ),
    # Of servers up to version 0.3.0.
    Line(_ONLINE, when={"online": True}, has=("last",), shown="{id:text} is online"),
    Line(_OFFLINE, when={"online": False}, shown="{id:text} is offline, last here {last:time}"),
    Line(_LONG_OFFLINE, when={"online": False}, has=("last",), shown="{id:text} is offline"),
)
"""The entries of `who`. Scripts print whether somebody is online, and no more."""

GROUP_LINES = tuple(
    Line(
        f"{{group:text}}  {state}members {{members}}{owner}{topic}",
        when=when,
        shown=f"{{group:text}} ({state}members {{members}}{owner}){topic}",
    )
    for owner, states in (
        (
            ", owner {owner:text}",
            (
                ("joined, private, ", {"member": True, "private": True}),
                ("joined, ", {"member": True}),
                ("you are invited, ", {"invited": True}),
                ("private, ", {"private": True}),
                ("", {}),
            ),
        ),
        ("", (("joined, ", {"member": True}), ("", {}))),
    )
    for state, when in states
    for topic in ("  {topic:text}", "")
)
"""An entry of `groups`: in the first of these that fits, as topic and owner may be null."""

POST_LINES = (
    Line(
        "{post} {id:text}, in reply to {to}: {message:text}",
        has=("replies",),
        time="time",
        shown="{id:text}, reply {post} to {to}: {message:text}",
    ),
    Line(
        "{post} {id:text}: {message:text} (replies: {replies})",
        time="time",
        shown="{id:text}, post {post}: {message:text} (replies: {replies})",
    ),
    Line("{post} was deleted", when={"deleted": True}, shown="Post {post} was deleted"),
    Line("{group:text}: {posts} unread", shown="{posts} new in a group: group-posts {group:text}"),
    Line("Announcement: {text:text}", time="time", has=("announcement",)),
)
"""Posts with the numbers that one replies to; and what `new` lists."""

_POSTED = "{from:text}, post {post}: {text:text}"
_REPLIED = "{from:text}, reply {post} to {to}: {text:text}"

EVENTS = {
    **{name: Line(time="time", by="id") for name in ("joined", "left", "topic")},
    "left by": Line(
        "{by:text} removed {id:text} from {you_left:text}",
        time="time",
        shown="{by:text} removed you from {you_left:text}",
        by="by",
    ),
    "invite group": Line("{from:text} invites you to a group: join-group {group:text}"),
    "status": Line(time="time", many="{from:text} set {} statuses. Try: who"),
    "post": Line(_POSTED, time="time", many="{from:text} posted {} times. Try: posts"),
    "post group": Line(
        _POSTED,
        time="time",
        by="from",
        shown="#{group:text} " + _POSTED,
        many="{from:text} posted {} times. Try: group-posts {group:text}",
    ),
    "reply": Line(_REPLIED, time="time", many="{from:text} replied {} times. Try: posts"),
    "reply group": Line(
        _REPLIED,
        time="time",
        by="from",
        shown="#{group:text} " + _REPLIED,
        many="{from:text} replied {} times. Try: group-posts {group:text}",
    ),
    "deleted": Line("Post {post} was deleted", time="time", by="by", many="{} posts were deleted"),
    "announcement": Line("Announcement: {text:text}", time="time", once="announcement"),
}
"""Events that are not messages. Scripts print a group's post as any other. The form of `left by` is
for the person who was removed. Others read the event's own text, and so do all where a group was
deleted, as `id` is null then."""

face = Presentation(
    done=DONE,
    failures=FAILURES,
    next_steps=("invite NAME", "talk NAME", "help"),
    help={
        "invite": "Asks somebody to be your friend.",
        "list-invite": "Lists the people who have invited you, the oldest invitation first.",
        "accept-invite": "Makes you friends with somebody who has invited you.",
        "decline-invite": "Declines an invitation. The sender may invite you again.",
        "decline-all": "Declines all invitations. The senders may invite you again.",
        "list-friend": "Lists your friends, the oldest friendship first.",
        "who": "Shows which friends are here, away or out, and what they say of themselves.",
        "set-status": "Sets the status that your friends see; without a text, clears it.",
        "unfriend": "Ends a friendship. You can still read your messages.",
        "block": "Blocks somebody: no messages, no invitations, and no friendship.",
        "unblock": "Ends a block.",
        "list-block": "Lists the people whom you have blocked.",
        "post": "Posts something for all your friends.",
        "receive-post": "Shows the latest posts of your friends.",
        "new": "Says what has come since you last looked.",
        "posts": "Shows the posts of friends, and the replies, that you have not read.",
        "my-posts": "Lists your own posts, the latest first.",
        "thread": "Shows a post with all replies.",
        "reply": "Replies to a post, by its number.",
        "delete-post": "Deletes a post of yours, or one in a group that you own.",
        "post-group": "Posts something for the members of a group, who can read it later.",
        "group-posts": "Shows the posts of a group that you have not read.",
        "send": "Sends one message to a friend who is online.",
        "mail": "Sends one message to a friend, who gets it at the next login if not online.",
        "history": "Shows the last 50 messages with a friend or in a group.",
        "create-group": "Creates a group, with you in it.",
        "list-group": "Lists all groups.",
        "list-joined": "Lists the groups that you are in.",
        "join-group": "Joins a group.",
        "leave-group": "Leaves a group.",
        "list-member": "Lists the members of a group of yours, in the order joined.",
        "send-group": "Sends one message to everybody in a group who is online.",
        "groups": "Lists all groups with topic, owner and members, your own first.",
        "set-topic": "Sets the topic of a group that you own; without a text, removes it.",
        "close-group": "Lets nobody join a group that you own, unless you invite them.",
        "open-group": "Lets everybody join a group that you own.",
        "invite-group": "Lets somebody join a group that you own, and tells them.",
        "kick": "Removes a member from a group that you own.",
        "give-group": "Makes a member the owner of a group that you own.",
        "delete-group": "Deletes a group that you own, with its posts.",
    },
    groups={
        "People": (
            "invite",
            "list-invite",
            "accept-invite",
            "decline-invite",
            "decline-all",
            "list-friend",
            "who",
            "set-status",
            "unfriend",
            "block",
            "unblock",
            "list-block",
        ),
        "Messages": ("new", "send", "mail", "history"),
        "Posts": ("post", "posts", "receive-post", "reply", "thread", "my-posts", "delete-post"),
        "Groups": (
            "create-group",
            "join-group",
            "leave-group",
            "list-group",
            "list-joined",
            "list-member",
            "groups",
            "send-group",
            "post-group",
            "group-posts",
            "set-topic",
            "invite-group",
            "kick",
            "close-group",
            "open-group",
            "give-group",
            "delete-group",
        ),
    },
    # As irssi and other chats, and Unix, call them.
    aliases={"msg": "send", "friends": "list-friend", "w": "who"},
    choices=(FRIENDS, INVITATIONS, JOINED, GROUPS, MEMBERS, BLOCKED, POSTS),
    complete={
        "accept-invite id": ("invitation",),
        "decline-invite id": ("invitation",),
        "block id": ("invitation", "friend"),
        "unblock id": ("blocked",),
        "history name": ("group", "friend"),
        "join-group group": ("any group", "-group"),
        "create-group group": (),
        "invite-group id": ("friend",),
        "kick id": ("member",),
        "give-group id": ("member",),
    },
    lists=(
        Listing("invite", "No invitations"),
        Listing("friend", "No friends"),
        Listing("group", "No groups"),
        Listing(
            "post",
            "No posts",
            backwards=True,
            forwards=("thread", "my-posts"),
            empties=dict.fromkeys(["posts", "group-posts"], "No new posts."),
        ),
        Listing("history", "No messages", backwards=True, recent=True),
        Listing("block", "Nobody is blocked"),
        Listing("member", "No members"),
    ),
    lines=(
        *POST_LINES,
        Line("{id:text}: {message:text}", time="time"),
        *WHO,
        *GROUP_LINES,
    ),
    chats=(ChatEvent("message"), ChatEvent("sent", own=True)),
    events=EVENTS,
    talks=(
        Talk(
            "friend",
            send="send",
            sent_by=("mail",),
            choices="friend",
            history="history",
            line="<<<{sender}->{to}: {text}>>>",
            presence="who",
        ),
        Talk(
            "group",
            send="send-group",
            choices="group",
            history="history-group",
            room=True,
            line="<<<{sender}->GROUP<{to}>: {text}>>>",
        ),
    ),
    notices=(
        Notice(
            "waiting.invitations",
            "{} invitation waits: list-invite",
            "{} invitations wait: list-invite",
        ),
        Notice(
            "waiting.messages",
            "{} message came while you were away",
            "{} messages came while you were away",
            most=1000,
        ),
        Notice("waiting.posts", "{} new post: posts", "{} new posts: posts", most=1000),
        Notice("new.messages", "{} message waits", "{} messages wait", most=1000),
        Notice(
            "new.invitations",
            "{} invitation waits: list-invite",
            "{} invitations wait: list-invite",
            most=1000,
        ),
        Notice("new.posts", "{} new post: posts", "{} new posts: posts", most=1000),
    ),
    notices_by="new",
    after="waiting.after",
    legacy=LEGACY,
)
