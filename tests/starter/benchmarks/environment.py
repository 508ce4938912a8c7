"""What the environment costs beside the post's order of layers: ratios of medians, measured side by side in one run.

Run it with an engine: python tests/starter/benchmarks/environment.py [ROUNDS]. It ends with 1 where a ratio is over
its bound. Both build on the same base with the same files; cold builds start with empty package caches.
"""

import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import ROOT, Ratio, must, seconds, settle
from conftest import Clone, cloned, docker, removed, wait_until  # overhead.py adds the folder that it is in

POST = ROOT / "tests" / "starter" / "benchmarks" / "post.Dockerfile"
STACK = "import pandas, matplotlib, sklearn, scipy"
BUILDS = {
    "cold": 0.45,
    "conda package": 0.40,
    "entrypoint": 0.03,
    "identity": 0.03,
    "pip package": 0.12,
    "postBuild": 1.0,
}
STARTS = 3  # of each round
ALIVE = "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8888/api', timeout=4)"


@dataclass
class Side:
    """One of the two: its clone, its Dockerfile, and how long each of its builds took, in seconds."""

    clone: Clone
    dockerfile: str
    tag: str
    base: str
    took: dict[str, list[float]] = field(default_factory=dict)

    def build(self, name: str, *words: str) -> None:
        """Build, and note how long that took."""
        values = self.clone.values()
        argv = ["docker", "build", "--file", self.dockerfile, "--tag", self.tag, f"--build-arg=BASE_IMAGE={self.base}"]
        for secret, key, default in (
            ("ca_bundle", "CA_BUNDLE", "ca-bundle.pem"),
            ("pip_config", "PIP_CONFIG", "pip.conf"),
        ):
            argv += ["--secret", f"id={secret},src={values.get(key, ROOT / 'docker' / default)}"]
        self.note(name, lambda: must(self.clone.run(*argv, *words, ".")))

    def note(self, name: str, action: Callable[[], object]) -> None:
        """Note how long an action took."""
        self.took.setdefault(name, []).append(seconds(action))
        print(f"{self.tag:14} {name:13} {self.took[name][-1]:7.2f} s", file=sys.stderr, flush=True)

    def edit(self, name: str, line: str) -> None:
        """Add a line to a file of the clone."""
        path = self.clone.root / name
        path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")

    def empty_caches(self) -> None:
        """Give the build's package caches names that no build had before, and its base a file that none had.

        Else the second round's one more package would be found in the first round's layers; an empty layer is not
        enough for BuildKit 0.13, which goes by what files hold.
        """
        path = self.clone.root / self.dockerfile
        text = path.read_text(encoding="utf-8")
        new = rf"\1RUN echo {secrets.token_hex(4)} >/new\n"
        text = re.sub(r"(?m)^(FROM \$\{BASE_IMAGE\}.*\n)(RUN echo .*\n)?", new, text)
        text = re.sub(r"(type=cache,id=\w+)[-\w]*", rf"\1-{secrets.token_hex(4)}", text)
        path.write_text(text, encoding="utf-8")

    def read_base(self) -> None:
        """Have the base image in memory: who builds has just pulled it, or made it."""
        docker("run", "--rm", "--entrypoint=sh", self.base, "-c", "find / -xdev -type f -exec cat {} + >/dev/null")

    def build_by_lock(self) -> None:
        """Lock, and note how long it takes to build by the lock: with warm caches, and no layer of the environment."""
        self.build("lock", "--target=lock", "--output=type=local,dest=environment.lock")
        self.build("by a lock")
        shutil.rmtree(self.clone.root / "environment.lock")

    def size(self) -> float:
        """Return the size of the image, in bytes."""
        return float(docker("image", "inspect", "--format", "{{.Size}}", self.tag))

    def start(self) -> None:
        """Note how long a new container takes until it answers, and until its first import of the stack is done."""
        name = f"bench-{secrets.token_hex(4)}"
        python = "/opt/env/bin/python" if self.dockerfile.startswith("docker/") else "app/env/bin/python"
        prefix = python if python.startswith("/") else f"/home/al-khawarizmi/{python}"

        def alive() -> bool:
            done = subprocess.run(["docker", "exec", name, prefix, "-c", ALIVE], capture_output=True, check=False)
            return done.returncode == 0

        def answered() -> None:
            docker("run", "--detach", "--name", name, self.tag)
            wait_until(alive, timeout_s=180, what=f"an answer of {self.tag}")

        self.note("link", answered)
        self.note("import", lambda: docker("exec", name, prefix, "-c", STACK))
        docker("rm", "--force", "--volumes", name)


def post_beside(clone: Clone) -> Clone:
    """Return a copy of a clone that has the post's Dockerfile too, as post.Dockerfile."""
    copy = Clone(clone.root.parent / "post")
    shutil.copytree(clone.root, copy.root)
    shutil.copy(POST, copy.root / "post.Dockerfile")
    needed = ("environment.yml", "requirements.txt", "postBuild", "docker/entrypoint.sh")
    (copy.root / "post.Dockerfile.dockerignore").write_text("\n".join(["*", *(f"!{each}" for each in needed)]))
    return copy


def measure(side: Side) -> None:
    """Do one round of one side."""
    side.empty_caches()
    settle()
    side.read_base()
    side.build("cold")  # --no-cache would first delete what is in the caches of these names
    os.sync()  # what the build has written may be on its way to the disk still
    for _ in range(STARTS):
        side.start()
    second = Clone(side.clone.root.parent / f"second-{side.tag.partition(':')[0]}")
    shutil.copytree(side.clone.root, second.root, dirs_exist_ok=True)
    first, side.clone = side.clone, second
    side.build("second clone")
    side.clone = first
    side.build("identity", f"--build-arg=uid={20000 + secrets.randbelow(9999)}", "--build-arg=username=u")
    side.edit("docker/entrypoint.sh", f"# {time.monotonic()}\n")
    side.build("entrypoint")
    side.edit("requirements.txt", "humanize\n")
    side.build("pip package")
    side.edit("postBuild", f"# {time.monotonic()}\n")
    side.build("postBuild")
    before = (side.clone.root / "environment.yml").read_text(encoding="utf-8")
    (side.clone.root / "environment.yml").write_text(before.replace("  - pip\n", "  - tornado\n  - pip\n", 1))
    side.build("conda package")
    if side.dockerfile.startswith("docker/"):
        side.build_by_lock()
    (side.clone.root / "environment.yml").write_text(before)
    text = (side.clone.root / "requirements.txt").read_text(encoding="utf-8")
    (side.clone.root / "requirements.txt").write_text(text.replace("humanize\n", ""), encoding="utf-8")


def medians(measured: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each."""
    return {name: statistics.median(each) for name, each in measured.items()}


def ratios(ours: Side, post: Side) -> list[Ratio]:
    """Return what was measured, each beside its bound."""
    mine, theirs = medians(ours.took), medians(post.took)
    bounds = {**BUILDS, "link": 1.1, "import": 1.1}
    found = [Ratio(f"{name} / the post's {name}", mine[name], theirs[name], bound) for name, bound in bounds.items()]
    found.append(Ratio("second clone / the post's cold build", mine["second clone"], theirs["cold"], 0.05))
    found.append(Ratio("build by a lock / the post's cold build", mine["by a lock"], theirs["cold"], 0.25))
    found.append(Ratio("image / the post's image, in GB", ours.size() / 1e9, post.size() / 1e9, 0.80))
    ours.build("runtime", "--build-arg=FLAVOR=runtime")
    found.append(Ratio("runtime / the post's image, in GB", ours.size() / 1e9, post.size() / 1e9, 0.60))
    return found


def main(rounds: int) -> None:
    """Measure, print, and judge."""
    with tempfile.TemporaryDirectory() as folder:
        clone = cloned(Path(folder) / "ours")
        try:
            must(clone.task("build", "--yes"))
            base = clone.values()["BASE_IMAGE"]
            copy = post_beside(clone)
            sides = (
                Side(clone, "docker/Dockerfile", "bench-ours:1", base),
                Side(copy, "post.Dockerfile", "bench-post:1", base),
            )
            for _ in range(rounds):
                for side in sides:
                    measure(side)
            print(json.dumps([side.took for side in sides]), file=sys.stderr)
            found = ratios(*sides)
        finally:
            removed(clone)
    print("\n".join(map(str, found)))
    sys.exit(any(each.ours_s / each.theirs_s > each.bound for each in found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
