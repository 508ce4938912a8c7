"""The project on another machine: sent there by rsync, brought up by its own `up` there, opened here through ssh.

One connection carries everything, so a password is asked for once. It is kept after the task, for the link, by a
control socket in ~/.ssh whose name ends with the port of this machine that leads to JupyterLab (OpenSSH 8.5, ssh(1)).
"""

import hashlib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from invoke.exceptions import Exit

from host_tasks.act.link import open_in_browser
from host_tasks.decide.ports import next_free
from host_tasks.ground import lock, report, runner
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, ROOT, YOURS
from host_tasks.observe import clone, ports, server
from host_tasks.setup.basics import error_text

REPLACED = ".replaced"  # in docker/, on both machines: what a transfer put another file in the place of
DESTINATION = re.compile(r"(?:ssh://)?((?:[\w.+-]+@)?\w[\w.-]*)(?::([0-9]{1,5}))?/?")
LOST = 255  # ssh's own exit code (ssh(1), "EXIT STATUS"); any other is that of the command there
TOO_OLD = (1, 2, 4, 127)  # rsync's exit codes: options or protocols that it does not know; the shell's: not there
# Over the person's own settings for this host, which may start something else, or take ports.
OWN = ("ControlMaster=no", "RemoteCommand=none", "LogLevel=ERROR")
LASTING = ("ControlMaster=yes", "ControlPersist=yes", "ClearAllForwardings=yes", "ServerAliveInterval=15")
RSYNC = (
    *("rsync", "--recursive", "--links", "--times", "--executability", "--info=name,skip"),
    *("--update", "--backup"),  # never over a newer file, and an older one is kept
)


@dataclass(frozen=True)
class Far:
    """Another machine, and the connection to it."""

    on: str  # as the person wrote it
    host: str  # as ssh takes it
    ssh_port: int | None  # None = what ssh's own configuration says
    port: int  # of this machine; 0 = there has been no connection yet
    folder: str = clone.project_name()  # of the project there, in the home

    @property
    def named(self) -> str:
        """The machine as one word of an ssh command that can be pasted."""
        return f"ssh://{self.host}:{self.ssh_port}" if self.ssh_port else self.host

    @property
    def socket(self) -> str:
        """The control socket, without its port."""
        digest = hashlib.sha256(f"{self.folder} {self.named}".encode()).hexdigest()
        return f"{Path.home()}/.ssh/starter-{digest[:8]}-"

    def ssh(self, *options: str) -> list[str]:
        """Return the argument list of an ssh that uses the connection, or makes one of its own where there is none."""
        named = [f"-oControlPath={self.socket}{self.port}", *([f"-p{self.ssh_port}"] if self.ssh_port else [])]
        return ["ssh", *named, *options, *(f"-o{each}" for each in OWN)]

    def connection(self, word: str, *options: str) -> bool:
        """Return whether the connection is there and has done as it was told: check, forward or exit."""
        argv = [*self.ssh("-O", word, *options), self.host]
        return runner.run(argv, cwd=ROOT, capture=True, announce=False).ok

    def answers(self) -> bool:
        """Return whether a command can be run there."""
        argv = [*self.ssh(), self.host, "true"]
        return runner.run(argv, cwd=ROOT, capture=True, announce=False).returncode != LOST

    def forward(self, address: str) -> bool:
        """Return whether the port leads to an address there; it may have done so before."""
        return self.connection("forward", f"-L127.0.0.1:{self.port}:{address}")

    def task(self, *words: str, quiet: bool = False, capture: bool = False) -> runner.Finished:
        """Run a task there, on a terminal where there is one here."""
        command = f"cd {self.folder} && python3 tasks.py {shlex.join(words)}"
        terminal = ["-t"] if sys.stdin.isatty() and sys.stderr.isatty() and not capture else []
        report.command(f"ssh {self.named} {shlex.quote(command)}")
        argv = [*self.ssh(*terminal), self.host, command + " >/dev/null" * quiet]
        return runner.run(argv, cwd=ROOT, interactive=not capture, capture=capture, announce=False)

    def require(self, finished: runner.Finished, what: str) -> None:
        """Return where a command there has ended well; it has said itself what went wrong.

        Raises:
            Exit: it has not; with its own exit code.
        """
        if finished.returncode == LOST:
            raise self.unreachable()
        if not finished.ok:
            fix = f"ssh -t {self.named} {shlex.quote(f'cd {self.folder}; exec bash')}"
            problem = f"{what} ended with {finished.returncode} on {self.on}, where the fix above is to be pasted"
            raise Exit(message=error_text(problem, fix=fix), code=finished.returncode)

    def unreachable(self) -> HostError:
        """Return that there is no connection, or none any more: what runs there goes on."""
        problem = f"no connection to {self.on}; what runs there goes on"
        return HostError(problem, fix=f"ssh {self.named} true", code=ExitCode.UNAVAILABLE)


def up(
    on: str, asked: int | None, given: Mapping[str, str | bool], *, attach: bool, browse: bool, dry_run: bool
) -> None:
    """Send the project, bring it up there, and print the link that opens it here; or tell what would be sent.

    What was given is said to the `up` there; the port is one of this machine.

    Raises:
        HostError: there is no connection, or no port of this machine for it.
        Exit: something failed there.
    """
    with lock.held():
        if dry_run:
            send(machine(on), "--dry-run")
            return
        far = connected(machine(on), asked)
        send(far)
        words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items() if value]
        far.require(far.task("up", *words, quiet=True), "`up`")
        told = far.task("url", capture=True)
        far.require(told, "`url`")
        link = opened(far, told.stdout.splitlines()[-1], asked)
        report.result(link)
    if browse:
        open_in_browser(link)
    if attach:
        far.task("logs", "--follow", "--tail", "20")


def down(on: str) -> None:
    """Stop what runs there, and close the connection; every file stays there.

    Raises:
        Exit: something failed there.
    """
    with lock.held():
        far = machine(on)
        far.require(far.task("down"), "`down`")
        far.connection("exit")


def pull(on: str, folders: Sequence[str]) -> None:
    """Bring folders of the six back.

    Raises:
        HostError: one is none of the six (64), or cannot be brought (74).
    """
    far = machine(on)
    if strange := sorted(set(folders) - set(YOURS)):
        problem = f"{strange[0]} is none of {' '.join(YOURS)}"
        raise HostError(problem, fix=task_command(f"pull --on {on}"), code=ExitCode.USAGE)
    for name in folders:
        # Where a link of the container's would lead out of the folder, it is left there.
        options = ["--safe-links", f"--backup-dir={DOCKER_DIR / REPLACED / name}"]
        _transfer(far, *options, f"{far.host}:{far.folder}/{name}/", f"{ROOT / name}/")
        report.note(f"{name}/ has what {on} has, but where it is newer here.")


def send(far: Far, *options: str) -> None:
    """Send what git tracks, or would track.

    Raises:
        HostError: git cannot tell what that is (78), or it cannot be sent (74).
    """
    told = runner.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture=True, announce=False
    )
    if not told.ok:
        problem = f"git does not say which files are the project's: {told.last_line}"
        raise HostError(problem, fix=f"git init {path_word(ROOT)}", code=ExitCode.CONFIG)
    there = [name for name in told.stdout.split("\0") if name and os.path.lexists(ROOT / name)]
    with tempfile.NamedTemporaryFile() as names:
        names.write("\0".join(there).encode(errors="surrogateescape"))
        names.flush()
        report.note(f"Sending {ROOT.name}/ to {far.on}; a file that is newer there stays:")
        listed = ["--from0", f"--files-from={names.name}", f"--backup-dir=docker/{REPLACED}"]
        _transfer(far, *options, *listed, f"{ROOT}/", f"{far.host}:{far.folder}/")


def _transfer(far: Far, *words: str) -> None:
    """Run rsync, which shows what it copies."""
    done = runner.run([*RSYNC, f"--rsh={shlex.join(far.ssh())}", *words], cwd=ROOT, announce=False)
    if not done.ok and not far.answers():
        raise far.unreachable()
    if done.returncode in TOO_OLD:
        problem = f"rsync is not 3.1 or newer, here or on {far.on}: it ended with {done.returncode}"
        raise HostError(problem, fix="install rsync there, then try again", code=ExitCode.UNAVAILABLE)
    if not done.ok:
        problem = f"rsync ended with {done.returncode}; its lines above say what cannot be read or written"
        raise HostError(problem, fix=f"ssh {far.named} df -h .", code=ExitCode.IO)


def connected(far: Far, asked: int | None) -> Far:
    """Return the machine with a connection: the one that is there, or a new one, for the port that was asked for.

    Raises:
        HostError: the port is taken (75), this is Windows, or no connection can be made (69).
    """
    if far.port and far.connection("check"):
        if asked in (None, far.port):
            return far
        far.connection("exit")
    elif far.port:
        report.note(f"The connection to {far.on} was lost; what runs there has gone on.")
    return _connect(far, asked)


def _connect(far: Far, asked: int | None) -> Far:
    """Make a new connection, and no second one beside it."""
    if os.name == "nt":
        problem = "ssh on Windows cannot keep a connection for several commands"
        raise HostError(problem, fix="wsl # and there the same command", code=ExitCode.UNAVAILABLE)
    kept = far.port if far.port and ports.is_free(far.port) else 0
    port = asked or kept or next_free(0, far.folder, ports.is_free)
    if not ports.is_free(port):
        again = task_command(f"up --on {far.on}")
        raise HostError(f"port {port} is held by {ports.holder(port, ())}", fix=again, code=ExitCode.TRY_AGAIN)
    for stale in _sockets(far):
        stale.unlink()
    Path(far.socket).parent.mkdir(mode=0o700, exist_ok=True)
    fresh = replace(far, port=port)
    lasting = [f"-o{each}" for each in LASTING]
    report.command(f"ssh -f -N {far.named}")
    argv = [*fresh.ssh("-f", "-N", *lasting), far.host]
    if not runner.run(argv, cwd=ROOT, interactive=True, announce=False).ok:
        raise far.unreachable()
    return fresh


def opened(far: Far, link: str, asked: int | None) -> str:
    """Return the link that opens here what a link opens there.

    Where the port leads elsewhere, to an earlier server or since somebody has taken it meanwhile, it connects anew.

    Raises:
        HostError: nothing can be forwarded (77), or nothing answers through it (69).
    """
    there = urlsplit(link)
    if not far.forward(there.netloc):
        far.connection("exit")
        far = _connect(far, asked)
        if not far.forward(there.netloc):
            problem = f"{far.on} does not let ssh forward a port"
            fix = "ask its administrator for AllowTcpForwarding in sshd_config"
            raise HostError(problem, fix=fix, code=ExitCode.PERMISSION)
    here = there._replace(netloc=f"127.0.0.1:{far.port}").geturl()
    server.ask(here, f"127.0.0.1:{far.port}")
    return here


def machine(on: str) -> Far:
    """Return a machine by user@host, host or ssh://user@host:port.

    Raises:
        HostError: it is none (64).
    """
    read = DESTINATION.fullmatch(on)
    if not read:
        raise HostError(f"--on {on!r} is no user@host", fix=task_command("up --help"), code=ExitCode.USAGE)
    far = Far(on, read[1], int(read[2]) if read[2] else None, 0)
    found = _sockets(far)
    return replace(far, port=int(found[0].name.rpartition("-")[2])) if found else far


def _sockets(far: Far) -> list[Path]:
    """Return the control sockets of a machine: one, or none."""
    folder, _, start = far.socket.rpartition("/")
    return sorted(Path(folder).glob(f"{start}[0-9]*[0-9]"))
