"""A cluster: a real Slurm of Debian's packages on this machine, whose jobs run as a user without Docker."""

import json
import os
import re
import shlex
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest
from aids import executable, wait_until
from conftest import Clone, cloned, docker, removed
from debian import missing
from lab import api, executed, status_of
from texts import ARCHIVE, CLUSTER, still_ours
from users import User, ending, free_port, second_user

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "ch-run")
PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "charliecloud")
MANUAL = still_ours()["docker/README.md"]
# No accounting, no control groups, no addresses but loopback (slurm.conf(5)).
CONF = """
ClusterName=starter
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=2000 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster, and a clone of a user's on its disk."""

    user: User
    clone: Clone

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script as the user, in the clone."""
        conf = str(self.user.folder / "slurm.conf")
        return self.clone.run(
            *self.user.argv("bash", "-c", f"set -eo pipefail\n{script}", SLURM_CONF=conf), timeout_s=200
        )

    def said(self, job: str) -> str:
        """Return what a job has said so far."""
        out = self.clone.root / "docker" / ".slurm" / f"{job}.out"
        return out.read_text(encoding="utf-8") if out.is_file() else ""

    def submitted(self, script: str) -> str:
        """Return the number of the job that a script submits."""
        done = self.run(script)
        assert done.returncode == 0, done.stderr
        return str(re.findall(r"^Submitted batch job (\d+)$", done.stdout, re.MULTILINE)[0])


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """The user of the cluster, who may not use the engine."""
    if reason := missing(PROGRAMS, PACKAGES):
        pytest.skip(reason)
    with second_user() as made:
        yield made


@pytest.fixture(scope="module")
def slurm(user: User) -> Iterator[None]:
    """Slurm's daemons, with keys, ports and folders of their own."""
    folder, host = user.folder, socket.gethostname().partition(".")[0]
    words = {"host": host, "ports": (free_port(), free_port()), "folder": folder}
    (folder / "slurm.conf").write_text(CONF.format(**words), encoding="utf-8")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    environ = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = ["munged", "--foreground", "--force", *(f"--{name}={folder}/munge.{end}" for name, end in files.items())]
    with ending(subprocess.Popen(munge)):
        wait_until((folder / "munge.socket").exists, what="munged")
        daemons = [subprocess.Popen([name, "-D", "-c"], env=environ) for name in ("slurmctld", "slurmd")]
        with ending(*daemons):
            idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
            ready = lambda: subprocess.run(idle, env=environ, capture_output=True, check=False).stdout.strip()  # noqa: E731
            wait_until(ready, timeout_s=60, what="an idle node")
            yield


@pytest.fixture(scope="module")
def cluster(user: User, slurm: None) -> Iterator[Cluster]:
    """A clone of the user's with an archive of its image and a slurm.yml; what runs in it at the end is ended."""
    clone = cloned(user.home / "project")
    with (clone.root / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("distributed\nbokeh\njupyter-server-proxy\n")  # what test_workers.py adds: one layer for both
    subprocess.run(["chown", "--recursive", f"{user.name}:", str(clone.root)], check=True)
    assert [f"python3 tasks.py {ARCHIVE}\n"] == [block for block in MANUAL.blocks if ARCHIVE in block]
    clone.succeed(*ARCHIVE.split(), "--yes")
    shutil.chown(clone.root / "image.tar", user.name)
    (clone.root / "slurm.yml").write_text("sbatch: {partition: short, mem: 1G}\nlogin: ada@login\n", encoding="utf-8")
    made = Cluster(user, clone)
    yield made
    made.run(f"scancel --user={user.name}")
    wait_until(lambda: not made.run("squeue --noheader").stdout, timeout_s=60, what="the end of the jobs")
    removed(clone)


@pytest.fixture(scope="module")
def long_job(cluster: Cluster) -> str:
    """A job that has a minute, the least that Slurm gives, and does not end by itself."""
    code = "import pathlib, time; pathlib.Path('results/long').write_text('kept'); time.sleep(3600)"
    return cluster.submitted(f"python3 tasks.py slurm --time 1 -- {shlex.join(['python', '-c', code])} | sbatch")


@pytest.fixture(scope="module")
def job(cluster: Cluster, long_job: str) -> str:
    """The job that the manual's first line submits, once its server is there."""
    return started(cluster, shown()[0])


def started(cluster: Cluster, script: str) -> str:
    """Return the number of a job that a script submits, once it has said its link."""
    number = cluster.submitted(script)
    wait_until(lambda: "token=" in cluster.said(number), timeout_s=120, what=f"a link of job {number}")
    return number


def printed(messages: list[dict[str, object]]) -> str:
    """Return what code in a kernel has printed, or why it failed."""
    return "".join(str(each["content"].get("text", each["content"].get("evalue", ""))) for each in messages)  # type: ignore[attr-defined]


def shown() -> list[str]:
    """Return the lines that the manual shows."""
    return next(block for block in MANUAL.blocks if CLUSTER in block).splitlines()


def link(cluster: Cluster, job: str) -> str:
    """Return the link in a job's output."""
    return str(re.findall(r"^    (http://\S+)$", cluster.said(job), re.MULTILINE)[0])


def test_lab_runs_on_the_node_as_the_user(cluster: Cluster, job: str) -> None:
    """The kernel is in the environment, sees the six folders and writes there as the user; beside them it cannot."""
    code = "import pandas, os, sys, pathlib; pathlib.Path('results/r').write_text('x'); print(sys.prefix, os.getcwd())"

    said = executed(link(cluster, job), code)
    with pytest.raises(HTTPError) as beside:
        api(link(cluster, job), "contents", method="POST", body={"type": "notebook"})

    assert printed(said) == "/opt/env /srv\n"
    assert (cluster.clone.root / "results" / "r").owner() == cluster.user.name
    assert beside.value.code == 403


def test_link_is_told_to_the_user_alone(cluster: Cluster, job: str) -> None:
    """Without the token nothing is served; it is in no process's arguments, and its file and folder are closed."""
    address = link(cluster, job)
    token = address.rpartition("token=")[2]
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]

    assert status_of(address) == 200
    assert status_of(f"{address.partition('?')[0]}api/contents") == 403
    assert not [each for each in arguments if token.encode() in each]
    assert stat.S_IMODE((cluster.clone.root / "docker" / ".slurm").stat().st_mode) == 0o700


def test_output_tells_the_ssh_command(cluster: Cluster, job: str) -> None:
    """The forwarding goes through the login node that slurm.yml names, to the port of the link, on the node."""
    port = re.findall(r"127\.0\.0\.1:(\d+)/", link(cluster, job))[0]
    node = socket.gethostname().partition(".")[0]

    assert f"\n    ssh -N -L 127.0.0.1:{port}:{node}:{port} ada@login\n" in cluster.said(job)


def test_cancelled_job_leaves_nothing_on_the_node(cluster: Cluster, job: str) -> None:
    """After `scancel`, as after the time limit, the server and what it kept there are gone; one line says why."""
    ours = r"find /tmp -maxdepth 1 -user $USER -name 'tmp.*' -exec test -e {}/home/token \; -print"
    found = cluster.run(ours)  # of a job with a server; others come and go there

    cluster.run(f"scancel {job}")

    mine = [Path(each) for each in found.stdout.split()]
    wait_until(lambda: not any(path.exists() for path in mine), timeout_s=60, what=f"the end of {mine}")
    assert len(mine) == 1
    assert "CANCELLED" in cluster.said(job)


def test_command_keeps_its_words_and_exit_code(cluster: Cluster) -> None:
    """A job of a command ends with its exit code, and its words come through as they were."""
    script = shlex.join(["python", "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", "$HOME", "'"])

    done = cluster.run(f"python3 tasks.py slurm -- {script} | sbatch --wait")

    number = re.findall(r"\d+", done.stdout)[0]
    assert done.returncode == 7, done.stderr
    assert cluster.said(number) == "['a b', '$HOME', \"'\"]\n"


PART = (
    "import os, pathlib; part = os.environ['SLURM_ARRAY_TASK_ID']; pathlib.Path('results/part' + part).write_text(part)"
)


def in_parts(cluster: Cluster) -> None:
    """Run an array of three, and see that each has written its own result."""
    parts = [cluster.clone.root / "results" / f"part{number}" for number in (1, 2, 3)]
    for path in parts:
        path.unlink(missing_ok=True)

    done = cluster.run(f"python3 tasks.py slurm -- {shlex.join(['python', '-c', PART])} | sbatch --wait --array=1-3")

    assert done.returncode == 0, done.stderr
    assert [path.read_text(encoding="utf-8") for path in parts] == ["1", "2", "3"]


def test_array_writes_different_results(cluster: Cluster, job: str) -> None:
    """Each part of it is told which one it is."""
    in_parts(cluster)


def test_signal_before_the_end_reaches_the_program(cluster: Cluster, job: str) -> None:
    """`--signal=B:USR1` of sbatch is for the shell of the batch script, which hands it on."""
    code = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: exit(7))
print("begun", flush=True)
time.sleep(600)
"""
    number = cluster.submitted(f"python3 tasks.py slurm -- {shlex.join(['python', '-c', code])} | sbatch")
    wait_until(lambda: "begun" in cluster.said(number), timeout_s=120, what="the program")

    cluster.run(f"scancel --batch --signal=USR1 {number}")

    exit_code = "scontrol show job {} | grep -o 'ExitCode=[0-9:]*'"
    wait_until(lambda: "ExitCode=7:0" in cluster.run(exit_code.format(number)).stdout, timeout_s=60, what="its end")


@pytest.fixture(scope="module")
def locked(cluster: Cluster, job: str) -> Iterator[str]:
    """The lines of slurm.yml that take the lock; conda is that of the image, which `setup` brings to the login node."""
    root = cluster.clone.root
    cluster.clone.succeed("lock", "--yes")
    subprocess.run(["chown", "--recursive", f"{cluster.user.name}:", str(root / "environment.lock")], check=True)
    image = next((root / "docker" / ".slurm").glob("image-*/"))
    packages = f"CONDA_PKGS_DIRS={cluster.user.home}/packages"
    executable(
        cluster.user.folder / "bin" / "conda",
        f'exec env {packages} ch-run --no-home {image} -- /opt/conda/bin/conda "$@"',
    )
    lock = next(path.parent for path in (root / "environment.lock").rglob("inputs.txt"))
    yield f"image: {lock.relative_to(root)}\nsetup: PATH={cluster.user.folder}/bin:$PATH\n"
    shutil.rmtree(root / "environment.lock")


def packages(listing: str) -> set[tuple[str, ...]]:
    """Return the packages of a `conda list --json`, pip's among them."""
    return {tuple(str(each[key]) for key in ("name", "version", "build_string")) for each in json.loads(listing)}


def test_lock_alone_gives_the_same_packages_without_a_runtime(cluster: Cluster, job: str, locked: str) -> None:
    """JupyterLab in what conda and pip make of the lock has src/ and the six folders; `conda list` is as everywhere."""
    settings = cluster.clone.root / "slurm.yml"
    before = settings.read_text(encoding="utf-8")
    listed = ["conda", "list", "--prefix=/opt/env", "--json"]

    settings.write_text(before + locked, encoding="utf-8")
    number = started(cluster, "python3 tasks.py slurm | sbatch")
    settings.write_text(before, encoding="utf-8")
    said = executed(
        link(cluster, number), "import pandas, trends, sys; print(sys.prefix in pandas.__file__, sys.prefix)"
    )
    saved = api(link(cluster, number), "contents/results", method="POST", body={"type": "notebook"})
    cluster.run(f"scancel {number}")

    prefix = next((cluster.clone.root / "docker" / ".slurm").glob("environment-*"))
    image = docker("images", "--format={{.Repository}}:{{.Tag}}", f"{cluster.clone.project}-environment")
    settings.write_text(before + locked, encoding="utf-8")
    in_parts(cluster)
    settings.write_text(before, encoding="utf-8")
    in_job = cluster.submitted(f"python3 tasks.py slurm -- {shlex.join(listed)} | sbatch --wait")
    of_lock = cluster.run(f"{cluster.user.folder}/bin/conda list --prefix={prefix} --json")
    found = [docker("run", "--rm", image, *listed), cluster.said(in_job), of_lock.stdout]
    assert printed(said) == f"True {prefix}\n"
    assert (cluster.clone.root / str(saved["path"])).owner() == cluster.user.name
    assert packages(found[0]) == packages(found[1]) == packages(found[2])


COMPUTED = """
import os, pathlib
from distributed import Client

def told(i):
    pathlib.Path(f"../results/part-{i}").write_text("x")
    return os.environ["SLURM_JOB_ID"]

with Client(timeout="30s") as client:
    client.wait_for_workers(WORKERS, timeout=600)
    jobs = set(client.gather(client.map(told, range(8), workers=None)))
    print(client.scheduler.address, len(client.scheduler_info()["workers"]), os.environ["SLURM_JOB_ID"] in jobs)
"""


@pytest.fixture(scope="module")
def dask_job(cluster: Cluster, job: str) -> str:
    """JupyterLab with two workers, as the manual's last line submits it; the first job has made the image ready."""
    return started(cluster, shown()[2])


def test_client_computes_in_jobs_of_their_own(cluster: Cluster, dask_job: str) -> None:
    """`Client()` finds both workers, by TLS; what they write is the user's; who shows no certificate is cut off."""
    address, *rest = printed(executed(link(cluster, dask_job), COMPUTED.replace("WORKERS", "2"))).split()

    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.removeprefix("tls://").rpartition(":")
    assert (address[:6], rest) == ("tls://", ["2", "False"])
    assert {(cluster.clone.root / "results" / f"part-{i}").owner() for i in range(8)} == {cluster.user.name}
    with socket.create_connection((host, int(port)), timeout=20) as plain, pytest.raises(ssl.SSLError, match="ALERT"):
        stranger.wrap_socket(plain).recv(1)


def test_lab_goes_on_without_a_worker_and_without_the_scheduler(cluster: Cluster, dask_job: str) -> None:
    """A worker's end leaves the other; the scheduler's end is two lines in the output, and ends the workers only."""
    kept = cluster.clone.root / "docker" / ".slurm"
    workers = re.findall(r"are the jobs (\d+)_1 to \d+_2\.$", cluster.said(dask_job), re.MULTILINE)[0]
    states = "squeue --noheader --array --format=%i"
    cluster.run(f"scancel {workers}_1")
    wait_until(lambda: f"{workers}_1" not in cluster.run(states).stdout, timeout_s=60, what="the end of a worker")
    wait_until(lambda: "Remove worker" in (kept / f"{dask_job}-scheduler.out").read_text("utf-8"), what="one line")
    one = printed(executed(link(cluster, dask_job), COMPUTED.replace("WORKERS", "1")))

    cluster.run("pkill --signal KILL --euid $USER --full 'dask scheduler'")
    wait_until(lambda: "scheduler has ended with" in cluster.said(dask_job), what="what is said of it")
    wait_until(lambda: workers not in cluster.run(states).stdout, timeout_s=60, what="the end of the other worker")

    assert one.split()[1:] == ["1", "False"]
    assert status_of(link(cluster, dask_job)) == 200
    assert cluster.run(f"scancel {dask_job}").returncode == 0
    wait_until(lambda: not (kept / f"{dask_job}.pem").exists(), timeout_s=60, what="the end of its certificate")


def test_job_over_its_time_leaves_its_results_to_the_next(cluster: Cluster, long_job: str) -> None:
    """Slurm ends it and says so in its output in one line; what it has written is there for the next job."""
    wait_until(lambda: "TIME LIMIT" in cluster.said(long_job), timeout_s=150, what="the end of its time")

    number = cluster.submitted("python3 tasks.py slurm -- cat results/long | sbatch --wait")

    assert len(re.findall("TIME LIMIT", cluster.said(long_job))) == 1
    assert cluster.said(number) == "kept"


def test_manuals_job_ends_well(cluster: Cluster) -> None:
    """The manual's second line runs a command to its end."""
    assert cluster.submitted(shown()[1])
