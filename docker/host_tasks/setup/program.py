"""Invoke for the tasks of this clone and no others, whatever the folder, the home and the environment say.

Run by path and isolated (`python -I`): neither PYTHONPATH nor the working directory, which a container may write to,
is imported from.
"""

import importlib.util
import os
import sys
import types
from typing import Any

# Compiled modules save a third of a short task; in a clone of somebody else's they would be files that are not theirs.
FOREIGN = os.name != "nt" and os.stat(__file__).st_uid != os.geteuid()
sys.dont_write_bytecode = FOREIGN
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

from host_tasks.setup import basics, bootstrap


def refuse_stale_packages() -> None:
    """End where .venv was made for other packages than those that are named now; tasks.py has looked already."""
    if sys.prefix != basics.VENV or os.environ.get(basics.CALLED_AS, "").endswith("tasks.py"):
        return
    if bootstrap._recorded().get(bootstrap.HOST) != bootstrap._digest(bootstrap.HOST):
        basics.send_to_tasks_py(f".venv was made for another {bootstrap.HOST}")


refuse_stale_packages()

# What Invoke 3.0.3 imports, and nothing here needs: context.py takes Mock for a class that is only there for tests,
# config.py reads YAML, which no settings of ours are. They would load asyncio, ssl, email and a second YAML parser: a
# third of the time of a short task.
UNUSED = {
    "unittest.mock": types.SimpleNamespace(Mock=None),
    "importlib.metadata": types.SimpleNamespace(version=str),
    "invoke.vendor.yaml": types.SimpleNamespace(),
}
sys.modules.update(UNUSED)  # type: ignore[arg-type]
from invoke.collection import Collection
from invoke.config import Config
from invoke.program import Program
from invoke.tasks import Task

for name in UNUSED:
    del sys.modules[name]


class OwnConfig(Config):
    """Invoke's defaults: its settings files may name another collection, or be broken, and no task here needs any."""

    def load_system(self, merge: bool = True) -> None:  # noqa: FBT001, FBT002 (Invoke's own parameter)
        """Read no /etc/invoke.yaml."""

    load_user = load_project = load_runtime = load_system  # ~/.invoke.yaml, invoke.yaml, --config


class OwnProgram(Program):
    """Invoke's program, for which help is help wherever it stands, and which keeps compiled modules."""

    namespace: Collection

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse Invoke's own switches; it turns compiled modules off there.

        It would take --help behind a task with a positional argument for that argument, and -h for an option's.
        """
        program, *words = argv or sys.argv
        own = words[: words.index("--")] if "--" in words else words
        asked = [word for word in own if word in self.namespace.task_names]
        if asked and {"-h", "--help"} & set(own):
            words = ["--help", asked[0]]
        elif asked and getattr(self.namespace[asked[0]], "many", False):
            # Invoke takes each further word for a task; what stands after `--` is handed over (kit/task.py).
            at, behind = own.index(asked[0]) + 1, words[len(own) + 1 :]
            plain = [word for word in own[at:] if not word.startswith("-")]
            words = [*own[:at], *(word for word in own[at:] if word not in plain), "--", *plain, *behind]
            sys.argv[1:] = words
        super().parse_core([program, *words])
        sys.dont_write_bytecode = FOREIGN

    def print_version(self) -> None:
        """Print Invoke's version, which nothing else asks for."""
        from importlib import metadata

        self.version = metadata.version("invoke")
        super().print_version()

    def display_with_columns(self, pairs: Any, extra: str = "") -> None:
        """List the tasks; those for maintainers of the starter can be called, and are not listed."""
        tasks = self.namespace.tasks
        super().display_with_columns([pair for pair in pairs if not getattr(tasks[pair[0]], "hidden", False)], extra)


def main() -> None:
    """Run the command line, and end quietly where nobody reads its output any longer."""
    called_as = os.environ.get(basics.CALLED_AS)
    completed = ["./tasks.py"] if (called_as or "").endswith("tasks.py") else ["invoke", "inv"]
    try:
        try:
            OwnProgram(
                namespace=_tasks(),
                name="Invoke",
                binary=called_as,
                binary_names=completed,
                config_class=OwnConfig,
            ).run()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
    except OSError as err:
        if not isinstance(err, BrokenPipeError) and not _hung_up():
            raise
        for stream in (sys.stdout, sys.stderr):  # Python flushes both once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(basics.BROKEN_PIPE if isinstance(err, BrokenPipeError) else basics.HANGUP)


def _hung_up() -> bool:
    """Return whether the terminal was closed to which errors are written: it can then be asked nothing (Linux 6)."""
    if os.name == "nt":
        return False
    import errno
    import termios

    try:
        termios.tcgetattr(sys.stderr)
    except termios.error as err:
        return bool(err.args[0] == errno.EIO)
    return False


def _tasks() -> Collection:
    """Return the tasks of tasks.py, without its folder on sys.path: a person's own modules may lie there.

    Invoke itself would ask each module that tasks.py has imported whether it is a task, which loads all of them.
    """
    spec = importlib.util.spec_from_file_location("tasks", os.path.join(basics.ROOT, "tasks.py"))
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 (a path to a .py file has both)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tasks"] = module
    spec.loader.exec_module(module)
    return Collection(*(each for each in vars(module).values() if type(each) is Task))


if __name__ == "__main__":
    main()
