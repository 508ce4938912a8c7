"""Build an image past Compose, with the secrets that Compose's build has: it shares Compose's cache."""

from collections.abc import Mapping
from pathlib import Path

from host_tasks.ground import runner
from host_tasks.ground.paths import DOCKER_DIR, ROOT
from host_tasks.observe import compose

CACHES = "BUILDKIT_CACHE_MOUNT_NS"  # the build argument that tells a clone's package caches from another's


def build(
    file: Path, values: Mapping[str, str], *, arguments: Mapping[str, str], options: tuple[str, ...]
) -> runner.Finished:
    """Build a Dockerfile, and keep what the builder says; the context is the project."""
    argv = command(file, values, arguments=arguments, options=options)
    return runner.run(argv, cwd=ROOT, keep=True, env={**compose.environment(values), "PWD": str(ROOT)})


def command(
    file: Path, values: Mapping[str, str], *, arguments: Mapping[str, str], options: tuple[str, ...]
) -> list[str]:
    """Return the command; what may hold a password is in a file, since everybody sees a command line."""
    secrets = {
        "ca_bundle": DOCKER_DIR / values.get("CA_BUNDLE", "ca-bundle.pem"),
        "pip_config": DOCKER_DIR / values.get("PIP_CONFIG", "pip.conf"),
        "proxies": DOCKER_DIR / values.get("PROXY_CONFIG", "proxies.conf"),
    }
    return [
        *("docker", "buildx", "build", *options, "--file", str(file)),
        *(word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")),
        *(word for name, path in secrets.items() for word in ("--secret", f"id={name},{_field(f'src={path}')}")),
        str(ROOT),
    ]


def _field(text: str) -> str:
    """Return a field of comma-separated values (RFC 4180), as buildx reads options; a path may hold what parts them."""
    return '"{}"'.format(text.replace('"', '""')) if set(text) & set(',"') else text
