"""The commands for posts, of friends and in groups, and for what is new."""

from __future__ import annotations

from bbs.board.groups import errors as of_groups
from bbs.board.posts import errors, posts, records, threads, unread, user_stats
from bbs.framework import Ask, Command, Event, Line, Listing, Reply, Role, success


async def publish(ask: Ask, post: posts.Published) -> Reply:
    """Tell those who may read a post of it, and the writer its number."""
    await tell_post(ask, post)
    return success(post=post.number)


async def tell_post(ask: Ask, post: posts.Published) -> Reply:
    """Tell those who may read a post of it."""
    await ask.tell_each(post.told, post.event)
    return success()


async def note_read(ask: Ask, found: unread.Unread) -> Reply:
    """Note what a reader was given, before the reply: the next request is for the next posts."""
    if found.marks:
        await ask.database.run(unread.note, found.marks)
    return Reply({"status": 0, **found.part})


POST_LIST = Listing(
    "post",
    "No posts",
    backwards=True,
    forwards=("thread", "my-posts"),
    empties=dict.fromkeys(["posts", "group-posts"], "No new posts."),
)

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
)
"""Posts with the numbers that one replies to."""


POST_LINE = Line("{id:text}: {message:text}", time="time")
"""A post without its number."""

NEWS_LINES = (
    Line("{group:text}: {posts} unread", shown="{posts} new in a group: group-posts {group:text}"),
    Line("Announcement: {text:text}", time="time", has=("announcement",)),
)

NEW = Command(
    "new <user>",
    Role.APP,
    rule=user_stats.summary,
    reply=records.New,
    refuses=(),
    group="Messages",
    help="Says what has come since you last looked.",
    shown=NEWS_LINES,
)

POST = Command(
    "post <user> <message>",
    Role.APP,
    then=tell_post,
    rest=True,
    rule=posts.post,
    refuses=(),
    group="Posts",
    help="Posts something for all your friends.",
    done="Posted to all your friends.",
)

UNREAD_POSTS = Command(
    "posts <user>",
    Role.APP,
    then=note_read,
    rule=unread.of_friends,
    reply=records.Posts,
    refuses=(),
    group="Posts",
    help="Shows the posts of friends, and the replies, that you have not read.",
    shown=(POST_LIST, *POST_LINES),
)

RECEIVE_POST = Command(
    "receive-post <user>",
    Role.APP,
    rule=posts.friends_posts,
    reply=records.Feed,
    refuses=(),
    group="Posts",
    help="Shows the latest posts of your friends.",
    shown=(POST_LIST, *POST_LINES, POST_LINE),
)

REPLY = Command(
    "reply <user> <post> <message>",
    Role.APP,
    then=publish,
    rest=True,
    rule=threads.reply,
    reply=records.Published,
    refuses=(errors.NoSuchPost, of_groups.AcceptsNoMessages),
    group="Posts",
    help="Replies to a post, by its number.",
    done="Replied, as post {post}.",
    failures={
        of_groups.AcceptsNoMessages: "The author of post {post} does not accept messages from you"
    },
)

THREAD = Command(
    "thread <user> <post>",
    Role.APP,
    rule=threads.thread,
    reply=records.Posts,
    refuses=(errors.NoSuchPost,),
    group="Posts",
    help="Shows a post with all replies.",
    shown=(POST_LIST, *POST_LINES),
)

MY_POSTS = Command(
    "my-posts <user>",
    Role.APP,
    rule=threads.own_posts,
    reply=records.Posts,
    refuses=(),
    group="Posts",
    help="Lists your own posts, the latest first.",
    shown=(POST_LIST, *POST_LINES),
)

DELETE_POST = Command(
    "delete-post <user> <post>",
    Role.APP,
    then=tell_post,
    rule=threads.delete_post,
    refuses=(errors.NoSuchPost, errors.NotYourPost),
    group="Posts",
    help="Deletes a post of yours, or one in a group that you own.",
    done="Post {post} is deleted.",
)

POST_GROUP = Command(
    "post-group <user> <group> <message>",
    Role.APP,
    then=publish,
    rest=True,
    rule=threads.post_in_group,
    reply=records.Published,
    refuses=(of_groups.NoSuchTarget, of_groups.NotMember),
    group="Groups",
    help="Posts something for the members of a group, who can read it later.",
    done="Posted to {group}, as post {post}.",
)

GROUP_POSTS = Command(
    "group-posts <user> <group>",
    Role.APP,
    then=note_read,
    rule=unread.of_group,
    reply=records.Posts,
    refuses=(of_groups.NoSuchTarget, of_groups.NotMember),
    group="Groups",
    help="Shows the posts of a group that you have not read.",
    shown=(POST_LIST, *POST_LINES),
)

_POSTED = "{from:text}, post {post}: {text:text}"
_REPLIED = "{from:text}, reply {post} to {to}: {text:text}"

EVENTS = (
    Event(
        "post",
        records.Posted,
        shown={
            "": Line(_POSTED, time="time", many="{from:text} posted {} times. Try: posts"),
            "group": Line(
                _POSTED,
                time="time",
                by="from",
                shown="#{group:text} " + _POSTED,
                many="{from:text} posted {} times. Try: group-posts {group:text}",
            ),
        },
    ),
    Event(
        "reply",
        records.Replied,
        shown={
            "": Line(_REPLIED, time="time", many="{from:text} replied {} times. Try: posts"),
            "group": Line(
                _REPLIED,
                time="time",
                by="from",
                shown="#{group:text} " + _REPLIED,
                many="{from:text} replied {} times. Try: group-posts {group:text}",
            ),
        },
    ),
    Event(
        "deleted",
        records.Deleted,
        shown=Line("Post {post} was deleted", time="time", by="by", many="{} posts were deleted"),
    ),
    Event(
        "announcement",
        records.Announcement,
        shown=Line("Announcement: {text:text}", time="time", once="announcement"),
    ),
)
"""Scripts print a group's post as any other."""
