"""Fixtures of every test here. mypy leaves this file out: image/ has a module of the same name."""

from aids import called_as_invoke as called_as_invoke
