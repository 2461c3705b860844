"""Announcements: what operators tell everybody. This part knows no other."""
