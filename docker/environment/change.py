"""Make an environment that runs what the project's files ask for now, or leave it as it was.

change.py PREFIX FOLDER [+NAME ...] [-NAME ...]

FOLDER is what the Dockerfile's stage `change` holds: what the next image would be made from, and rattler where conda is
to be asked. A name with + is asked for anew; one with - no longer: it goes, and so does all that only it has needed. It
ends with 1 where all is as before, with 3 where that could not be put back, and with 4 where all is as before, and pip
has what conda's channels do not.
"""

import asyncio
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Records = dict[str, dict[str, Any]]
UNDONE, OF_PIP = 3, 4


def normalized(name: str) -> str:
    """Return a name as PyPI compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(prefix: Path) -> Records:
    """Return what Python's own records say is installed, by name: version, by what, what for, and what it needs."""
    site = [str(path) for path in prefix.glob("lib/python3*/site-packages")]
    return {
        normalized(each.metadata["Name"]): {
            "name": each.metadata["Name"],
            "version": each.version,
            "by": (each.read_text("INSTALLER") or "").strip(),
            "requested": each.read_text("REQUESTED") is not None,
            "depends": [normalized(re.match(r"[\w.-]*", line)[0]) for line in each.requires or ()],  # type: ignore[index]
        }
        for each in importlib.metadata.distributions(path=site)
        if each.metadata["Name"]
    }


def orphans(known: Records, gone: Iterable[str], roots: Iterable[str]) -> set[str]:
    """Return what nothing needs any longer: of what is gone, and of what that has needed."""
    import records

    return records.needed(known, gone) - records.needed(known, set(roots) - set(gone))


class Pip:
    """The packages of pip, which conda's stay as they are for."""

    def __init__(self, prefix: Path, folder: Path) -> None:
        self.prefix, self.folder = prefix, folder
        self.before = distributions(prefix)

    def call(self, *words: str, output: int | None = None) -> bool:
        """Run pip in the folder of the requirement files, and return whether it ended well."""
        argv = [str(self.prefix / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *words]
        done = subprocess.run(argv, cwd=self.folder, stdout=output, stderr=output, check=False)
        return done.returncode == 0

    def has(self, names: list[str]) -> bool:
        """Return whether pip finds packages of these names."""
        return self.call("install", "--dry-run", "--no-deps", *names, output=subprocess.DEVNULL)

    def change(self, added: list[str], gone: list[str]) -> None:
        """Install what the files name, and take away what is gone.

        Raises:
            SystemExit: pip has said why it cannot.
        """
        roots = {name for name, each in self.before.items() if each["requested"] or each["by"] != "pip"}
        unneeded = orphans(self.before, gone, roots)
        left = [name for name in unneeded if self.before[name]["by"] == "pip"]
        if left and not self.call("uninstall", "--yes", "--quiet", *left):
            sys.exit(1)
        locked = self.folder / "locked.txt"
        asked = locked if locked.exists() else self.folder / "section.txt"
        if not asked.stat().st_size:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as kept:
            if asked != locked:
                of_conda = (each for each in distributions(self.prefix).values() if each["by"] != "pip")
                lines = (f"{each['name']}=={each['version']}\n" for each in of_conda)
                kept.writelines(line for line in lines if re.fullmatch(r"[\w.-]+==[\w.!+]+\n", line))
            kept.flush()
            options = (self.folder / "options.txt").read_text(encoding="utf-8").split()
            words = ["--progress-bar", "off", "--constraint", kept.name, "--requirement", asked.name]
            if not self.call("install", *options, *words):
                sys.exit(1)

    def undo(self) -> bool:
        """Put back what was there, and return whether that went well."""
        now, before = (
            {name: each for name, each in part.items() if each["by"] == "pip"}
            for part in (distributions(self.prefix), self.before)
        )
        new = [name for name in now if name not in self.before]
        lost = [each for name, each in before.items() if now.get(name, {}).get("version") != each["version"]]
        again = [f"{each['name']}=={each['version']}" for each in lost]
        return (not new or self.call("uninstall", "--yes", "--quiet", *new)) and (
            not again or self.call("install", "--quiet", "--no-deps", *again)
        )


class Conda:
    """The packages of conda, changed by rattler as the image's were made by it."""

    def __init__(self, prefix: Path, asked: dict[str, Any], pip: Pip) -> None:
        import rattler
        import records

        self.prefix, self.asked, self.pip = prefix, asked, pip
        self.only_adds = "locked" not in asked  # then pip's packages have what they need
        self.before = records.read(prefix)
        paths = [records.path(each, prefix) for each in self.before.values()]
        self.installed = {each.name.normalized: each for each in map(rattler.PrefixRecord.from_path, paths)}

    def kept(self, gone: list[str]) -> set[str]:
        """Return the names of what stays: all, but what is gone and only that has needed."""
        text = (self.prefix / "conda-meta" / "history").read_text(encoding="utf-8")
        by_hand = re.findall(r"['\"](?:[\w:/.-]+::)?([\w.-]+)", "".join(re.findall(r"(?m)^# update specs: .*", text)))
        of_pip = (name for each in self.pip.before.values() if each["by"] == "pip" for name in each["depends"])
        return set(self.before) - orphans(self.before, gone, {*by_hand, *of_pip})

    def change(self, added: list[str], gone: list[str]) -> None:
        """Link what is asked for, and unlink what is gone; what is there stays where it fits.

        Raises:
            SystemExit: there is no solution, or a package cannot be had.
        """
        import make
        import rattler
        import records
        from channels import conda_settings, conda_version, sources

        settings, kept = conda_settings(), self.kept(gone)
        channels = sources(self.asked["channels"], settings)
        if "locked" in self.asked:
            found = [make.locked_record(each, channels) for each in self.asked["locked"]]
            found += [self.installed[name] for name in kept - {each.name.normalized for each in found}]
        else:
            specs = [make.matched(spec, settings) for spec in self.asked["dependencies"]]
            if kept == set(self.before) and all(any(map(spec.matches, self.installed.values())) for spec in specs):
                return
            specs += [rattler.MatchSpec(name) for name in sorted(kept)]
            known = [self.installed[name] for name in kept]
            try:
                found = asyncio.run(make.solve(specs, channels, settings, locked_packages=known))
            except SystemExit as err:
                if added and "no package of this name" in str(err):
                    raise SystemExit(OF_PIP if self.pip.has(added) else f"{err}, and pip finds none") from err
                raise
        asyncio.run(make.link(found, self.prefix))
        new = [
            each
            for name, each in records.read(self.prefix).items()
            if self.before.get(name, {}).get("url") != each["url"]
        ]
        self.only_adds &= set(self.before).isdisjoint(each["name"] for each in new)
        records.complete(new, self.prefix)
        text = records.history(self.asked["dependencies"], new, channels, conda_version())
        with (self.prefix / "conda-meta" / "history").open("a", encoding="utf-8") as history:
            history.write(text)

    def undo(self) -> bool:
        """Put back what was there, and return whether that went well."""
        import make

        try:
            asyncio.run(make.link([*self.installed.values()], self.prefix))
        except SystemExit as err:
            print(err, file=sys.stderr)
            return False
        return True


def files(prefix: Path) -> set[str]:
    """Return the paths of all that is in an environment."""
    return {f"{folder}/{name}" for folder, folders, names in os.walk(prefix) for name in (*folders, *names)}


def put_back(parts: list[Any], prefix: Path, before: set[str]) -> bool:
    """Undo what was done, and return whether the environment is as before; half a package is in no record."""
    went_well = [part.undo() for part in parts]
    for path in sorted(files(prefix) - before, reverse=True):  # what is in a folder comes before the folder
        here = Path(path)
        here.rmdir() if here.is_dir() and not here.is_symlink() else here.unlink(missing_ok=True)
    return all(went_well) and files(prefix) == before


def attempt(parts: list[Any], added: list[str], gone: list[str]) -> int:
    """Change the environment, and return with what to end: 0, where that went well."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for part in parts:
            if part is parts[0] or gone or not parts[0].only_adds:
                part.change(added, gone)
    except BaseException as err:
        why = err.code if isinstance(err, SystemExit) else f"error: {err or type(err).__name__}"
        if isinstance(why, str):
            print(re.sub(r"\s*\n\s*(?!- )", " ", why), file=sys.stderr, flush=True)
        return OF_PIP if why == OF_PIP else 1
    return 0


def main(prefix: Path, folder: Path, words: list[str]) -> None:
    """Change the environment, conda's packages first.

    It is a child that does it: threads of rattler go on after an error, and end with their process alone. A signal
    comes to both (subjects/containers.py, STOP), and this one waits, and puts back what was there.

    Raises:
        SystemExit: it could not be changed.
    """
    sys.path[:0] = [str(folder / "environment"), str(folder / "tools")]
    os.umask(0o002)
    added, gone = ([normalized(word[1:]) for word in words if word[0] == sign] for sign in "+-")
    pip, before = Pip(prefix, folder / "inputs" / "pip"), files(prefix)
    parts: list[Any] = [pip]
    if (folder / "tools").is_dir():
        import channels

        channels.BASE = folder / "said"
        asked = json.loads((folder / "inputs" / "conda.json").read_text(encoding="utf-8"))
        parts.insert(0, Conda(prefix, asked, pip))
    child = os.fork()
    if not child:
        code = attempt(parts, added, gone)
        sys.stdout.flush()
        os._exit(code)  # as in make.py
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    code = abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if code and not put_back(parts[::-1], prefix, before):
        code = UNDONE
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
