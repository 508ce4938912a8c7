"""Make the conda environment by rattler, and leave it as conda itself would have.

make.py CONDA_JSON PREFIX

Rattler solves and links in seconds what conda takes half a minute for; conda lists, exports, installs and removes
afterwards, by the records in conda-meta. The base's own conda says where its channels are.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import rattler
from rattler import exceptions

HERE = Path(__file__).parent
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
SILENT: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
STARTUP = "project_startup"  # the module in /opt/project that project.pth runs


def conda_settings() -> dict[str, Any]:
    """Return the settings of the base's conda, with the addresses and tokens of its channels."""
    done = subprocess.run(["conda", "config", "--show", "--json"], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def address(channel: dict[str, Any], name: str = "") -> str:
    """Return the address of a channel as `conda config --show --json` describes it (conda 24.7, Channel.dump)."""
    login = f"{channel['auth']}@" if channel.get("auth") else ""
    token = f"/t/{channel['token']}" if channel.get("token") else ""
    path = "/".join(filter(None, (channel["location"].rstrip("/"), name)))
    if channel["scheme"] == "file":
        return f"file://{path}"
    host, _, rest = path.partition("/")
    return f"{channel['scheme']}://{login}{host}{token}/{rest}"


def addresses(word: str, settings: dict[str, Any]) -> list[str]:
    """Return where the packages of a channel are, whose name or address stands in environment.yml."""
    if "://" in word:
        return [word]
    if word.startswith("/"):
        return [f"file://{word}"]
    if word in settings["custom_multichannels"]:
        return [address(each, each["name"]) for each in settings["custom_multichannels"][word]]
    parts = word.split("/")
    for size in range(len(parts), 0, -1):
        if custom := settings["custom_channels"].get("/".join(parts[:size])):
            return [address(custom, word)]
    return [address(settings["channel_alias"], word)]


def sources(asked: list[str], settings: dict[str, Any]) -> dict[str, str]:
    """Return the channels to look in, first the one that wins: address -> the word for it.

    Those of condarc come last, unless the word `nodefaults` is among the asked (conda 24.7, env create).
    """
    words = [word for word in asked if word != "nodefaults"]
    words += [] if "nodefaults" in asked else settings["channels"]
    return {where: word for word in dict.fromkeys(words) for where in addresses(word, settings)}


def spelled_out(spec: str, settings: dict[str, Any]) -> str:
    """Return a specification whose channel is an address, for rattler knows no condarc: conda-forge::numpy."""
    channel, separator, rest = spec.rpartition("::")
    return f"{addresses(channel, settings)[0]}::{rest}" if separator else spec


def matched(spec: str, settings: dict[str, Any]) -> rattler.MatchSpec:
    """Return a specification of environment.yml, read as leniently as conda reads it: numpy=2.4=py312_0.

    Raises:
        SystemExit: it is none.
    """
    try:
        return rattler.MatchSpec(spelled_out(spec, settings))
    except FAULTS as err:
        sys.exit(f"error: environment.yml: `{spec}` is no package specification: {err}")


def without_login(url: str) -> str:
    """Return an address as it may be kept in the image: no user, password or token (conda's /t/TOKEN)."""
    scheme, host, path, query, fragment = urlsplit(url)
    parts = path.split("/")
    if parts[1:2] == ["t"]:
        del parts[1:3]
    return urlunsplit((scheme, host.rpartition("@")[2], "/".join(parts), query, fragment))


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


async def install(
    specs: list[rattler.MatchSpec], channels: Iterable[str], prefix: Path, *, strict: bool, with_pip: bool
) -> None:
    """Solve, download and link.

    Raises:
        SystemExit: there is no solution, or a channel or a package cannot be had.
    """
    start = time.monotonic()
    try:
        records = await rattler.solve(
            sources=list(channels),
            specs=specs,
            virtual_packages=rattler.VirtualPackage.detect(),
            channel_priority=rattler.ChannelPriority.Strict if strict else rattler.ChannelPriority.Disabled,
            add_pip_as_python_dependency=with_pip,
        )
        print(f"solved in {time.monotonic() - start:.1f} s: {len(records)} packages", flush=True)
        await rattler.install(records, target_prefix=prefix, execute_link_scripts=True, reporter=Progress(len(records)))
    except FAULTS as err:
        sys.exit(f"error: the environment cannot be made: {err}")
    print(f"{len(records)} packages linked into {prefix} after {time.monotonic() - start:.1f} s", flush=True)


def import_names(records: dict[str, dict[str, Any]], requested: set[str]) -> list[str]:
    """Return the modules and packages of Python that the requested conda packages bring."""
    names: dict[str, None] = {}
    for package in sorted(requested & set(records)):
        record = records[package]
        # A metapackage has no files: what it stands for is what it depends on.
        needed = record["depends"] if not record["files"] else []
        files = [
            *record["files"],
            *(file for each in needed for file in records.get(each.split()[0], {"files": []})["files"]),
        ]
        for file in files:
            inside = file.partition("/site-packages/")[2]
            top = inside.removesuffix("/__init__.py") if inside.endswith("/__init__.py") else inside.removesuffix(".py")
            if top and top.isidentifier() and not top.startswith("_") and (top != inside):
                names[top] = None
    return list(names)


def start_up(prefix: Path) -> None:
    """Have every Python of the environment run project_startup.py as it starts (Python 3.14, module site)."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([prefix / "bin" / "python", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    lines = f"/opt/project\nimport importlib.util; importlib.util.find_spec('{STARTUP}') and __import__('{STARTUP}')\n"
    (Path(done.stdout.strip()) / "project.pth").write_text(lines, encoding="utf-8")


def load(prefix: Path, names: list[str]) -> None:
    """Load what a started server, a kernel and the requested packages load, so that Python leaves it compiled.

    To compile all of an environment takes three times as much, of time and of space. What cannot be loaded is
    left out: the one who loads it will hear why.
    """
    half = len(names) // 2
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environ = {**os.environ, "HOME": home, "MPLBACKEND": "agg"}
        environ.pop("PYTHONPATH")  # rattler is none of the environment's packages
        jobs = [
            subprocess.Popen(
                ["timeout", "--kill-after=1", "300", prefix / "bin" / "python", HERE / "load.py", *words],
                **SILENT,
                cwd=home,
                env=environ,
            )
            for words in (["server", *names[:half]], ["kernel", *names[half:]])  # two, for two cores
        ]
        for job in jobs:
            job.wait()


def compiled(file: str, prefix: Path, python_tag: str) -> str | None:
    """Return the compiled form of a source file, by its path in the prefix; None where there is none."""
    if not file.endswith(".py"):
        return None
    path = str(Path(file).parent / "__pycache__" / f"{Path(file).stem}.{python_tag}.pyc")
    return path if (prefix / path).exists() else None


def record(prefix: Path, python_tag: str) -> None:
    """Make the records in conda-meta say what conda's own would: compiled files, and no login of a channel."""
    for path in (prefix / "conda-meta").glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        extra = [each for file in document["files"] if (each := compiled(file, prefix, python_tag))]
        document["files"] += extra
        document["paths_data"]["paths"] += [{"_path": each, "path_type": "pyc_file"} for each in extra]
        for key in ("channel", "url"):
            document[key] = without_login(document[key])
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")


def history(specs: list[str], records: Iterable[dict[str, Any]], words: dict[str, str], version: str) -> str:
    """Return conda-meta/history of an environment just made, as conda writes it (conda 24.7, history.py)."""
    names = {without_login(where).rstrip("/"): word for where, word in words.items()}
    lines = []
    for each in records:
        channel = each["channel"].rstrip("/")
        lines.append(
            f"+{names.get(channel, channel)}/{each['subdir']}::{each['name']}-{each['version']}-{each['build']}"
        )
    return "\n".join(
        [
            f"==> {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} <==",
            "# cmd: conda env create --file environment.yml",
            f"# conda version: {version}",
            *sorted(lines),
            f"# update specs: {json.dumps(specs)}",
            "",
        ]
    )


def main(asked: dict[str, Any], prefix: Path) -> None:
    """Make the environment."""
    settings = conda_settings()
    specs = [matched(spec, settings) for spec in asked["dependencies"]]
    channels = sources(asked["channels"], settings)
    strict = settings["channel_priority"] != "disabled"
    asyncio.run(
        install(specs, channels, prefix, strict=strict, with_pip=bool(settings["add_pip_as_python_dependency"]))
    )
    meta = prefix / "conda-meta"
    records = {each["name"]: each for path in meta.glob("*.json") if (each := json.loads(path.read_text("utf-8")))}
    requested = {spec.name.normalized for spec in specs}
    python_tag = ""
    if (prefix / "bin" / "python").exists():
        start_up(prefix)
        load(prefix, import_names(records, requested))
        python_tag = "cpython-" + "".join(records["python"]["version"].split(".")[:2])
    record(prefix, python_tag)
    version = subprocess.run(["conda", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    records = {each["name"]: each for path in meta.glob("*.json") if (each := json.loads(path.read_text("utf-8")))}
    (meta / "history").write_text(history(asked["dependencies"], records.values(), channels, version), encoding="utf-8")
    if asked["variables"]:
        (meta / "state").write_text(json.dumps({"version": 1, "env_vars": asked["variables"]}), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # py-rattler 0.28 has been seen to abort while Python ends, after all was done
