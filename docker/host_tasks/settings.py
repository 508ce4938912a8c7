"""The values of this clone: what is observed on this machine, and what docker/.env keeps of earlier choices."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from host_tasks import clone, identity, network
from host_tasks.ground import envfile, lock, report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, ENV_FILE, ROOT, shown
from host_tasks.identity import Identity


@dataclass(frozen=True)
class Settings:
    """The identity, and the plan for docker/.env."""

    identity: Identity
    plan: envfile.Plan
    values: dict[str, str]  # of our own keys, as they stand in docker/.env once the plan is written

    @property
    def project(self) -> str:
        """The name of this clone for Compose."""
        return self.values["COMPOSE_PROJECT_NAME"]


def observe(*, port: int | None = None, base_image: str | None = None) -> Settings:
    """Return the settings of this moment; nothing is written, and port and base image None keep what is there.

    Raises:
        HostError: the identity, the path of the clone or docker/.env cannot be used.
    """
    clone.check_path()
    kept = envfile.read()
    _refuse_bad_port(kept.get("JUPYTER_PORT", ""))
    who = identity.observe()
    observed: dict[str, str | None] = {
        "USER": who.user,
        "UID": str(who.uid),
        "GID": str(who.gid),
        "COMPOSE_PROJECT_NAME": clone.project_name(),
        "CA_BUNDLE": _still_there(kept.get("CA_BUNDLE")) or _text(network.ca_bundle()),
        "PIP_CONFIG": _text(network.PIP_CONFIG) if network.pip_config() else _still_there(kept.get("PIP_CONFIG")),
        **network.proxies(),
    }
    if port is not None:
        observed["JUPYTER_PORT"] = str(port)
    if base_image is not None:
        observed["BASE_IMAGE"] = base_image or None
    plan = envfile.plan(observed)
    after = {**kept, **observed}
    return Settings(who, plan, {key: value for key in envfile.OWN_KEYS if (value := after.get(key)) is not None})


def write(settings: Settings) -> None:
    """Write docker/.env where the plan changes it, and say what changed; the caller holds the lock."""
    if settings.plan.changed:
        refuse_moved(settings.plan)
    network.write_pip_config()  # its content may change where docker/.env does not
    if settings.plan.changed:
        envfile.write(settings.plan)
        report.note(str(settings.plan))


def current() -> Settings:
    """Return the settings with docker/.env brought up to date; the lock is taken only to write."""
    settings = observe()
    if settings.plan.changed:
        with lock.held():
            settings = observe()
            write(settings)
    return settings


def _refuse_bad_port(kept: str) -> None:
    """Raise where docker/.env keeps a port that cannot be one; empty is none, as it is for Compose.

    Raises:
        HostError: it is not between 1024 and 65535 (78).
    """
    if kept and not (kept.isdecimal() and 1024 <= int(kept) <= 65535):
        line = envfile.line_numbers()["JUPYTER_PORT"]
        raise HostError(
            f"{shown(ENV_FILE)}:{line}: JUPYTER_PORT={kept} is not between 1024 and 65535",
            fix=f"correct or remove line {line}, then: invoke env",
            code=ExitCode.CONFIG,
        )


def refuse_moved(plan: envfile.Plan) -> None:
    """Raise where containers are left that were started before this clone was moved or renamed.

    Raises:
        HostError: they would be orphaned by the new name (78).
    """
    old = next((change.old for change in plan.changes if change.key == "COMPOSE_PROJECT_NAME"), None)
    if old is None or shutil.which("docker") is None:
        return
    listing = ["docker", "ps", "--all", "--filter", f"label=com.docker.compose.project={old}"]
    columns = '{{.Names}} {{.Label "com.docker.compose.project.working_dir"}}'
    found = runner.run([*listing, "--format", columns], cwd=ROOT, capture=True, announce=False, timeout_s=10)
    rows = [line.split(" ", 1) for line in found.stdout.splitlines()]
    gone = {name: folder for name, folder in rows if not Path(folder).is_dir()}
    if gone:
        raise HostError(
            f"this clone was moved, and what it started in {next(iter(gone.values()))} is still there: "
            f"{', '.join(gone)}",
            fix=f"docker compose --project-name {old} down",
            code=ExitCode.CONFIG,
        )


def _still_there(kept: str | None) -> str | None:
    """Return a path that a person chose in docker/.env while it exists; Compose sees it from docker/."""
    return kept if kept and (DOCKER_DIR / kept).is_file() else None


def _text(path: Path | None) -> str | None:
    """Return a path as text, None for none."""
    return None if path is None else str(path)
