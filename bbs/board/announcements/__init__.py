"""Announcements: what operators tell everybody. They know no other part of the board."""
