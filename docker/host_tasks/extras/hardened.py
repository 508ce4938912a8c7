"""A container in which nothing of its own can be written."""

from __future__ import annotations

from collections.abc import Iterator

from host_tasks.choices import Choice
from host_tasks.loop import Finding, Seen, ok, rule
from host_tasks.subjects import settings

KEY = "HARDENED"
COST = "no `pip install` at run time, and one processor where CPU_LIMIT of docker/.env says nothing else"

# judge


@rule("hardened", upon=("env-file",))
def hardened(seen: Seen) -> Iterator[Finding]:
    """Tell what a hardened container costs."""
    if settings.now(seen).values.get(KEY):
        yield ok(f"nothing of the container's own can be written, which costs: {COST}")


RULES = ((hardened, "image", ("doctor",)),)
CHOICES = (
    Choice(
        "hardened",
        KEY,
        f"Let nothing of the container's own be written; it costs: {COST}.",
        lambda said: said or None,
        file="docker-compose.hardened.yml",
        switch=True,
    ),
)
