"""Another machine by ssh: how it is named, what it is told to do, and what is sent there; no machine is asked."""

import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aids import executable
from invoke.context import Context
from invoke.exceptions import Exit

from host_tasks.extras import ssh
from host_tasks.kit import git, lock, runner
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import FAIL, OK, Ended, Rule, Seen
from host_tasks.subjects import ports


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without a connection, whose path is short enough for one."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("HOME", folder)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        Path(folder, ".ssh").mkdir()
        yield Path(folder)


@pytest.mark.parametrize(
    ("on", "host", "port"),
    [
        ("ada@big", "ada@big", None),
        ("Big", "Big", None),
        ("ada@big.example.org:2222", "ada@big.example.org", 2222),
        ("ssh://ada@big:22/", "ada@big", 22),
    ],
)
def test_machine_is_named_as_ssh_names_it(on: str, host: str, port: int | None) -> None:
    """A name, an alias of ssh's configuration, a port, and the form that Docker has."""
    far = ssh.machine(on)

    assert (far.host, far.ssh_port, far.port) == (host, port, 0)


@pytest.mark.parametrize(
    "on", ["", "-oProxyCommand=id", "a b", "ada@-oX", "ada@big:/folder", "big;id", "tcp://big:2375"]
)
def test_other_words_are_refused(on: str) -> None:
    """Nothing reaches ssh as an option of its own, or a shell as a word of its own."""
    with pytest.raises(HostError) as refused:
        ssh.machine(on)

    assert refused.value.code == ExitCode.USAGE


def test_connection_is_found_with_its_port_by_every_name(home: Path) -> None:
    """The socket's name tells the port of this machine; both ways to write a machine lead to it, and no other."""
    Path(f"{ssh.machine('ada@big:22').socket}8901").touch()

    assert [ssh.machine(on).port for on in ("ada@big:22", "ssh://ada@big:22", "ada@big", "bob@big:22")] == [
        8901,
        8901,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, ()),
        ({"yes": True, "open": True, "attach": True, "port": "9000"}, ("--yes",)),
        (
            {"gpu": True, "no_hardened": True, "workers": "2", "from_": "reg.example.org/a"},
            ("--gpu", "--no-hardened", "--workers=2", "--from=reg.example.org/a"),
        ),
    ],
    ids=["nothing", "of this machine", "choices"],
)
def test_up_there_is_told_every_choice_but_those_of_this_machine(
    said: Mapping[str, Any], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port, the browser and the log are of the machine where the person is; all else is asked for there."""
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(ssh, "done", lambda far, *given: told.append(given))
    monkeypatch.setattr(ssh, "achieve", lambda rules, **how: None)

    ssh.hand_over("up", "big", {**said, "dry_run": True})

    assert told == [("up", *words)]


def test_connection_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there is taken; one that was lost, or whose port is held, is told; a second failure is the end."""
    far, was, held, alive = ssh.machine("big"), 8901, 8902, True
    monkeypatch.setattr(ports, "is_free", lambda number: number != held)
    monkeypatch.setattr(ports, "holder", lambda number, running: "node (process 4711)")
    monkeypatch.setattr(ssh.Far, "control", lambda far, word: alive)

    [first] = ssh.connected(far).found(Seen())
    Path(f"{far.socket}{was}").touch()
    [there] = ssh.connected(far).found(Seen())
    [other] = ssh.connected(far, held).found(Seen())
    alive = False
    [lost] = ssh.connected(far).found(Seen())
    [vain] = ssh.connected(far).found(Seen(tried={"connect to big": Ended(ok=False)}))

    assert (first.state, first.step and first.step.what) == (FAIL, "connect to big")
    assert there.state == OK
    assert (other.cause, other.exit_code) == ("port 8902 is held by node (process 4711)", ExitCode.TRY_AGAIN)
    assert lost.cause == "The connection to big was lost; what runs there has gone on"
    assert lost.step
    assert lost.step.touches == f"port {was} here"
    assert (vain.cause, vain.fix, vain.exit_code, vain.step) == (
        *("no connection to big; what runs there goes on", "ssh big true", ExitCode.UNAVAILABLE, None),
    )


def failed(rule: Rule, code: int) -> tuple[str, str, int]:
    """Return cause, fix and exit code where the one step of a rule has ended with a code."""
    [wanted] = rule.found(Seen())
    assert wanted.step
    [finding] = rule.found(Seen(tried={wanted.step.name: Ended(ok=False, said=str(code))}))
    assert (wanted.state, finding.state, finding.step) == (FAIL, FAIL, None)
    return finding.cause, finding.fix, finding.exit_code


def test_what_fails_is_told_by_its_exit_code() -> None:
    """A lost connection, an old rsync, a file that cannot be written, and a task that has said itself what is wrong."""
    far = ssh.machine("ada@big:2222")
    named = "ssh://ada@big:2222"
    sent, task = ssh.moved(far, "send it", lambda _: Ended(), "up --on big"), ssh.done(far, "up", "--yes")

    assert failed(sent, 255) == (
        "no connection to ada@big:2222; what runs there goes on",
        f"ssh {named} true",
        ExitCode.UNAVAILABLE,
    )
    assert failed(sent, 4) == (
        "rsync is not 3.1 or newer, here or on ada@big:2222: it ended with 4",
        "install rsync there, then try again",
        ExitCode.UNAVAILABLE,
    )
    assert failed(sent, 23) == (
        "rsync ended with 23; its lines above say what cannot be read or written",
        f"ssh {named} df -h .",
        ExitCode.IO,
    )
    assert failed(task, 255)[0] == "no connection to ada@big:2222; what runs there goes on"
    assert failed(task, ssh.NO_PYTHON)[0] == "ada@big:2222 has no python3 on its PATH"
    assert failed(task, ssh.NO_PROJECT)[1] == "invoke up --on ada@big:2222"
    assert failed(sent, ssh.NOISE)[1] == f"ssh {named} {shlex.quote(ssh.QUIETEN)}"
    assert failed(task, 78) == (
        "`up` ended with 78 on ada@big:2222, where you paste the fix above",
        f"ssh -t {named} 'cd {far.folder}; exec bash'",
        ExitCode.CONFIG,
    )


def test_port_that_leads_nowhere_is_told_by_what_ssh_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it connects anew and cannot, there is no connection; where it can, the machine forwards no port."""
    monkeypatch.setattr(ssh.Far, "control", lambda far, word, *options: False)
    told = []
    for ended in (255, 0):
        finished = runner.Finished((), ended, "", "")
        monkeypatch.setattr(runner, "run", lambda argv, finished=finished, **how: finished)
        rule = ssh.opened(ssh.machine("big"), 0, lambda: "http://127.0.0.1:8888/?token=t")
        [wanted] = rule.found(Seen())
        assert wanted.step
        done = wanted.step.do(Seen())
        assert done
        [finding] = rule.found(Seen(tried={wanted.step.name: done}))
        told.append((finding.cause, finding.exit_code))

    assert told == [
        ("no connection to big; what runs there goes on", ExitCode.UNAVAILABLE),
        ("big does not let ssh forward a port", ExitCode.PERMISSION),
    ]


# What stands in for ssh: it runs the command in the home of the other machine, or has no connection.
SSH = """
for word in "$@"; do [ "$word" = -O ] && exit 255; done
while case $1 in -*) true ;; *) false ;; esac do shift; done
[ "$1" = gone ] && exit 255
shift
cd {home} && exec sh -c "$*"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in git; `there` is its folder on the other machine, where nothing is yet."""
    if not shutil.which("rsync"):
        pytest.skip("rsync is not on the PATH")
    home = tmp_path / "far"
    executable(tmp_path / "bin" / "ssh", SSH.format(home=home))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    root = tmp_path / "near"
    for module in (ssh, git):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(ssh.Far, "folder", "project-0a1b2c3d")
    monkeypatch.setattr(lock, "held", functools.partial(lock.held, tmp_path / ".lock"))
    for name in ("docker/kept", "src/kept.py", "src/gone.py", "old/a", "with\nbreak", "moved é"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x", encoding="utf-8")
    (root / ".gitignore").write_text("ignored\n", encoding="utf-8")
    (root / "ignored").touch()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    home.mkdir()
    return root


def files(folder: Path) -> set[str]:
    """Return the files of a project, without what git and a transfer keep there."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith((".git/", ssh.REPLACED, ssh.SENT))}


def test_what_was_sent_and_is_gone_here_goes_there_and_nothing_else(project: Path) -> None:
    """What was never sent stays there, and so does what is here and no longer tracked; what went is kept there."""
    far, there = ssh.machine("big"), project.parent / "far" / ssh.machine("big").folder
    first = ssh.send(Seen(), far=far)
    assert (first.ok, files(there)) == (True, files(project) - {"ignored"})
    for name in ("results/r", "src/theirs.py", "old/theirs", "never-sent"):
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).touch()
    before = files(there)

    for name in ("src/gone.py", "old/a", "with\nbreak"):
        (project / name).unlink()
    (project / "moved é").rename(project / "moved")
    (project / ".gitignore").write_text("ignored\nsrc/kept.py\n", encoding="utf-8")
    listed = ssh.send(Seen(), far=far, dry_run=True)
    unchanged = files(there)
    second = ssh.send(Seen(), far=far)

    assert (listed.ok, unchanged) == (True, before)
    assert second.ok
    assert files(there) == before - {"src/gone.py", "old/a", "with\nbreak", "moved é"} | {"moved"}
    assert (there / ssh.REPLACED / "src" / "gone.py").is_file()
    for name in (ssh.SENT, ssh.REPLACED + "/a"):
        subprocess.run(["git", "check-ignore", "--quiet", "--no-index", name], cwd=ROOT, check=True)
    (there / "moved é").touch()  # made there, long after it went
    assert ssh.send(Seen(), far=far).ok
    assert (there / "moved é").is_file()


def test_dry_run_that_reaches_nobody_says_so(project: Path) -> None:
    """It changes nothing, and does not end as if there were nothing to send."""
    with pytest.raises(HostError) as refused:
        ssh.hand_over("up", "gone", {"dry_run": True})

    assert (refused.value.problem, refused.value.code) == (
        *("no connection to gone; what runs there goes on", ExitCode.UNAVAILABLE),
    )


def test_folder_that_is_no_repository_is_told(project: Path) -> None:
    """Nobody but git can say which files are the project's."""
    shutil.rmtree(project / ".git")

    with pytest.raises(HostError) as refused:
        ssh.send(Seen(), far=ssh.machine("big"))

    assert (refused.value.problem, refused.value.code) == (f"{project} is no git repository", ExitCode.UNAVAILABLE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_clone_of_another_owner_is_told_with_its_cure(project: Path, home: Path) -> None:
    """`git init` would not help: git asks to be told that the folder may be read, and the fix, pasted, says so."""
    for path in (project / ".git", *(project / ".git").rglob("*"), project):
        os.chown(path, 4711, 4711)

    with pytest.raises(HostError) as refused:
        ssh.send(Seen(), far=ssh.machine("big"))
    subprocess.run(["bash", "-c", refused.value.fix], check=True)

    assert refused.value.problem == f"{project} belongs to another user, uid 4711, so git does not read it"
    assert ssh.send(Seen(), far=ssh.machine("big")).ok


@pytest.mark.parametrize("name", ["run", "shell", "logs", "status", "doctor", "test"])
def test_task_is_done_there_with_its_words(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options and what stands behind -- come through as they were; its exit code is the one of there."""
    there = project.parent / "far" / ssh.machine("big").folder
    there.mkdir()
    (there / "tasks.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)\n", encoding="utf-8")
    told: list[str] = []
    monkeypatch.setattr(sys, "argv", ["invoke", name, "--on", "big", "--", "a b", "$HOME"])
    run = runner.run

    def captured(argv: list[str], **how: Any) -> runner.Finished:
        finished = run(argv, **{**how, "capture": True, "interactive": False})
        told.append(finished.stdout)
        return finished

    monkeypatch.setattr(runner, "run", captured)

    with pytest.raises(Exit) as ended:
        ssh.hand_over(name, "big", {"yes": True})

    assert (ended.value.code, told) == (7, [f"{[name, '--yes', '--', 'a b', '$HOME']}\n"])


def test_project_that_is_not_there_yet_is_told(project: Path) -> None:
    """No message of a shell's."""
    with pytest.raises(HostError) as refused:
        ssh.hand_over("status", "big", {})

    assert (refused.value.problem, refused.value.fix) == ("the project is not on big yet", "invoke up --on big")


def test_shell_that_speaks_is_not_taken_for_an_old_rsync(project: Path, home: Path) -> None:
    """What a .bashrc prints comes before rsync's first bytes; the fix quietens it where nobody types."""
    noisy = executable(project.parent / "bin" / "ssh", "echo Welcome\n" + SSH.format(home=project.parent / "far"))

    ended = ssh.bring(Seen(), far=ssh.machine("big"), name="results")
    bashrc = home / ".bashrc"
    bashrc.write_text("echo Welcome\n", encoding="utf-8")
    subprocess.run(["bash", "-c", ssh.QUIETEN], check=True)
    said = subprocess.run(["bash", "-c", f". {bashrc}; echo on"], capture_output=True, text=True, check=True)

    assert noisy.is_file()
    assert (ended.ok, ended.said) == (False, str(ssh.NOISE))
    assert said.stdout == "on\n"


def test_socket_is_where_it_fits(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home with a long path, or a ~/.ssh that is a file of somebody's, leads to the folder of this login."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/x")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home / ".ssh")
    monkeypatch.setattr(Path, "exists", lambda path: True)
    unwritable = Path(ssh.machine("big").socket).parent
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setenv("HOME", str(home / ("long" * 20)))
    long = Path(ssh.machine("big").socket).parent
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    [told] = ssh.connected(ssh.machine("big")).found(Seen())

    assert unwritable == long == Path("/run/x")
    assert (told.exit_code, told.step) == (ExitCode.CANNOT_CREATE, None)
    assert "cannot hold ssh's control socket" in told.cause


def test_folders_of_pull_may_have_blanks(project: Path) -> None:
    """`notebooks, src` are two of the six."""
    there = project.parent / "far" / ssh.machine("big").folder
    for name in ("notebooks", "src"):
        (there / name).mkdir(parents=True)
        (there / name / "made").touch()

    ssh.pull(Context(), on="big", folders="notebooks, src")

    assert (project / "notebooks" / "made").is_file()
    assert (project / "src" / "made").is_file()
