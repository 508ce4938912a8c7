"""Fixtures of every test here. mypy leaves this file out: image/ has a module of the same name."""

from aids import called_as_invoke as called_as_invoke
from hypothesis import settings

# No test asserts a time, not even that of one example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
