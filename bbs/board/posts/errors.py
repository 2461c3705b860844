"""Refusals of posts, with the texts that peers are told. `limit` marks those by a quota."""

from __future__ import annotations

from bbs.framework import Refusal


class NoSuchPost(Refusal):
    text = "No such post"  # Or the caller may not read it.
    shown = "There is no post {} that you can read"


class NotYourPost(Refusal):
    text = "Not your post"
    shown = "Post {} is not yours"
