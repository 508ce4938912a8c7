#!/usr/bin/env python3
"""The tasks of this project: `python3 tasks.py <task>` sets itself up, `invoke <task>` is the same inside .venv."""

import sys
from pathlib import Path

# Invoke puts only this file's folder on sys.path; from any subfolder, host_tasks must be found too.
sys.path.insert(0, str(Path(__file__).resolve().parent / "docker"))

from host_tasks.setup import basics

if __name__ == "__main__":
    from host_tasks.setup import bootstrap

    bootstrap.main()

basics.refuse_foreign_python()

from dataclasses import asdict

from invoke.context import Context

from host_tasks import compose, settings
from host_tasks.ground import report
from host_tasks.ground.task import after_dashes, ended, task

YES = "Answer yes: install, make and start what is missing."


@task(help={"dry-run": "Print what would change; write nothing."})
def env(c: Context, dry_run: bool = False) -> None:
    """Write docker/.env from who you are on this machine.

    Changes only our own keys in docker/.env; every other line stays. Safe to repeat.
    """
    plan = settings.observe().plan if dry_run else settings.current().plan
    report.result(str(plan))


@task(help={"explain": "Print every value with its origin instead.", "json": "With --explain: as JSON."})
def config(c: Context, explain: bool = False, json: bool = False) -> None:
    """Print what Compose makes of its file and docker/.env.

    The output is that of `docker compose config`, byte for byte. Writes docker/.env first where it is out of date.
    """
    if not explain:
        compose.config(settings.current())
        return
    from host_tasks import explain as explanations

    found = explanations.explain(settings.current())
    report.as_json([asdict(each) for each in found]) if json else report.result(explanations.table(found))


@task(help={"yes": YES, "no-cache": "Build every step anew."})
def build(c: Context, yes: bool = False, no_cache: bool = False) -> None:
    """Build the image.

    Writes docker/.env; changes nothing that runs. Safe to repeat: unchanged steps come from the cache.
    """
    from host_tasks import lifecycle

    lifecycle.build(yes=yes, no_cache=no_cache)


@task(
    help={
        "yes": YES,
        "port": "Port of 127.0.0.1, 1024 to 65535; kept in docker/.env. Default: 8888, or the first free one.",
        "attach": "Then follow the log; Ctrl-C stops following, not the server.",
    }
)
def up(c: Context, yes: bool = False, port: str = "", attach: bool = False) -> None:
    """Build and start JupyterLab, and print its link.

    Writes docker/.env, makes missing folders, and proves every mount. Safe to repeat: what fits keeps running.
    """
    from host_tasks import lifecycle, server

    report.result(lifecycle.up(asked=server.parse_port(port), yes=yes))
    if attach:
        ended(compose.call(settings.current(), "logs", "--follow", "--tail", "20", interactive=True))


@task()
def down(c: Context) -> None:
    """Stop JupyterLab and remove its container and network.

    Your files, the image and JupyterLab's own settings stay. Safe to repeat.
    """
    from host_tasks import install, lifecycle

    install.require()
    lifecycle.down()


@task(
    name="mounts",
    help={
        "fix": "Make missing folders, and what is root's yours where you are root.",
        "dry-run": "With --fix: print what would be done; do nothing.",
        "json": "Print for programs.",
    },
)
def check_mounts(c: Context, fix: bool = False, dry_run: bool = False, json: bool = False) -> None:
    """Check the bind mounts, outside and through the container.

    Probe files cross every mount both ways and are removed again. Exit code 0, 77 (permission) or 78.
    """
    from host_tasks import lifecycle

    lifecycle.check_mounts(fix=fix, dry_run=dry_run, json=json)


@task()
def url(c: Context) -> None:
    """Print the link of the running JupyterLab."""
    from host_tasks import server

    report.result(server.link(server.container(settings.observe().project)))


@task(name="open")
def open_link(c: Context) -> None:
    """Open the running JupyterLab in your browser."""
    from host_tasks import server

    server.open_in_browser(server.link(server.container(settings.observe().project)))


@task(help={"follow": "Go on as new lines come; Ctrl-C ends it.", "tail": "How many of the last lines; default all."})
def logs(c: Context, follow: bool = False, tail: str = "all") -> None:
    """Print the log of the server."""
    words = ["logs", "--tail", tail, *(["--follow"] if follow else [])]
    ended(compose.call(settings.observe(), *words, interactive=True))


@task(help={"yes": YES})
def shell(c: Context, yes: bool = False) -> None:
    """Open a shell in the environment.

    In the running container, or in one of its own that is removed afterwards.
    """
    from host_tasks import lifecycle

    ended(lifecycle.run_inside(["bash"], yes=yes))


@task(help={"yes": YES})
def run(c: Context, yes: bool = False) -> None:
    """Run a command in the environment: run -- <command>.

    In the running container, or in one of its own that is removed afterwards. Ends with the command's exit code.
    """
    from host_tasks import lifecycle

    ended(lifecycle.run_inside(after_dashes(), yes=yes))


@task(help={"json": "Print for programs."})
def status(c: Context, json: bool = False) -> None:
    """Print what runs, on which image, as whom, and where."""
    from host_tasks import lifecycle

    lifecycle.print_status(json=json)


@task(help={"yes": YES, "fast": "Only what needs no engine and no patience."})
def test(c: Context, yes: bool = False, fast: bool = False) -> None:
    """Run the checkers and the whole test suite.

    Everything after -- goes to pytest. Starts containers of its own and removes them.
    """
    from host_tasks import checks

    checks.run(yes=yes, fast=fast, pytest_words=after_dashes(default=()))


@task()
def bench(c: Context) -> None:
    """Measure what the tasks cost beside Docker's own commands.

    In a clone of its own, which is removed afterwards; some five minutes. Ends with 1 where a ratio is over its bound.
    """
    from host_tasks import checks

    checks.bench()


@task(help={"dry-run": "Print what would be deleted; delete nothing."})
def clean(c: Context, dry_run: bool = False) -> None:
    """Delete this clone's containers, image and Lab settings.

    Your files and docker/.env stay. The next `up` builds from the engine's cache. Safe to repeat.
    """
    from host_tasks import lifecycle

    lifecycle.clean(dry_run=dry_run)
