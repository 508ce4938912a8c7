"""Install and start an engine where there is none and the person agrees; else say what is missing."""

from host_tasks import engine, group
from host_tasks.engine import Problem
from host_tasks.ground import report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import INSTALL_ENGINE, ROOT, shown


def ensure(*, yes: bool) -> None:
    """Return with a usable engine, installing and starting one where the person agrees; else HostError."""
    problem = engine.diagnose()
    if problem and problem.installable and engine.script_knows_this_system():
        if not _agreed(problem, yes=yes):
            raise problem.error()
        _install()
        problem = engine.diagnose()
    _settle(problem)


def require() -> None:
    """Return with a usable engine; else HostError. Never installs anything."""
    _settle(engine.diagnose())


def _agreed(problem: Problem, *, yes: bool) -> bool:
    """Ask whether to install what is missing."""
    script = shown(INSTALL_ENGINE)
    return report.agreed(
        f"{problem.problem}. {script} can repair that; {script} --dry-run shows what it changes. Run it now?", yes=yes
    )


def _install() -> None:
    """Run docker/install-engine.sh as root."""
    finished = runner.run(runner.as_root(str(INSTALL_ENGINE)), cwd=ROOT, interactive=True)
    if not finished.ok:
        raise HostError(
            f"{shown(INSTALL_ENGINE)} ended with {finished.returncode}",
            fix=f"see the lines above, then run: sudo {shown(INSTALL_ENGINE)}",
            code=ExitCode.UNAVAILABLE,
        )


def _settle(problem: Problem | None) -> None:
    """Return where there is no problem, run again with the group where that repairs it, else raise."""
    if problem is None:
        return
    if problem.code == ExitCode.PERMISSION and group.waits():
        group.run_again()
    raise problem.error()
