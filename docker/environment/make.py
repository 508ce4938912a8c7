"""Make the conda environment by rattler, and leave it as conda itself would have.

make.py CONDA_JSON PREFIX

Rattler solves and links in seconds what conda takes half a minute for; conda lists, exports, installs and removes
afterwards, by the records in conda-meta. The base's own conda says where its channels are. What a lock names is only
linked: nothing is solved, and the channels are not asked.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import compiled
import equal_files
import rattler
import records
from channels import conda_settings, conda_version, sources, spelled_out, without_login
from rattler import exceptions

# What environment.yml, a channel or the network can be at fault for; py-rattler 0.28 has no common ancestor of them.
FAULTS = (
    exceptions.FetchRepoDataError,
    exceptions.GatewayError,
    exceptions.InstallerError,
    exceptions.InvalidChannelError,
    exceptions.InvalidMatchSpecError,
    exceptions.InvalidUrlError,
    exceptions.SolverError,
    exceptions.TransactionError,
)
CACHE = Path.home() / ".cache" / "rattler" / "compiled"  # beside rattler's own, in the same mount
STARTUP = "project_startup"  # the module in /opt/project that project.pth runs


def matched(spec: str, settings: dict[str, Any]) -> rattler.MatchSpec:
    """Return a specification of environment.yml, read as leniently as conda reads it: numpy=2.4=py312_0.

    Raises:
        SystemExit: it is none.
    """
    try:
        return rattler.MatchSpec(spelled_out(spec, settings))
    except FAULTS as err:
        sys.exit(f"error: environment.yml: `{spec}` is no package specification: {err}")


def locked_record(record: dict[str, Any], channels: Iterable[str]) -> rattler.RepoDataRecord:
    """Return a record of a lock for rattler; its address has the login again that environment.yml or condarc gives."""
    url = str(record["url"])
    for each in channels:
        if url.startswith(bare := without_login(each).rstrip("/") + "/"):
            url = each.rstrip("/") + "/" + url.removeprefix(bare)
    channel, _, name = url.rpartition("/")
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        known = rattler.PackageRecord.from_index_json(
            Path(file.name), record.get("size"), record.get("sha256"), record["md5"]
        )
    return rattler.RepoDataRecord(known, name, url, channel.removesuffix(f"/{record['subdir']}") + "/")


class Progress:
    """Say how far the packages are, each time another tenth of them is there."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.ready = 0

    def on_populate_cache_complete(self, cache_entry: int) -> None:
        """Count a package that has been downloaded and unpacked; rattler calls it."""
        del cache_entry
        before, self.ready = self.ready, self.ready + 1
        if self.ready * 10 // self.total > before * 10 // self.total:
            print(f"{self.ready} of {self.total} packages are here", flush=True)


async def solve(
    specs: list[rattler.MatchSpec], channels: Iterable[str], settings: dict[str, Any], **options: Any
) -> list[rattler.RepoDataRecord]:
    """Return the packages that meet the specifications.

    Raises:
        SystemExit: there is no solution, or a channel cannot be had.
    """
    start = time.monotonic()
    try:
        found: list[rattler.RepoDataRecord] = await rattler.solve(
            sources=list(channels),
            specs=specs,
            channel_priority=getattr(rattler.ChannelPriority, settings["channel_priority"].capitalize()),
            add_pip_as_python_dependency=bool(settings["add_pip_as_python_dependency"]),
            **{"virtual_packages": rattler.VirtualPackage.detect(), **options},
        )
    except exceptions.SolverError as err:
        platforms = options.get("platforms", [rattler.Platform.current(), "noarch"])
        names = [rattler.MatchSpec(spec.name.normalized) for spec in specs]
        known = await rattler.Gateway().query(list(channels), platforms, names, recursive=False)
        if lines := list(records.unmet(specs, [each for packages in known for each in packages])):
            lines = [f"the channels do not have, for {platforms[0]}:", *lines]
        sys.exit("\n".join(["error: the environment cannot be made: " + (lines or [str(err)])[0], *lines[1:]]))
    except FAULTS as err:
        sys.exit(f"error: the environment cannot be made: {err}")
    print(f"solved in {time.monotonic() - start:.1f} s: {len(found)} packages", flush=True)
    return found


async def link(found: list[rattler.RepoDataRecord], prefix: Path) -> None:
    """Download packages, see that they have their hashes, and link them.

    Raises:
        SystemExit: a package cannot be had, or is another one.
    """
    start = time.monotonic()
    try:
        await rattler.install(found, target_prefix=prefix, execute_link_scripts=True, reporter=Progress(len(found)))
    except FAULTS as err:
        sys.exit(f"error: the environment cannot be made: {err}")
    print(f"{len(found)} packages linked into {prefix} after {time.monotonic() - start:.1f} s", flush=True)


def start_up(prefix: Path) -> None:
    """Have every Python of the environment run project_startup.py as it starts (Python 3.14, module site)."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([prefix / "bin" / "python", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    lines = f"/opt/project\nimport importlib.util; importlib.util.find_spec('{STARTUP}') and __import__('{STARTUP}')\n"
    (Path(done.stdout.strip()) / "project.pth").write_text(lines, encoding="utf-8")


def main(asked: dict[str, Any], prefix: Path) -> None:
    """Make the environment."""
    settings = conda_settings()
    specs = [matched(spec, settings) for spec in asked["dependencies"]]
    channels = sources(asked["channels"], settings)
    if "locked" in asked:
        found = [locked_record(each, channels) for each in asked["locked"]]
        print(f"{len(found)} packages by the lock", flush=True)
    else:
        found = asyncio.run(solve(specs, channels, settings))
    asyncio.run(link(found, prefix))
    # At the end of the step all that it wrote has to be on the disk (overlayfs, unmount): that can begin now.
    subprocess.Popen(["sync", "--file-system", prefix])
    made = records.read(prefix)
    equal_files.keep_once(made.values(), prefix)
    if (prefix / "bin" / "python").exists():
        start_up(prefix)
        compiled.leave(made, {spec.name.normalized for spec in specs}, prefix, CACHE)
    records.complete(made.values(), prefix)
    text = records.history(asked["dependencies"], made.values(), channels, conda_version())
    (prefix / "conda-meta" / "history").write_text(text, encoding="utf-8")
    if asked["variables"]:
        state = json.dumps({"version": 1, "env_vars": asked["variables"]})
        (prefix / "conda-meta" / "state").write_text(state, encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # py-rattler 0.28 has been seen to abort while Python ends, after all was done
