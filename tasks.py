#!/usr/bin/env python3
"""The tasks of this project: `python3 tasks.py <task>` sets itself up, `invoke <task>` is the same inside .venv."""

import sys
from pathlib import Path
from typing import Any

# Invoke puts only this file's folder on sys.path; from any subfolder, host_tasks must be found too.
sys.path.insert(0, str(Path(__file__).resolve().parent / "docker"))

# Of an upgrade that was killed while it put its files in their places, the rest is done first.
swap = Path(__file__).resolve().parent / "docker" / ".upgrade" / "swap.py"
if swap.is_file():
    import runpy

    runpy.run_path(str(swap))

from host_tasks.setup import basics

if __name__ == "__main__":
    from host_tasks.setup import bootstrap

    bootstrap.main()

basics.refuse_foreign_python()

from invoke.context import Context

from host_tasks import choices, extras, goals
from host_tasks.kit import report
from host_tasks.kit.task import DRY_RUN, JSON, YES, after_dashes, ended, task
from host_tasks.loop import Seen, achieve
from host_tasks.subjects import (
    containers,
    doctor as checks,
    explain as origins,
    link,
    mounts as bind_mounts,
    removal,
    run as inside,
    status as facts,
)

ELSEWHERE = extras.elsewhere()


@task(help={"unset": "Take this key out first, with what was chosen by it.", "dry-run": DRY_RUN})
def env(c: Context, unset: str = "", dry_run: bool = False) -> None:
    """Write docker/.env from who you are on this machine.

    Changes only our own keys in docker/.env; every other line stays. Safe to repeat.
    """
    achieve(goals.settled(unset), dry_run=dry_run)
    if not dry_run:
        report.note("docker/.env is up to date.")


@task(help={"explain": "Print every value with its origin instead.", "json": "With --explain: as JSON."})
def config(c: Context, explain: bool = False, json: bool = False) -> None:
    """Print what Compose makes of its file and docker/.env.

    The output is that of `docker compose config`, byte for byte. Writes docker/.env first where it is out of date.
    """
    seen = achieve(goals.settled())
    origins.print_explained(seen, json=json) if explain else origins.print_config(seen)


@task(help={"yes": YES, "no-cache": "Build every step anew.", "dry-run": DRY_RUN})
def build(c: Context, yes: bool = False, no_cache: bool = False, dry_run: bool = False) -> None:
    """Build the image.

    Writes docker/.env; changes nothing that runs. Safe to repeat: unchanged steps come from the cache.
    """
    achieve(goals.built(cache=not no_cache), yes=yes, dry_run=dry_run)


@task(
    elsewhere=ELSEWHERE,
    help={
        "yes": YES,
        "attach": "Then follow the log; Ctrl-C stops following, not the server.",
        "open": "Then open it in your browser.",
        "dry-run": DRY_RUN,
        **choices.helps(),
    },
)
@choices.offered
def up(
    c: Context, yes: bool = False, attach: bool = False, open: bool = False, dry_run: bool = False, **chosen: Any
) -> None:
    """Build and start JupyterLab, and print its link.

    Writes docker/.env, makes missing folders, and proves every mount. Safe to repeat: what fits keeps running.
    """
    seen = achieve(goals.up(), asked=choices.asked(chosen), yes=yes, dry_run=dry_run, then=link.tell)
    if open and not dry_run:
        link.open_in_browser(link.link(seen))
    if attach and not dry_run:
        ended(containers.logs(seen, follow=True, tail="20"))


@task(elsewhere=ELSEWHERE)
def down(c: Context) -> None:
    """Stop JupyterLab and remove its containers and network.

    Your files, the image and JupyterLab's own settings stay. Safe to repeat.
    """
    achieve((*goals.stopped(), removal.nothing_runs), then=removal.tell)


@task(help={"yes": YES})
def restart(c: Context, yes: bool = False) -> None:
    """Restart JupyterLab in its container, and print its link.

    What runs in it ends: kernels and terminals. What was installed in it stays, and so does the link.
    """
    achieve(goals.restarted(), yes=yes, then=link.tell)


@task(
    help={
        "fix": "Make missing folders, and give you what belongs to root where you are root.",
        "dry-run": DRY_RUN,
        "json": JSON,
    },
)
def mounts(c: Context, fix: bool = False, dry_run: bool = False, json: bool = False) -> None:
    """Check the bind mounts, outside and through the container.

    Probe files cross every mount both ways and are removed again. Exit code 0, 77 (permission) or 78.
    """
    seen = achieve(goals.mounted(fix=fix), dry_run=dry_run)
    if not dry_run:
        bind_mounts.print_mounts(seen, json=json)


@task(elsewhere=ELSEWHERE, help={"rotate": "Make another token first: the old link stops working."})
def url(c: Context, rotate: bool = False) -> None:
    """Print the link of the running JupyterLab.

    With --rotate the old link is shut out, your own browser too; kernels and open terminals go on.
    """
    report.result(link.link(achieve(goals.linked(rotate=rotate))))


@task(name="open")
def open_link(c: Context) -> None:
    """Open the running JupyterLab in your browser."""
    link.open_in_browser(link.link(achieve(goals.linked())))


@task(
    elsewhere=ELSEWHERE,
    help={"follow": "Go on as new lines come; Ctrl-C ends it.", "tail": "How many of the last lines; default all."},
)
def logs(c: Context, follow: bool = False, tail: str = "all") -> None:
    """Print the log of the server, and of what runs beside it."""
    ended(containers.logs(Seen(), follow=follow, tail=tail))


@task(elsewhere=ELSEWHERE, help={"yes": YES})
def shell(c: Context, yes: bool = False) -> None:
    """Open a shell in the environment.

    In the running container, or in one of its own that is removed afterwards.
    """
    ended(inside.run_inside(["bash"], goals.runnable, yes=yes))


@task(elsewhere=ELSEWHERE, help={"yes": YES})
def run(c: Context, yes: bool = False) -> None:
    """Run a command in the environment: run -- <command>.

    In the running container, or in one of its own that is removed afterwards. Ends with the command's exit code.
    """
    ended(inside.run_inside(after_dashes(), goals.runnable, yes=yes))


@task(elsewhere=ELSEWHERE, help={"json": JSON})
def status(c: Context, json: bool = False) -> None:
    """Print what runs, on which image, as whom, and where."""
    facts.print_status(Seen(), json=json)


@task(elsewhere=ELSEWHERE, help={"json": "Print for programs: a list of code, state, cause and fix."})
def doctor(c: Context, json: bool = False) -> None:
    """Check everything, and print what repairs what is wrong.

    Changes nothing. Exit code 0 healthy, 1 a problem, 2 something could not be looked at.
    """
    sys.exit(checks.print_findings(Seen(), goals.doctor(), json=json))


@task(
    optional=["update"],
    help={
        "check": "Only see whether it fits the files, and end with 1 where it does not.",
        "update": "Let this package change, or with no name all of them; else what is locked stays where it fits.",
        "yes": YES,
        "dry-run": DRY_RUN,
    },
)
def lock(c: Context, check: bool = False, update: str | bool = "", yes: bool = False, dry_run: bool = False) -> None:
    """Write environment.lock: each package, with its hash.

    For conda and pip, on both architectures, to be committed; then a build takes these packages and solves nothing.
    """
    if check:
        sys.exit(checks.print_findings(Seen(), goals.lock_checked(), as_is=True))
    achieve(goals.locked("*" if update is True else str(update)), yes=yes, dry_run=dry_run)


@task(elsewhere=ELSEWHERE, help={"yes": YES})
def test(c: Context, yes: bool = False) -> None:
    """Run the tests in tests/ inside the environment.

    In a container of its own, which cannot change them. Everything after -- goes to pytest.
    """
    ended(inside.run_tests(after_dashes(default=()), goals.runnable, yes=yes))


@task(help={"dry-run": "Print what would be deleted; delete nothing."})
def clean(c: Context, dry_run: bool = False) -> None:
    """Delete this clone's containers, image and Lab settings.

    Your files and docker/.env stay. The next `up` builds from the engine's cache. Safe to repeat.
    """
    achieve((*goals.stopped(), removal.nothing_is_left), dry_run=dry_run, then=removal.tell)


globals().update({each.name: each for each in extras.tasks()})
