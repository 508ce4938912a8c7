"""One more package, or one less: in the files that name packages, and in the environment that runs, or in neither."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from host_tasks.kit import files, report, runner
from host_tasks.kit.client import asking, client
from host_tasks.kit.paths import DOCKERFILE, ENVIRONMENT_YML, ROOT, shown
from host_tasks.kit.task import DRY_RUN, after_dashes, task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Finding, Rule, Seen, Step, achieve, fail, ok
from host_tasks.setup.basics import shell_word
from host_tasks.subjects import (
    base,
    build_failure,
    clone,
    containers,
    environment,
    environment_lock,
    images,
    package_lines,
)

if TYPE_CHECKING:
    from invoke.context import Context

# A name, extras, versions: no option, path, address, marker or variable, and to YAML and pip no more than a word.
VERSION = r"(?:[<>!=~]=|[<>])[\w.*+!]+"
PLAIN = rf"(?a)[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?(?:\[[\w,.-]+\])? ?(?:{VERSION}(?:,{VERSION})*)?"
OF_CONDA = r"(?a)[A-Za-z0-9_][\w.-]*(?:=[\w.*]+){1,2}"  # name=version=build
KEY = "packages"  # of the step
INSIDE = "/opt"  # where only root writes: nobody has put a link there
OF_PIP, UNDONE = 4, 3  # exit codes of docker/environment/change.py
PLACES = (
    ("conda", ENVIRONMENT_YML, package_lines.without_conda),
    ("pip", ENVIRONMENT_YML, package_lines.without_pip),
    ("pip", package_lines.REQUIREMENTS_TXT, package_lines.without_requirement),
)

# look


class Change(NamedTuple):
    """What a person asks for: packages and their versions to add, or names to take away."""

    words: tuple[str, ...]
    adds: bool
    by: str = "conda"  # or pip; what takes one away looks in the files of both

    @property
    def command(self) -> str:
        """The task that does it."""
        words = ["add" if self.adds else "remove", *(["--pip"] if self.by == "pip" else []), *self.words]
        return task_command(" ".join(map(shell_word, words)))


def running(seen: Seen) -> containers.Container | None:
    """Return the server whose environment can be changed; None where none runs, or nothing in it can be written."""
    server = containers.server(seen)
    return server if server and server.status == "running" and not server.is_fixed else None


# judge


def edited(change: Change) -> dict[Path, str]:
    """Return the texts of the files as they are to be.

    Raises:
        HostError: a word is no package (64); it is named otherwise, or nowhere, or a file cannot be changed (65).
    """
    texts, new, usage = package_lines.texts(), [], task_command(f"--help {'add' if change.adds else 'remove'}")
    if not change.words:
        raise HostError("no package is named", fix=usage, code=ExitCode.USAGE)
    for name, word in {package_lines.name_of(word): word for word in change.words}.items():
        named = False
        plain = re.fullmatch(PLAIN, word) and (change.by == "pip" or "[" not in word)
        if not plain and not (change.adds and change.by == "conda" and re.fullmatch(OF_CONDA, word)):
            raise HostError(f"{word} is no package", fix=usage, code=ExitCode.USAGE)
        for by, path, changed in PLACES:
            if (text := changed(texts[path], name, word if change.adds else "")) is None:
                continue
            if change.adds and by != change.by:
                cause = f"{shown(path)} names {name} already, for {by}"
                raise HostError(cause, fix=task_command(f"remove {name}"), code=ExitCode.DATA)
            texts[path], named = text, True
        if not named and not change.adds:
            cause = f"neither environment.yml nor requirements.txt names {name}"
            raise HostError(cause, fix=usage, code=ExitCode.DATA)
        new += [] if named else [word]
    return package_lines.with_lines(texts, **{change.by: new})


def asked_for(change: Change) -> Rule:
    """Return the rule of `add` and `remove`: one change, of the files and of what runs."""

    def judge(seen: Seen) -> Iterator[Finding]:
        """Ask for it where the files do not say so already."""
        if KEY in seen.tried:
            yield ok("done")
            return
        before, after = package_lines.texts(), edited(change)
        environment.asked(Seen({environment.text: after[ENVIRONMENT_YML].removeprefix("\ufeff")}))
        files = [shown(path) for path in after if after[path] != before[path]]
        if not files:
            yield ok("the files say so already")
            return
        what = f"{'add' if change.adds else 'remove'} {', '.join(change.words)}"
        if running(seen):
            files += ["the environment that runs", *([environment_lock.NAME] if environment_lock.in_use(seen) else [])]
        step = Step(functools.partial(do, change=change, after=after), what, ", ".join(files), key=KEY)
        yield fail("it was asked for", change.command, step=step)

    return Rule(KEY, judge, ("environment-yml",))


def _refusal(change: Change, finished: runner.Finished) -> HostError:
    """Return why nothing was changed."""
    fix = f"correct what the lines above name, then: {change.command}"
    known = build_failure.known_cause(finished.stderr)
    cause = known.cause if known else build_failure.cause_of_failed_build(finished.stderr)
    if finished.returncode == OF_PIP:
        fix = change._replace(by="pip").command
        cause = f"conda's channels do not have {' and '.join(change.words)}, and pip's index does"
    elif finished.returncode == UNDONE:
        fix = f"{task_command('down')} && {task_command('up')}"
        cause = f"{cause}; the environment that runs is not as it was"
    elif known:
        fix = known.fix
    return HostError(cause, fix=fix, code=known.exit_code if known else ExitCode.SOFTWARE)


# repair


def do(seen: Seen, *, change: Change, after: Mapping[Path, str]) -> None:
    """Write the files, then the lock, then change what runs; where that fails, the files are as they were.

    Where this process is killed the files say what is wanted, and `up` makes it so.

    Raises:
        HostError: nothing was changed, and why.
    """
    before = {path: path.read_bytes() if path.exists() else None for path in (*after, *environment_lock.paths())}
    finished, server = None, running(seen)
    try:
        package_lines.write(after)
        if server and environment_lock.in_use(seen):
            finished = environment_lock.locked(seen)
        if server and (finished is None or finished.ok):
            finished = _change_inside(seen, server, change)
        if finished and not finished.ok:
            raise _refusal(change, finished)
    except BaseException:
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_bytes() != content:
                files.write(path, content, private=False)
        raise


def _change_inside(seen: Seen, server: containers.Container, change: Change) -> runner.Finished:
    """Bring into a container what the next image would be made from, and have its environment made so."""
    conda = change.by == "conda"
    names = [f"{'+' if change.adds else '-'}{package_lines.name_of(word)}" for word in change.words]
    arguments = {base.KEY: base.now(seen).name, images.CACHES: clone.project(seen)}
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "change.tar"
        options = ("--target", "change" if conda else "change-pip", "--output", f"type=tar,dest={archive}")
        finished = images.build(seen, DOCKERFILE, arguments=arguments, options=options)
        if not finished.ok:
            return finished
        mark, program = containers.mark(), f"{INSIDE}/change/environment/change.py"
        words = ["entrypoint.sh", "/opt/conda/bin/python", "-I", program, "/opt/env", f"{INSIDE}/change", *names]
        # With this activate.sh leaves it at what the host trusts and its proxies: conda's activation takes a second.
        argv = ["docker", "exec", "--env", mark, "--env=CONDA_SHLVL=1", server.id, *words]
        try:
            with asking(), archive.open("rb") as stream:
                client().containers.get(server.id).put_archive(INSIDE, stream)
            return runner.run(argv, cwd=ROOT, keep=True, also_stop=containers.stop(server.id, mark))
        finally:
            removal = ["docker", "exec", "--user=0", server.id, "/bin/rm", "-r", f"{INSIDE}/change"]
            runner.run(removal, cwd=ROOT, capture=True, announce=False)


# tasks


def _do(change: Change, *, dry_run: bool) -> None:
    """Do a change, or print it, and say where it has not come to."""
    seen = achieve((clone.path, environment.environment_yml, asked_for(change)), dry_run=dry_run)
    if not dry_run and not running(seen):
        report.note(f"Nothing runs here that can be changed, so only the files are: {task_command('up')}")


@task(many=True, help={"pip": "From pip's index; else from conda's channels.", "dry-run": DRY_RUN})
def add(c: Context, *, pip: bool = False, dry_run: bool = False) -> None:
    """Add packages: add pandas 'scipy >=1.15'.

    To environment.yml or requirements.txt, the lock, and the environment that runs, whose kernels go on; or to none.
    """
    _do(Change(tuple(after_dashes(default=())), adds=True, by="pip" if pip else "conda"), dry_run=dry_run)


@task(many=True, help={"dry-run": DRY_RUN})
def remove(c: Context, *, dry_run: bool = False) -> None:
    """Remove packages, and what only they have needed.

    From the files that name them, the lock, and the environment that runs, whose kernels go on; or from none.
    """
    _do(Change(tuple(after_dashes(default=())), adds=False), dry_run=dry_run)


TASKS = (add, remove)
