"""What the post's own set-up, ours and the hardened one leave open, side by side: a Markdown table.

Run it with an engine: python tests/starter/benchmarks/security.py [STARTS]. It judges nothing. All three are built on
the same base and started by `docker compose up`; the post's port 8888 is published as a free one, by its own rule.
The points of section 5 of the CIS Docker Benchmark 1.6 are those that a container's own settings decide, asked of
`docker inspect`; docker-bench-security, which asks them otherwise, is in no package registry.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.environment import post_beside
from benchmarks.overhead import ROOT, must, seconds
from conftest import Clone, cloned, docker, removed, wait_until  # overhead.py adds the folder that it is in
from lab import status_of
from users import free_port

TAG = "bench-post:1"
# As it stands in the post, but for what a post's reader has in .env.
POST_COMPOSE = """version: "3.7"

services:
  jupyterlab-server:
    build:
      args:
        - username=${USER}
        - uid=${UID}
        - gid=${GID}
      context: ../
      dockerfile: docker/Dockerfile
    ports:
      - "8888:8888"
    volumes:
      - ../bin:/home/${USER}/app/bin
      - ../data:/home/${USER}/app/data
      - ../doc:/home/${USER}/app/doc
      - ../notebooks:/home/${USER}/app/notebooks
      - ../results:/home/${USER}/app/results
      - ../src:/home/${USER}/app/src
    init: true
    stdin_open: true
    tty: true
"""
IDENTITY = {"USER": "al-khawarizmi", "UID": "1000", "GID": "100"}
# What a point asks of a container's HostConfig and its whole; each is true where the point is met.
POINTS: dict[str, Callable[[Any, Any], bool]] = {
    "5.4": lambda host, _: "ALL" in (host["CapDrop"] or []) and not host["CapAdd"],
    "5.5": lambda host, _: not host["Privileged"],
    "5.6": lambda _, all_: not {each["Source"] for each in all_["Mounts"]} & {"/", "/boot", "/dev", "/etc", "/lib"},
    "5.8": lambda _, all_: all(int(each["HostPort"]) > 1023 for each in published(all_)),
    "5.10": lambda host, _: host["NetworkMode"] != "host",
    "5.11": lambda host, _: host["Memory"] > 0,
    "5.12": lambda host, _: host["NanoCpus"] > 0 or host["CpuShares"] > 0,
    "5.13": lambda host, _: host["ReadonlyRootfs"],
    "5.14": lambda _, all_: all(each["HostIp"] not in ("", "0.0.0.0", "::") for each in published(all_)),  # noqa: S104
    "5.15": lambda host, _: host["RestartPolicy"]["Name"] not in ("always", "unless-stopped"),
    "5.16": lambda host, _: host["PidMode"] != "host",
    "5.17": lambda host, _: host["IpcMode"] != "host",
    "5.18": lambda host, _: not host["Devices"],
    "5.20": lambda _, all_: all(each.get("Propagation") not in ("shared", "rshared") for each in all_["Mounts"]),
    "5.21": lambda host, _: host["UTSMode"] != "host",
    "5.22": lambda host, _: "seccomp=unconfined" not in (host["SecurityOpt"] or []),
    "5.26": lambda host, _: any("no-new-privileges" in each for each in host["SecurityOpt"] or []),
    "5.27": lambda _, all_: "Health" in all_["State"],
    "5.29": lambda host, _: (host["PidsLimit"] or 0) > 0,
    "5.31": lambda host, _: host["UsernsMode"] != "host",
    "5.32": lambda _, all_: not [each for each in all_["Mounts"] if each["Source"].endswith("docker.sock")],
}


def published(container: Any) -> list[dict[str, str]]:
    """Return where a container's ports are reached."""
    return [each for ports in container["NetworkSettings"]["Ports"].values() for each in ports or []]


@dataclass(frozen=True)
class Side:
    """One of the three: its files, and how Compose starts it."""

    name: str
    clone: Clone
    environ: dict[str, Any]
    dockerfile: Path
    compose_files: tuple[Path, ...]  # each is checked on its own

    def compose(self, *words: str) -> str:
        """Return what Compose prints."""
        done = self.clone.run("docker", "compose", *words, cwd=self.clone.root / "docker", **self.environ)
        must(done)
        return done.stdout.strip()


def found_by(*argv: str) -> Any:
    """Return what a checker prints as JSON, whatever it ends with."""
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def findings(side: Side) -> dict[str, str]:
    """Return how much each checker finds in a side's files, and how much a reasoned exception turns off."""
    lint = ROOT / ".venv" / "lint"
    hadolint = [str(ROOT / ".venv/bin/hadolint"), "--no-fail", "--format", "json"]
    checkov = [str(lint / "bin/checkov"), "--skip-download", "--quiet", "--framework", "dockerfile", "--output", "json"]
    told = [each for file in side.compose_files for each in compose_lint(lint, file)]
    style = [
        found_by(str(lint / "node_modules/.bin/dclint"), "--formatter", "json", str(f)) for f in side.compose_files
    ]
    summary = found_by(*checkov, "--file", str(side.dockerfile)).get("summary", {"failed": 0})
    return {
        "hadolint": str(len(found_by(*hadolint, str(side.dockerfile)))),
        "checkov": str(summary["failed"]),
        "compose-lint": f"{told.count(False)}" + (f" ({told.count(True)} excepted)" if any(told) else ""),
        "dclint": str(sum(len(each["messages"]) for answer in style for each in answer)),
    }


def compose_lint(lint: Path, file: Path) -> list[bool]:
    """Return for each of compose-lint's findings whether it is excepted, with a reason, in the starter's settings."""
    settings = ["--config", str(ROOT / "tests/starter/lint/compose-lint.yml")] if file.parent == ROOT / "docker" else []
    answer = found_by(str(lint / "bin/compose-lint"), "--format", "json", *settings, str(file))
    return [bool(each["suppressed"]) for each in answer["findings"]]


def started(side: Side) -> tuple[float, str]:
    """Start a side anew; return how long it takes until the server answers, and the container's id."""
    side.compose("down")

    def answered() -> None:
        side.compose("up", "--detach")
        address = "http://127.0.0.1:" + side.compose("port", "jupyterlab-server", "8888").rpartition(":")[2]
        wait_until(lambda: answers(f"{address}/api"), timeout_s=180, what=side.name)

    return seconds(answered), side.compose("ps", "--quiet", "--no-trunc", "jupyterlab-server")


def answers(url: str) -> bool:
    """Return whether a server says that it is there."""
    try:
        return status_of(url) == 200
    except OSError:
        return False


def measured(side: Side, starts: int) -> dict[str, str]:
    """Return what is true of a side's running container."""
    took = [started(side) for _ in range(starts)]
    container = took[-1][1]
    all_ = json.loads(docker("inspect", container))[0]
    missed = [point for point, met in POINTS.items() if not met(all_["HostConfig"], all_)]
    lines = docker("exec", container, "cat", "/proc/1/status").splitlines()  # proc(5)
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    set_id = ("--entrypoint", "find", all_["Image"], "/", "-xdev", "-type", "f", "-perm", "/6000")
    return {
        "CIS 5 not met": f"{len(missed)} of {len(POINTS)}" + (f": {', '.join(missed)}" if missed else ""),
        "reached on": ", ".join(sorted({each["HostIp"] for each in published(all_)})),
        **{name: f"`{status[name]}`" for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
        "set-user-id and set-group-id files": str(len(docker("run", "--rm", "--user=0", *set_id).split())),
        "token in the log": "yes" if "token=" in docker("logs", container) else "no",
        "memory when it answers": docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container).split(" /")[0],
        "from `up` to an answer": f"{statistics.median(each for each, _ in took):.1f} s",
    }


def post(clone: Clone) -> Side:
    """Build the post's set-up beside a clone of ours, on the same base."""
    copy = post_beside(clone)
    values = clone.values()
    secrets = {"ca_bundle": values.get("CA_BUNDLE"), "pip_config": values.get("PIP_CONFIG")}
    handed = [f"--secret=id={name},src={clone.root / 'docker' / path}" for name, path in secrets.items() if path]
    base = [f"--build-arg=BASE_IMAGE={values['BASE_IMAGE']}"] if "BASE_IMAGE" in values else []
    must(copy.run("docker", "build", "--file", "post.Dockerfile", "--tag", TAG, *base, *handed, "."))
    folder = copy.root / "docker"
    for name in ("docker-compose.override.yml", ".env"):
        (folder / name).unlink(missing_ok=True)
    (folder / "docker-compose.yml").write_text(POST_COMPOSE, encoding="utf-8")
    running = f"{{image: '{TAG}', build: !reset null, ports: !override ['{free_port()}:8888']}}"
    (folder / "run.yml").write_text(f"services: {{jupyterlab-server: {running}}}\n", encoding="utf-8")
    environ = {**IDENTITY, "COMPOSE_FILE": "docker-compose.yml:run.yml", "COMPOSE_PROJECT_NAME": "bench-post"}
    return Side("the post's", copy, environ, copy.root / "post.Dockerfile", (folder / "docker-compose.yml",))


def table(rows: dict[str, dict[str, str]]) -> str:
    """Return a Markdown table of a column for each side."""
    names = list(next(iter(rows.values())))
    lines = [
        ["", *rows],
        ["---"] * (len(rows) + 1),
        *([name, *(each[name] for each in rows.values())] for name in names),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(starts: int) -> None:
    """Measure and print."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = cloned(Path(folder) / "ours")
        ours = (ROOT / "docker" / "Dockerfile", ROOT / "docker" / "docker-compose.yml")
        hardened = ROOT / "docker" / "docker-compose.hardened.yml"
        try:
            must(clone.task("build", "--yes"))
            theirs = post(clone)
            rows[theirs.name] = findings(theirs) | measured(theirs, starts)
            theirs.compose("down")
            for name, word, files in (("ours", "--no-hardened", ours[1]), ("ours, hardened", "--hardened", hardened)):
                must(clone.task("up", "--yes", word))
                side = Side(name, clone, clone.values(), ours[0], (files,))
                rows[name] = findings(side) | measured(side, starts)
        finally:
            removed(clone)
            docker("image", "rm", "--force", TAG)
    print(table(rows))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
