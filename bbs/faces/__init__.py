"""Faces: ways in which people use a service. Each has a package of its own below this one."""
