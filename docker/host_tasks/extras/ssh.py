"""The project on another machine: sent there by rsync, brought up by its own `up` there, opened here through ssh.

One connection carries everything, so a password is asked for once. It is kept after the task, for the link, by a
control socket in ~/.ssh whose name ends with the port of this machine that leads to JupyterLab (OpenSSH 8.5, ssh(1)).
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from host_tasks import choices
from host_tasks.kit import files, git, report, runner
from host_tasks.kit.paths import ROOT, YOURS
from host_tasks.kit.task import Elsewhere, after_dashes, ended, task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, achieve, fail, ok, once
from host_tasks.subjects import clone, link, ports

if TYPE_CHECKING:
    from invoke.context import Context

REPLACED = "docker/.replaced"  # on both machines: what a transfer replaced or removed
SENT = "docker/.sent"  # there: the names of what was sent last
LOST = 255  # ssh's own exit code (ssh(1), "EXIT STATUS"); any other is that of the command there
NO_PYTHON, NO_PROJECT = 67, 68  # of the line that starts a task there
NOISE = 66  # of a transfer whose protocol met the words of a shell
TOO_OLD = (1, 2, 4, 127)  # rsync's exit codes: options or protocols that it does not know; the shell's: not there
SOCKET_BYTES = 108 - 1 - 17  # unix(7), and what ssh adds while it makes one (OpenSSH 9, mux.c)
# Over the person's own settings for this host, which may start something else, or take ports.
OWN = ("ControlMaster=no", "RemoteCommand=none", "LogLevel=ERROR")
LASTING = ("ControlMaster=yes", "ControlPersist=yes", "ClearAllForwardings=yes", "ServerAliveInterval=15")
RSYNC = (
    *("rsync", "--recursive", "--links", "--times", "--executability", "--info=name,skip,del"),
    *("--update", "--backup"),  # never over a newer file, and an older one is kept
)
OF_HERE = ("port", "open", "attach", "dry_run")  # options of `up` that are about this machine
QUIETEN = "sed -i '1i case $- in *i*) ;; *) return ;; esac' ~/.bashrc"  # where nobody types, it then says nothing

# look


class Far(NamedTuple):
    """Another machine, and the connection to it."""

    on: str  # as the person wrote it
    host: str  # as ssh takes it
    ssh_port: int | None  # None = what ssh's own configuration says

    @property
    def named(self) -> str:
        """The machine as one word of an ssh command that can be pasted."""
        return f"ssh://{self.host}:{self.ssh_port}" if self.ssh_port else self.host

    @property
    def folder(self) -> str:
        """The project there, in the home."""
        return clone.project(Seen())

    @property
    def guards(self) -> str:
        """What a task there begins with: it ends with a code of its own where something is missing."""
        return f"cd {self.folder} 2>/dev/null || exit {NO_PROJECT}; command -v python3 >/dev/null || exit {NO_PYTHON}"

    @property
    def socket(self) -> str:
        """The control socket, without its port: in ~/.ssh, or where that cannot hold one, in a folder of this login."""
        name = f"starter-{files.digest(f'{self.folder} {self.named}'.encode())[:8]}-"
        folders = [Path.home() / ".ssh", *map(Path, filter(None, [os.environ.get("XDG_RUNTIME_DIR")]))]
        return str(next(filter(holds_sockets, folders), folders[0]) / name)

    @property
    def sockets(self) -> list[Path]:
        """The control sockets that are here: one, or none."""
        folder, _, start = self.socket.rpartition("/")
        return sorted(Path(folder).glob(f"{start}[0-9]*[0-9]"))

    @property
    def port(self) -> int:
        """The port of this machine that the connection has; 0 = there has been no connection yet."""
        return int(self.sockets[0].name.rpartition("-")[2]) if self.sockets else 0

    def ssh(self, *options: str, port: int = 0) -> list[str]:
        """Return the argument list of an ssh that uses the connection, or makes one of its own where there is none."""
        named = [f"-oControlPath={self.socket}{port or self.port}", *([f"-p{self.ssh_port}"] if self.ssh_port else [])]
        return ["ssh", *named, *options, *(f"-o{option}" for option in OWN)]

    def control(self, word: str, *options: str) -> bool:
        """Return whether the connection is there and has done as it was told: check, forward or exit."""
        argv = [*self.ssh("-O", word, *options), self.host]
        return runner.run(argv, cwd=ROOT, capture=True, announce=False).ok

    def run(self, line: str, *, capture: bool = False, quiet: bool = False) -> runner.Finished:
        """Run a line of shell there, on a terminal where there is one here."""
        ends = (sys.stdin, sys.stderr, *([] if quiet else [sys.stdout]))
        terminal = ["-t"] if not capture and all(stream.isatty() for stream in ends) else []
        argv = [*self.ssh(*terminal), self.host, line + " >/dev/null" * quiet]
        return runner.run(argv, cwd=ROOT, interactive=not capture, capture=capture, announce=False)

    def task(self, *words: str, capture: bool = False, quiet: bool = False) -> runner.Finished:
        """Have a task done in the project there; it goes on where the connection is lost."""
        does = shlex.join(["python3", "tasks.py", *words])
        report.command(f"ssh {self.named} {shlex.quote(f'cd {self.folder} && {does}')}")
        return self.run(f"{self.guards}; trap '' HUP; {does}", capture=capture, quiet=quiet)

    def failed(self, code: int | str, cause: str = "", fix: str = "", how: ExitCode = ExitCode.UNAVAILABLE) -> Finding:
        """Return why a command failed: by its exit code, where it tells what is missing."""
        known = {
            LOST: (f"no connection to {self.on}; what runs there goes on", f"ssh {self.named} true"),
            NO_PROJECT: (f"the project is not on {self.on} yet", task_command(f"up --on {self.on}")),
            NO_PYTHON: (f"{self.on} has no python3 on its PATH", f"ssh -t {self.named} 'sudo apt-get install python3'"),
            NOISE: (
                f"a shell on {self.on} prints something before each command, so rsync cannot be understood",
                f"ssh {self.named} {shlex.quote(QUIETEN)}",
            ),
        }
        return fail(*known.get(int(code), (cause, fix)), ExitCode.UNAVAILABLE if int(code) in known else how)


def holds_sockets(folder: Path) -> bool:
    """Return whether a folder can hold a control socket: its path is short, and it can be written or made."""
    short = len(os.fsencode(f"{folder}/starter-01234567-65535")) <= SOCKET_BYTES
    return short and os.access(folder if folder.exists() else folder.parent, os.W_OK)


def machine(on: str) -> Far:
    """Return a machine by user@host, host or ssh://user@host:port.

    Raises:
        HostError: it is none (64).
    """
    read = re.fullmatch(r"(?:ssh://)?((?:[\w.+-]+@)?\w[\w.-]*)(?::([0-9]{1,5}))?/?", on)
    if not read:
        raise HostError(f"--on {on!r} is no user@host", fix=task_command("up --help"), code=ExitCode.USAGE)
    return Far(on, read[1], int(read[2]) if read[2] else None)


# judge


def connected(far: Far, wanted: int = 0) -> Rule:
    """Return the rule that there is a connection, with a port of this machine for the link; 0 = any."""

    def judge(seen: Seen) -> Iterator[Finding]:
        old, again = far.port, task_command(f"up --on {far.on}")
        there = bool(old) and far.control("check")
        number = wanted or (old if old and ports.is_free(old) else ports.next_free(0, far.folder, ports.is_free))
        step = Step(functools.partial(connect, far=far, port=number), f"connect to {far.on}", f"port {number} here")
        if there and wanted in (0, old):
            yield ok(f"there is a connection to {far.on}")
        elif os.name == "nt":
            cause = "ssh on Windows cannot keep a connection for several commands"
            yield fail(cause, "wsl # and there the same command", ExitCode.UNAVAILABLE)
        elif not holds_sockets(folder := Path(far.socket).parent):
            short = "export XDG_RUNTIME_DIR=/tmp/ssh-$USER && mkdir -p -m 700 $XDG_RUNTIME_DIR"
            cause = f"{folder} cannot hold ssh's control socket: it cannot be written, or its path is too long"
            yield fail(cause, f"{short} && {again}", ExitCode.CANNOT_CREATE)
        elif step.name in seen.tried:
            yield far.failed(LOST)
        elif not ports.is_free(number):
            yield fail(f"port {number} is held by {ports.holder(number, ())}", again, ExitCode.TRY_AGAIN)
        else:
            lost = f"The connection to {far.on} was lost; what runs there has gone on"
            yield fail(lost if old and not there else "there is no connection with this port yet", again, step=step)

    return Rule("connection", judge)


def moved(far: Far, what: str, do: Callable[[Seen], Ended], again: str) -> Rule:
    """Return the rule that files are sent or brought, with what rsync does, and why it fails."""

    def failed(_: Seen, ended: Ended) -> Finding:
        if int(ended.said) in TOO_OLD:
            cause = f"rsync is not 3.1 or newer, here or on {far.on}: it ended with {ended.said}"
            return fail(cause, "install rsync there, then try again", ExitCode.UNAVAILABLE)
        cause = f"rsync ended with {ended.said}; its lines above say what cannot be read or written"
        return far.failed(ended.said, cause, f"ssh {far.named} df -h .", ExitCode.IO)

    step = Step(do, f"{what}; a newer file stays", f"files, of which {REPLACED} keeps those that were replaced")
    return once("moved", lambda _: step, task_command(again), failed)


def done(far: Far, *words: str) -> Rule:
    """Return the rule that a task is done there; it says itself what goes wrong, and this one tells where."""
    step = Step(functools.partial(have, far=far, words=words), f"run `{words[0]}` on {far.on}", "what it says there")

    def failed(_: Seen, ended: Ended) -> Finding:
        code = next((known for known in ExitCode if known == int(ended.said)), ExitCode.SOFTWARE)
        cause = f"`{words[0]}` ended with {ended.said} on {far.on}, where you paste the fix above"
        return far.failed(ended.said, cause, f"ssh -t {far.named} {shlex.quote(f'cd {far.folder}; exec bash')}", code)

    return once("done-there", lambda _: step, task_command(f"{words[0]} --on {far.on}"), failed)


def opened(far: Far, wanted: int, there: Callable[[], str]) -> Rule:
    """Return the rule that a port of this machine leads to what the link there opens."""

    def step(_: Seen) -> Step:
        address = urlsplit(there()).netloc
        do = functools.partial(lead, far=far, port=wanted, address=address)
        return Step(do, f"lead a port of this machine to {address} there", "the connection")

    def failed(_: Seen, ended: Ended) -> Finding:
        fix = "ask its administrator for AllowTcpForwarding in sshd_config"
        return far.failed(ended.said, f"{far.on} does not let ssh forward a port", fix, ExitCode.PERMISSION)

    return replace(once("opened", step, task_command(f"up --on {far.on}"), failed), afterwards=True)


# repair


def connect(_: Seen, *, far: Far, port: int) -> Ended:
    """Make a new connection, and no second one beside it."""
    far.control("exit")
    for stale in far.sockets:
        stale.unlink(missing_ok=True)
    Path(far.socket).parent.mkdir(mode=0o700, exist_ok=True)
    report.command(f"ssh -f -N {far.named}")
    argv = [*far.ssh("-f", "-N", *(f"-o{option}" for option in LASTING), port=port), far.host]
    return Ended(runner.run(argv, cwd=ROOT, interactive=True, announce=False).ok)


def send(_: Seen, *, far: Far, dry_run: bool = False) -> Ended:
    """Send what git tracks, or would track, and remove there what was sent before and is no longer here.

    Raises:
        HostError: git cannot tell what that is (69).
    """
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = git.run(*words, capture=True)
    if not listed.ok:
        raise git.refused(words[0], listed.last_line)
    before = far.run(f"cat {far.folder}/{SENT}", capture=True).stdout
    names = [name for name in listed.stdout.split("\0") if name and os.path.lexists(ROOT / name)]
    gone = [name for name in before.split("\0") if name and not os.path.lexists(ROOT / name)]
    with tempfile.TemporaryDirectory() as folder:
        every, sent, there = Path(folder, "every"), Path(folder, "sent"), f"{far.host}:{far.folder}/"
        every.write_bytes("\0".join([*names, *gone]).encode(errors="surrogateescape"))
        sent.write_bytes("\0".join(names).encode(errors="surrogateescape"))
        which = ("--from0", f"--files-from={every}", "--delete-missing-args", f"--backup-dir={REPLACED}")
        ended = _rsync(far, *RSYNC, *(["--dry-run"] if dry_run else []), *which, f"{ROOT}/", there)
        return ended if dry_run or not ended.ok else _rsync(far, "rsync", "--ignore-times", str(sent), there + SENT)


def bring(_: Seen, *, far: Far, name: str) -> Ended:
    """Bring a folder of the six back; a link of the container's that leads out of it stays there."""
    backup = f"--backup-dir={ROOT / REPLACED / name}"
    return _rsync(far, *RSYNC, "--safe-links", backup, f"{far.host}:{far.folder}/{name}/", f"{ROOT / name}/")


def _rsync(far: Far, *argv: str) -> Ended:
    """Run rsync, which shows what it copies, and tell its exit code, or that there is no connection."""
    finished = runner.run([argv[0], f"--rsh={shlex.join(far.ssh())}", *argv[1:]], cwd=ROOT, announce=False)
    if finished.ok:
        return Ended()
    heard = far.run("true", capture=True)
    cause = LOST if heard.returncode == LOST else NOISE if heard.stdout else finished.returncode
    return Ended(ok=False, said=str(cause))


def have(_: Seen, *, far: Far, words: tuple[str, ...]) -> Ended:
    """Have a task done there; once nothing runs there, no connection is needed."""
    finished = far.task(*words, quiet=True)
    if finished.ok and words == ("down",):
        far.control("exit")
    return Ended(finished.ok, str(finished.returncode))


def lead(_: Seen, *, far: Far, port: int, address: str) -> Ended:
    """Have the port lead to an address there; where it leads to an earlier one, or was taken, connect anew."""
    if far.control("forward", f"-L127.0.0.1:{far.port}:{address}"):
        return Ended()
    if not connect(_, far=far, port=port or ports.next_free(0, far.folder, ports.is_free)).ok:
        return Ended(ok=False, said=str(LOST))
    return Ended(far.control("forward", f"-L127.0.0.1:{far.port}:{address}"), said="0")


# show


def hand_over(name: str, on: str, said: Mapping[str, Any]) -> None:
    """Do a task on another machine: by the same one there, with what was said of it."""
    far = machine(on)
    words = [f"--{word.strip('_').replace('_', '-')}={value}" for word, value in said.items() if word not in OF_HERE]
    words = [word.removesuffix("=True") for word in words]
    if name == "down":
        achieve([done(far, "down")])
    elif name in ("up", "url"):
        had = bool(far.port) and far.control("check")
        try:
            _bring_up(far, words, said) if name == "up" else report.result(_link(far, words, (connected(far),), 0))
        except BaseException:
            if not had:
                far.control("exit")
            raise
    else:
        behind = after_dashes(default=())
        finished = far.task(name, *words, *(["--", *behind] if behind else []))
        code = finished.returncode
        # A program of the person's may end with any of these.
        if code == LOST or (code in (NO_PROJECT, NO_PYTHON) and far.run(far.guards, capture=True).returncode == code):
            raise far.failed(code).error()
        ended(finished)


def _bring_up(far: Far, words: list[str], said: Mapping[str, Any]) -> None:
    """Send the project, bring it up there, and tell the link of this machine that leads there."""
    again, dry_run = f"up --on {far.on}", "dry_run" in said
    port = int(choices.asked(said).get(ports.KEY) or 0)
    sent = moved(far, f"send {ROOT.name}/ to {far.on}", functools.partial(send, far=far), again)
    rules = (connected(far, port), sent, done(far, "up", *words))
    if dry_run:
        achieve(rules, dry_run=True)
        listed = functools.partial(send, far=far, dry_run=True)
        achieve([moved(far, f"list what would be sent to {far.on}", listed, f"{again} --dry-run")])
        return
    here = _link(far, [], rules, port)
    report.result(here)
    if "open" in said:
        link.open_in_browser(here)
    if "attach" in said:
        ended(far.task("logs", "--follow", "--tail", "20"))


def _link(far: Far, words: list[str], rules: tuple[Rule, ...], port: int) -> str:
    """Return the link of this machine that leads to the server there, once the rules hold."""

    @functools.cache
    def there() -> str:
        finished = far.task("url", *words, capture=True)
        if finished.ok:
            return finished.stdout.splitlines()[-1]
        cause = f"no link of {far.on}: {finished.last_line}"
        raise far.failed(finished.returncode, cause, task_command(f"up --on {far.on}")).error()

    achieve((*rules, opened(far, port, there)))
    here = urlsplit(there())._replace(netloc=f"127.0.0.1:{far.port}").geturl()
    link.ask(here)
    return here


# tasks

ON = "Another machine, as ssh names it: user@host."
ELSEWHERE = Elsewhere(ON, hand_over)


@task(help={"on": ON, "folders": "Which of the six, with commas between them; default results."})
def pull(c: Context, *, on: str, folders: str = "results") -> None:
    """Bring back what was made on another machine.

    No newer file here is touched, and an older one is kept in docker/.replaced. Safe to repeat.
    """
    far, names, again = machine(on), [name.strip() for name in folders.split(",")], f"pull --on {on}"
    if strange := sorted(set(names) - set(YOURS)):
        raise HostError(f"{strange[0]} is none of {' '.join(YOURS)}", fix=task_command(again), code=ExitCode.USAGE)
    bringing = {name: functools.partial(bring, far=far, name=name) for name in names}
    achieve([moved(far, f"bring {name}/ from {on}", do, again) for name, do in bringing.items()])
    report.note(f"{', '.join(names)} has what {on} has, but where it is newer here.")


TASKS = (pull,)
