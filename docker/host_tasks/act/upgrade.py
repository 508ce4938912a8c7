"""Take what a newer version of the starter changes in its own files, on top of what was changed here."""

from pathlib import Path
from tempfile import TemporaryDirectory

from host_tasks.decide.starter import taken
from host_tasks.ground import report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT
from host_tasks.observe.observation import Observation
from host_tasks.observe.starter import DIFFERENCE, REFS, at_top, environment, git


def take(seen: Observation) -> None:
    """Apply the difference of the two versions as `git apply --3way` does, and leave it to be committed.

    A clash is no error here: the next round sees it.

    Raises:
        HostError: git has applied nothing (73).
    """
    found = seen.starter
    names = [each.name for each in taken(found)]
    with TemporaryDirectory() as folder:
        patch = Path(folder) / "patch"
        both = (REFS + found.here, REFS + found.newest)
        git(*DIFFERENCE, "--binary", "--full-index", "--patch", f"--output={patch}", *both, "--", *at_top(*names))
        # git reads a patch from the top of the repository, of which this project may be a folder.
        inside = f"--directory={git('rev-parse', '--show-prefix').strip()}"
        words = ["git", "-C", git("rev-parse", "--show-toplevel").strip(), "apply", "--3way", "--whitespace=nowarn"]
        finished = runner.run([*words, inside, str(patch)], cwd=ROOT, env=environment(), keep=True)
    if not git("status", "--porcelain", "--untracked-files=no"):
        problem = f"{found.newest} cannot be applied: {finished.last_line}"
        raise HostError(problem, fix=f"git log --oneline -- {' '.join(names[:3])}", code=ExitCode.CANNOT_CREATE)
    if finished.ok:
        report.note(f"What {found.newest} brings is staged: git diff --staged, then: git commit")
