"""The engines that the starter is tried on: each of them runs the tests that are marked `engines`.

    .venv/bin/python tests/starter/engines.py [--record] [ROW ...] [-- WORD_FOR_PYTEST ...]

Without a row, those of USUAL, which between them have what differs; on this machine's own the whole suite runs. They
run in namespaces of their own, and all of them is gone afterwards. One that cannot be had here is named at the end,
and the others count.
--record writes down what has passed, and the texts say so.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "image"))  # before this folder, whose conftest.py is another
sys.path.insert(0, str(Path(__file__).parents[2] / "docker"))

import pytest
import tried
from conftest import ROOT, Clone
from debian import HERE, PODMAN_HERE, PODMAN_UNSTABLE, ROOTLESS, UnreachableError, unpacked
from private import SETTINGS, TOOLS, Private, lacks, private_engine
from texts import still_ours
from users import second_user

from host_tasks.kit.paths import STARTER_SETTINGS, STARTER_TESTS

NEWEST = "unstable"
PACKAGES = (
    *("containerd", "docker-buildx", "docker-cli", "docker-compose", "docker.io", "runc", "tini-static"),
    *("libc6", "libseccomp2"),  # runc needs newer ones than a stable suite has
    *("docker-registry", "libslirp0", "slirp4netns"),  # of the tests
)
# What is not for a rootless engine: another engine, which only root can start, and a registry on the machine's own
# 127.0.0.1, which is not the engine's.
NOT_ROOTLESS = ("test_offline.py", "test_share.py")
# What is not for Podman's.
NOT_PODMAN = {
    "test_binder.py": "repo2docker builds by Docker's builder, which cannot use Podman's engine",
    "test_devcontainer.py": "its tool builds by Docker's builder",
    "test_environment.py::test_no_layer_holds_a_file_a_second_time": "it builds by Docker's builder",
    "test_hardened.py": "`up --hardened` is refused by name",
    "test_main_job.py::test_proxy_never_enters_the_image": "its proxy is silent, and nothing comes from a cache",
    "test_post.py": "plain Docker and Compose build by Docker's builder",
    "test_workers.py": "`up --workers` is refused by name",
}
Ask = Callable[..., str]
# git reads another user's repository only where it is told to (git-config(1), safe.directory).
OF_ANOTHER = ("GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", f"GIT_CONFIG_VALUE_0={ROOT}")


@dataclass(frozen=True)
class Row:
    """An engine with its programs."""

    suite: str = ""  # of the distribution, "" = what this machine has
    packages: Sequence[str] = PACKAGES
    rootless: bool = False  # run, as the tests are then, by an ordinary user who is made for it
    podman: bool = False  # Podman's, which is rootless
    settings: Mapping[str, object] = field(default_factory=dict)  # its daemon.json
    compose: Path | None = None  # another Compose than the suite's


CONTAINERD = {"features": {"containerd-snapshotter": True}}  # the image store that is Engine 29's default
THIS = "this"
ROWS = {
    THIS: Row(),
    "newest": Row(NEWEST),
    "newest-containerd": Row(NEWEST, settings=CONTAINERD),
    "newest-compose": Row(NEWEST, settings=CONTAINERD, compose=Path(sys.executable).with_name("docker-compose")),
    "rootless": Row(HERE, ROOTLESS, rootless=True),
    "newest-rootless": Row(NEWEST, (*PACKAGES, "rootlesskit", "uidmap"), rootless=True),
    "podman": Row(HERE, PODMAN_HERE, rootless=True, podman=True),
    "newest-podman": Row(NEWEST, (*PACKAGES, *PODMAN_UNSTABLE), rootless=True, podman=True),
}
# Both image stores, two Composes, both maps of ids; of one that differs from the next in two things only, the main job.
USUAL: Mapping[str, Sequence[str]] = {
    "newest": ("-k", "main_job or hardened or image_files"),
    "newest-compose": (),
    "rootless": (),
}


def passed(row: Row, words: Sequence[str]) -> dict[str, str] | None:
    """Run the tests on an engine and return what it is; None = one has failed.

    Raises:
        UnreachableError: it cannot be had here, and why.
    """
    if not row.suite:
        done = subprocess.run(_tests(*words), cwd=ROOT, check=False)
        return versions(_printed) if done.returncode == 0 else None
    with _started(row) as engine, tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder, "docker")  # /usr/local/bin may have one that comes before the engine's
        path.symlink_to("/usr/bin/docker")
        if engine.person:
            shutil.chown(folder, engine.person.name)
        environ = [f"PATH={folder}:{os.environ['PATH']}", f"{SETTINGS}={json.dumps(row.settings)}", *OF_ANOTHER]
        told = versions(lambda *asked: _printed(*engine.argv(*environ, *asked)))
        others = [*(NOT_ROOTLESS if row.rootless else ()), *(NOT_PODMAN if row.podman else ())]
        passed_over = [f"--deselect={STARTER_TESTS.relative_to(ROOT)}/image/{name}" for name in others]
        tests = engine.argv(f"--chdir={ROOT}", *environ, *_tests(f"--basetemp={folder}/t", *passed_over, *words))
        done = subprocess.run(tests, check=False)
    return told if done.returncode == 0 else None


@contextmanager
def _started(row: Row) -> Iterator[Private]:
    """Start a row's engine; it has this machine's base image, and reaches what this machine reaches."""
    if reason := lacks([each for each in TOOLS if each != "dockerd"]):
        raise UnreachableError(reason)
    programs = [unpacked(row.suite, row.packages)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        person = stack.enter_context(second_user()) if row.rootless else None
        if row.compose:
            if not row.compose.exists():
                raise UnreachableError(f"no {row.compose}")
            plugins = Path(folder, "usr", "libexec", "docker", "cli-plugins")
            plugins.mkdir(parents=True)
            (plugins / "docker-compose").symlink_to(row.compose)
            programs.insert(0, Path(folder))
        settings = json.dumps(row.settings)
        whose = private_engine(programs=programs, settings=settings, person=person, podman=row.podman)
        engine = stack.enter_context(whose)
        engine.reach_out()
        if base := Clone(ROOT).values().get("BASE_IMAGE"):
            engine.load(base)
        yield engine


def _tests(*more: str) -> list[str]:
    """Return the command that runs the tests."""
    settings = [f"--config-file={STARTER_SETTINGS}", f"--rootdir={ROOT}", "-m", "engines", "-p", "no:cacheprovider"]
    spread = ["--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"]
    return [sys.executable, "-m", "pytest", *settings, *spread, *more, str(STARTER_TESTS / "image")]


def _printed(*words: str) -> str:
    """Return what a command that must succeed prints."""
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def versions(ask: Ask) -> dict[str, str]:
    """Return what an engine is, in the table's words."""
    info = json.loads(ask("docker", "info", "--format", "{{json .}}"))
    system = platform.freedesktop_os_release()
    containerd = any("containerd" in value for _, value in info["DriverStatus"])
    podman = "Podman Engine" in ask("docker", "version", "--format", "{{json .Server.Components}}")
    rootless = "name=rootless" in info["SecurityOptions"] and not podman  # 4.3 does not say so
    return {
        "engine": "Podman " * podman + _number(info["ServerVersion"]) + " rootless" * rootless,
        "Compose": _number(ask("docker", "compose", "version", "--short")),
        "buildx": _number(ask("docker", "buildx", "version")),
        "image store": "containerd" if containerd else info["Driver"],
        "Python": platform.python_version(),
        "system": f"{system['ID'].title()} {system.get('VERSION_ID', '')}, {info['Architecture']}",
    }


def _number(text: str) -> str:
    """Return the first version in a text, without what a distribution adds to it."""
    return str(re.findall(r"\d+\.\d+\.\d+", text)[0])


def asked() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="Run the tests that are marked `engines` on several engines.")
    parser.add_argument("--record", action="store_true", help="write down what has passed, also in the texts")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:at], argparse.Namespace(words=sys.argv[at + 1 :]))
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if options.record and options.words:
        parser.error("only what has passed all the tests is written down")
    options.rows = dict.fromkeys(options.rows, options.words) or {
        name: options.words or words for name, words in USUAL.items()
    }
    return options


def record(name: str, told: Mapping[str, str]) -> None:
    """Write down what has passed, in the file and in the texts."""
    tried.record(name, told)
    for text in still_ours().values():
        text.path.write_text(tried.said(text.content), encoding="utf-8")


def main() -> int:
    """Run the rows that are asked for, and return 1 where one has failed."""
    options = asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, and its folders go
    Clone(ROOT).succeed("build", "--yes")  # finds, or makes, the base image that the other engines are given
    ended: dict[str, str] = {}
    for name, words in options.rows.items():
        print(f"\nThe engine {name!r}:", flush=True)
        try:
            told = passed(ROWS[name], words)
        except UnreachableError as err:
            ended[name] = f"NOT RUN: {err}"
            continue
        except pytest.skip.Exception as err:
            ended[name] = f"FAILED: {err}"  # its programs are here, and it does not start
            continue
        ended[name] = f"passed: {', '.join(map(' '.join, told.items()))}" if told else "FAILED"
        if told and options.record and not words:
            record(name, told)
    for name, how in ended.items():
        print(f"engine {name!r}: {how}")
    return 1 if any(how.startswith("FAILED") for how in ended.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
