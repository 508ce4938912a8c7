"""Rules that `invoke doctor` adds: what does not stop `up` today, and may be why something fails tomorrow."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, fail, ok, warn
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode
from host_tasks.ground.masking import masked
from host_tasks.ground.paths import ENV_FILE, ROOT, shown
from host_tasks.observe import compose

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

GIB = 1024**3
ENOUGH_CLONE_BYTES = 2 * GIB  # for results and .venv
ENOUGH_ENGINE_BYTES = 6 * GIB  # for a base image, an environment and the builder's cache, twice over
LEAST_BYTES = GIB // 2
LARGEST_SECRET_BYTES = 500 * 1024  # BuildKit, session/secrets: a larger one is refused
SMALL_SHM_BYTES = 64 * 1024**2  # Docker's default, with which the workers of PyTorch's loaders die


def disk(seen: "Observation") -> Iterator[Finding]:
    """Ask for room where the clone is, and where the engine keeps its images."""
    places = [("the clone", ROOT, ENOUGH_CLONE_BYTES, f"df {path_word(ROOT)}")]
    if (folder := seen.engine_folder) is not None:
        places.append(("the engine", folder, ENOUGH_ENGINE_BYTES, "docker system prune"))
    for whose, folder, enough, fix in places:
        free = seen.free_bytes(folder)
        if free is None:
            continue
        cause = f"{whose} has {free / GIB:.1f} GiB free in {folder}, and {enough / GIB:.0f} are needed to be at ease"
        if free < LEAST_BYTES:
            yield fail("disk", cause, fix, ExitCode.IO)
        elif free < enough:
            yield warn("disk", cause, fix)
        else:
            yield ok("disk", f"{whose} has {free / GIB:.0f} GiB free in {folder}")


def env_owner(seen: "Observation") -> Iterator[Finding]:
    """Ask for docker/.env to be the caller's."""
    owner, caller = seen.env_file_owner, seen.uid
    if owner is None or caller in (None, 0, owner):
        yield ok("env-owner", f"{shown(ENV_FILE)} can be changed by you")
        return
    cause = f"{shown(ENV_FILE)} belongs to uid {owner}, and you are {caller}"
    yield warn("env-owner", cause, f"sudo chown {caller} {path_word(ENV_FILE)}")


def shell(seen: "Observation") -> Iterator[Finding]:
    """Name what the shell exports and plain Compose would take before docker/.env."""
    values = seen.settings.values
    heard = {
        name: value
        for name, value in seen.shell.items()
        if compose.pinned(name) and name not in ("USER", *seen.proxies) and value != values.get(name, "")
    }
    for name, value in heard.items():
        kept = masked(name, values.get(name, ""))
        cause = f"the shell says {name}={masked(name, value)}, and the tasks go by docker/.env: {kept or 'nothing'}"
        yield warn("shell", cause, f"unset {name}")
    if not heard:
        yield ok("shell", "nothing in the shell stands against docker/.env")


def proxy(seen: "Observation") -> Iterator[Finding]:
    """Name proxies that docker/.env keeps from an earlier shell."""
    kept = [name for name in seen.proxies if seen.settings.values.get(name)]
    stale = [name for name in kept if name not in seen.proxies_of_shell]
    for name in stale:
        value = masked(name, seen.settings.values[name])
        cause = f"docker/.env keeps {name}={value} from an earlier shell, and this one has none"
        yield warn("proxy", cause, f"sed -i '/^{name}=/d' {path_word(ENV_FILE)}")
    if not stale:
        yield ok("proxy", ", ".join(kept) or "none")


def reachable(seen: "Observation") -> Iterator[Finding]:
    """Ask for an answer of the proxy, or the package index, that a build goes through."""
    for name, why in seen.silent_addresses.items():
        cause = f"{name} is {masked(name, seen.addresses[name])}, and nothing answers there: {why}"
        fix = f"unset {name} {name.lower()}; sed -i '/^{name}=/d' {path_word(ENV_FILE)}"
        yield fail("reachable", cause, fix if name in seen.proxies else "pip config debug", ExitCode.UNAVAILABLE)
    if not seen.silent_addresses:
        yield ok("reachable", ", ".join(seen.addresses) or "no proxy and no index of your own is named")


def certificates(seen: "Observation") -> Iterator[Finding]:
    """Ask for a CA bundle that the builder takes."""
    bundle = seen.settings.values.get("CA_BUNDLE")
    size = seen.size_bytes(bundle)
    if bundle and size > LARGEST_SECRET_BYTES:
        cause = f"{bundle} has {size} bytes, and BuildKit takes {LARGEST_SECRET_BYTES}"
        yield fail("certificates", cause, f"choose a smaller file: CA_BUNDLE in {shown(ENV_FILE)}")
    else:
        yield ok("certificates", bundle or "none of this machine's own")


def stand_in(seen: "Observation") -> Iterator[Finding]:
    """Warn of a stand-in: it is not the image that others build on."""
    if seen.base.is_stand_in:
        cause = f"the base image {seen.base.name} was made on this machine; others build on the published one"
        yield warn("stand-in", cause, f"sed -i '/^BASE_IMAGE=/d' {path_word(ENV_FILE)} && {task_command('up')}")
    else:
        yield ok("stand-in", "not in use")


def scripts(seen: "Observation") -> Iterator[Finding]:
    """Ask for the scripts of the image to have the line endings of Linux, and for postBuild to have its run bit."""
    wrong = False
    for path, (has_cr, runs) in seen.scripts.items():
        name, word = shown(path), path_word(path)
        if has_cr:
            wrong = True
            yield warn("scripts", f"{name} has the line endings of Windows (CR LF)", f"sed -i 's/\\r$//' {word}")
        if not runs and path.name in ("postBuild", "entrypoint.sh"):
            wrong = True
            yield warn("scripts", f"{name} has lost its run bit", f"chmod +x {word}")
    if not wrong:
        yield ok("scripts", f"{len(seen.scripts)} scripts are in order")


def shared_memory(seen: "Observation") -> Iterator[Finding]:
    """Warn of a /dev/shm that is too small for the workers of data loaders."""
    server = seen.server
    if server is not None and 0 < server.shm_bytes <= SMALL_SHM_BYTES:
        cause = (
            f"{server.service} has {server.shm_bytes // 1024**2} MiB of shared memory, too little for PyTorch's loaders"
        )
        yield warn("shared-memory", cause, "set shm_size in docker/docker-compose.override.yml")
    else:
        yield ok("shared-memory", "large enough" if server else "nothing runs")
