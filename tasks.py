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

from invoke.context import Context

from host_tasks.ground import report
from host_tasks.ground.commands import task_command
from host_tasks.ground.task import after_dashes, ended, task

YES = "Answer yes: install, make and start what is missing."
ON = "Another machine, as ssh names it: user@host."
DRY_RUN = "Print what would be done, and why; change nothing."


@task(help={"dry-run": DRY_RUN})
def env(c: Context, dry_run: bool = False) -> None:
    """Write docker/.env from who you are on this machine.

    Changes only our own keys in docker/.env; every other line stays. Safe to repeat.
    """
    from host_tasks.act.run import reach
    from host_tasks.decide import goals

    reach(goals.SETTINGS, dry_run=dry_run)
    if not dry_run:
        report.note("docker/.env is up to date.")


@task(help={"explain": "Print every value with its origin instead.", "json": "With --explain: as JSON."})
def config(c: Context, explain: bool = False, json: bool = False) -> None:
    """Print what Compose makes of its file and docker/.env.

    The output is that of `docker compose config`, byte for byte. Writes docker/.env first where it is out of date.
    """
    from host_tasks.act.run import achieve
    from host_tasks.decide import goals
    from host_tasks.show import explain as shown

    seen = achieve(goals.SETTINGS)
    shown.print_explained(seen.settings, json=json) if explain else shown.print_config(seen)


@task(help={"yes": YES, "no-cache": "Build every step anew.", "dry-run": DRY_RUN})
def build(c: Context, yes: bool = False, no_cache: bool = False, dry_run: bool = False) -> None:
    """Build the image.

    Writes docker/.env; changes nothing that runs. Safe to repeat: unchanged steps come from the cache.
    """
    from host_tasks.act.run import reach
    from host_tasks.decide import goals

    reach(goals.built(cache=not no_cache), yes=yes, dry_run=dry_run)


@task(
    help={
        "yes": YES,
        "port": "Port of 127.0.0.1, 1024 to 65535; kept in docker/.env. Default: 8888, or the first free one.",
        "gpu": "Give JupyterLab this machine's NVIDIA GPUs; kept in docker/.env.",
        "no-gpu": "Take them away again.",
        "bind": "Address of this machine to publish on instead of 127.0.0.1, which opens the server to others; kept.",
        "hardened": "Let nothing of the container's own be written; kept. It costs `pip install` at run time.",
        "no-hardened": "Go back to the usual container.",
        "workers": "How many Dask workers beside JupyterLab; kept in docker/.env. 0: none, as at first.",
        "from": "Take the environment from this REGISTRY/NAME where it is there; kept in docker/.env.",
        "attach": "Then follow the log; Ctrl-C stops following, not the server.",
        "on": ON,
        "open": "Then open it in your browser.",
        "dry-run": DRY_RUN,
    }
)
def up(
    c: Context,
    yes: bool = False,
    port: str = "",
    gpu: bool = False,
    no_gpu: bool = False,
    bind: str = "",
    hardened: bool = False,
    no_hardened: bool = False,
    workers: str = "",
    from_: str = "",
    attach: bool = False,
    on: str = "",
    open: bool = False,
    dry_run: bool = False,
) -> None:
    """Build and start JupyterLab, and print its link.

    Writes docker/.env, makes missing folders, and proves every mount. Safe to repeat: what fits keeps running.
    With --on it does so on another machine: the project is sent there, and the link opens here.
    """
    from host_tasks.act import run, up
    from host_tasks.decide import goals, ports
    from host_tasks.decide.choices import choices
    from host_tasks.observe import compose

    switches = {"gpu": gpu, "no_gpu": no_gpu, "hardened": hardened, "no_hardened": no_hardened}
    asked = choices(bind=bind, workers=workers, from_=from_, on=on, **switches)
    if on:
        from host_tasks.act import ssh

        given: dict[str, str | bool] = {"bind": bind, "workers": workers, "from": from_}
        given.update({"yes": yes, "hardened": hardened, "no-hardened": no_hardened})
        ssh.up(on, ports.wished_port(port), given, attach=attach, browse=open, dry_run=dry_run)
        return
    rules = goals.up(ports.wished_port(port))
    if dry_run:
        run.reach(rules, asked=asked, dry_run=True)
        return
    seen = up.up(rules, asked, yes=yes)
    if open:
        open_link(c)
    if attach:
        words = ("logs", "--follow", "--tail", "20")
        ended(compose.call(seen.settings.values, *words, interactive=True))


@task(help={"on": ON})
def down(c: Context, on: str = "") -> None:
    """Stop JupyterLab and remove its containers and network.

    Your files, the image and JupyterLab's own settings stay. Safe to repeat.
    """
    if on:
        from host_tasks.act import ssh

        ssh.down(on)
        return
    from host_tasks.act import remove

    remove.down()


@task(help={"on": ON, "folders": "Which of the six, with commas between them; default results."})
def pull(c: Context, on: str, folders: str = "results") -> None:
    """Bring back what was made on another machine.

    No newer file here is touched, and an older one is kept in docker/.replaced. Safe to repeat.
    """
    from host_tasks.act import ssh

    ssh.pull(on, folders.split(","))


@task(help={"yes": YES})
def restart(c: Context, yes: bool = False) -> None:
    """Restart JupyterLab in its container, and print its link.

    What runs in it ends: kernels and terminals. What was installed in it stays, and so does the link.
    """
    from host_tasks.act import up
    from host_tasks.decide import goals

    up.up(goals.restarted(), {}, yes=yes)


@task(
    name="mounts",
    help={
        "fix": "Make missing folders, and what is root's yours where you are root.",
        "dry-run": DRY_RUN,
        "json": "Print for programs.",
    },
)
def check_mounts(c: Context, fix: bool = False, dry_run: bool = False, json: bool = False) -> None:
    """Check the bind mounts, outside and through the container.

    Probe files cross every mount both ways and are removed again. Exit code 0, 77 (permission) or 78.
    """
    from host_tasks.act.run import reach
    from host_tasks.decide import goals
    from host_tasks.show.mounts import print_mounts

    seen = reach(goals.MOUNTED if fix else goals.SETTINGS, dry_run=dry_run)
    if not dry_run:
        print_mounts(seen, json=json)


@task(help={"rotate": "Make another token first: the link of before opens nothing any more."})
def url(c: Context, rotate: bool = False) -> None:
    """Print the link of the running JupyterLab.

    With --rotate whoever has the old link is shut out, your own browser too; kernels and open terminals go on.
    """
    from host_tasks.act.link import current_link

    report.result(current_link(rotate=rotate))


@task(name="open")
def open_link(c: Context) -> None:
    """Open the running JupyterLab in your browser."""
    from host_tasks.act.link import current_link, open_in_browser

    open_in_browser(current_link())


@task(help={"follow": "Go on as new lines come; Ctrl-C ends it.", "tail": "How many of the last lines; default all."})
def logs(c: Context, follow: bool = False, tail: str = "all") -> None:
    """Print the log of the server, and of what runs beside it."""
    from host_tasks.observe import clone, compose
    from host_tasks.observe.observation import Observation

    if not Observation().containers:
        report.note(
            f"Nothing runs here yet, so there is no log; what a build says is shown by: {task_command('build')}"
        )
    words = ["logs", "--tail", tail, *(["--follow"] if follow else [])]
    ended(compose.call_by_name(clone.project_name(), *words, interactive=True))


@task(help={"yes": YES})
def shell(c: Context, yes: bool = False) -> None:
    """Open a shell in the environment.

    In the running container, or in one of its own that is removed afterwards.
    """
    from host_tasks.act.inside import run_inside

    ended(run_inside(["bash"], yes=yes))


@task(help={"yes": YES})
def run(c: Context, yes: bool = False) -> None:
    """Run a command in the environment: run -- <command>.

    In the running container, or in one of its own that is removed afterwards. Ends with the command's exit code.
    """
    from host_tasks.act.inside import run_inside

    ended(run_inside(after_dashes(), yes=yes))


@task(help={"json": "Print for programs."})
def status(c: Context, json: bool = False) -> None:
    """Print what runs, on which image, as whom, and where."""
    from host_tasks.observe.observation import Observation
    from host_tasks.show.status import print_status

    print_status(Observation(), json=json)


@task(help={"json": "Print for programs: a list of code, state, cause and fix."})
def doctor(c: Context, json: bool = False) -> None:
    """Check everything, and print what repairs what is wrong.

    Changes nothing. Exit code 0 healthy, 1 a problem, 2 something could not be looked at.
    """
    from host_tasks.observe.observation import Observation
    from host_tasks.show.doctor import print_findings

    sys.exit(print_findings(Observation(), json=json))


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
    from host_tasks.act.run import reach
    from host_tasks.decide import environment_lock, goals
    from host_tasks.observe.observation import Observation
    from host_tasks.show.doctor import print_judged

    if check:
        sys.exit(print_judged(Observation(), environment_lock.environment_lock))
    reach(goals.locked("*" if update is True else str(update)), yes=yes, dry_run=dry_run)


@task(help={"json": "Print for programs."})
def diff(c: Context, json: bool = False) -> None:
    """Print what was installed by hand, and is in no file.

    In the running container, by conda and by pip, without what that depends on. `down` forgets it.
    """
    from host_tasks.observe.observation import Observation
    from host_tasks.show.by_hand import print_by_hand

    print_by_hand(Observation(), json=json)


@task(help={"dry-run": DRY_RUN})
def record(c: Context, dry_run: bool = False) -> None:
    """Add to the files what was installed by hand.

    A line for each package, in environment.yml or requirements.txt; every other line stays. Safe to repeat.
    """
    from host_tasks.act.run import reach
    from host_tasks.decide import goals

    reach(goals.RECORDED, dry_run=dry_run)


@task(
    help={
        "yes": YES,
        "starter": "The starter's own checkers and tests instead of yours.",
        "all": "Yours and the starter's.",
        "fast": "The starter's, without what needs an engine or patience.",
        "lint": "The starter's checkers only.",
    }
)
def test(
    c: Context, yes: bool = False, starter: bool = False, all: bool = False, fast: bool = False, lint: bool = False
) -> None:
    """Run the tests in tests/ inside the environment.

    In a container of its own, which cannot change them. Everything after -- goes to pytest.
    """
    from host_tasks.act import testing

    testing.run(words=after_dashes(default=()), yes=yes, starter=starter, both=all, fast=fast, lint=lint)


@task()
def bench(c: Context) -> None:
    """Measure a bare machine's first start, and the tasks' cost.

    In clones of their own, which are removed afterwards; some eight minutes. The first is a table of its parts; the
    others are ratios to Docker's own commands, and it ends with 1 where one is over its bound.
    """
    from host_tasks.act import testing

    testing.bench()


@task(help={"dry-run": "Print which files would change, and how; change none."})
def upgrade(c: Context, dry_run: bool = False) -> None:
    """Take what a newer version of the starter brings.

    Changes the starter's own files only, and commits nothing; a clash is marked. Safe to repeat.
    """
    from host_tasks.act.run import reach
    from host_tasks.decide.starter import newest

    reach([newest], dry_run=dry_run)
    if not dry_run:
        report.note("The starter is up to date.")


@task(help={"to": "REGISTRY/NAME; the tag is a digest of what the environment is made from.", "yes": YES})
def push(c: Context, to: str = "", yes: bool = False) -> None:
    """Push the environment to a registry, for `up --from`.

    Builds it where it is not here. It knows no user; whoever takes it builds a layer of a second on it.
    """
    from host_tasks.act.run import achieve
    from host_tasks.decide import goals, share

    seen = achieve(goals.pushed(share.repository(to, "--to")), yes=yes)
    report.result(f"{to}:{seen.environment.tag}")


@task(positional=["file"], help={"file": "The file to write, some 1.5 GB.", "yes": YES})
def save(c: Context, file: str, yes: bool = False) -> None:
    """Save the environment to a file, for use without network.

    Builds it where it is not here, and replaces the file.
    """
    from host_tasks.act.archive import save

    save(Path(file).absolute(), yes=yes)


@task(positional=["file"], help={"file": "The file that `save` wrote."})
def load(c: Context, file: str) -> None:
    """Load the environment from a file of `save`.

    Then `up` needs no network. Changes the engine's images, and BASE_IMAGE in docker/.env where the file has another.
    """
    from host_tasks.act.archive import load

    load(Path(file).absolute())


@task(
    help={
        "partition": "Of the cluster, like all of these; default: as slurm.yml says.",
        "time": "How long: 2:00:00.",
        "memory": "How much: 16G.",
        "account": "Whose.",
        "workers": "How many Dask workers beside it, each a job of the same size.",
    }
)
def slurm(
    c: Context, partition: str = "", time: str = "", memory: str = "", account: str = "", workers: str = ""
) -> None:
    """Print a batch script for Slurm: JupyterLab, or -- <command>.

    Run it on the cluster, and give its output to sbatch. Unpacks the image, or makes the lock's environment, in
    docker/.slurm where it is new.
    """
    from host_tasks.act.slurm import script

    asked = {"partition": partition, "time": time, "mem": memory, "account": account}
    report.result(script(after_dashes(default=()), asked, workers))


@task(help={"dry-run": "Print what would be deleted; delete nothing."})
def clean(c: Context, dry_run: bool = False) -> None:
    """Delete this clone's containers, image and Lab settings.

    Your files and docker/.env stay. The next `up` builds from the engine's cache. Safe to repeat.
    """
    from host_tasks.act import remove

    remove.clean(dry_run=dry_run)
