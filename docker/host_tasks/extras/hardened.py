"""A container in which nothing of its own can be written."""

from __future__ import annotations

from collections.abc import Iterator

from host_tasks.choices import Choice
from host_tasks.kit.words import task_command
from host_tasks.loop import Finding, Seen, Step, fail, ok, rule
from host_tasks.subjects import settings

KEY = "HARDENED"
COST = (
    "no `pip install` at run time, nothing there of what postBuild wrote to ~/.cache, ~/.config and ~/.local, "
    "and one processor where CPU_LIMIT of docker/.env says nothing else"
)

# judge


@rule("hardened", upon=("env-file",))
def hardened(seen: Seen) -> Iterator[Finding]:
    """Tell what a hardened container costs."""
    if settings.now(seen).values.get(KEY):
        yield ok(f"nothing of the container's own can be written, which costs: {COST}")


@rule("hardened", upon=("env-file",))
def chosen(seen: Seen) -> Iterator[Finding]:
    """Have it told what a hardened container costs, before anything ends for one that was not so."""
    step = Step(lambda seen: None, "harden the container", "what runs in it: kernels and terminals end")
    if seen.asked.get(KEY) and not settings.now(seen).kept.get(KEY) and step.name not in seen.tried:
        cause = f"it was asked for; what runs in it ends, kernels and terminals too, and it costs: {COST}"
        yield fail(cause, task_command("up"), step=step)


RULES = ((hardened, "image", ("doctor",)), (chosen, "image", ("up",)))
CHOICES = (
    Choice(
        "hardened",
        KEY,
        f"Let nothing of the container's own be written; it costs: {COST}.",
        lambda said: said or None,
        file="docker-compose.hardened.yml",
        switch=True,
        not_podman="it takes no owner for a tmpfs",
    ),
)
