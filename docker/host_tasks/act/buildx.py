"""Build an image past Compose, with the secrets and proxies that Compose's build has: it shares Compose's cache."""

from collections.abc import Mapping
from pathlib import Path

from host_tasks.ground import runner
from host_tasks.ground.paths import DOCKER_DIR, ROOT
from host_tasks.observe import compose
from host_tasks.observe.network import PROXIES


def build(
    file: Path, image: str, values: Mapping[str, str], *, arguments: Mapping[str, str], options: tuple[str, ...]
) -> runner.Finished:
    """Build a Dockerfile, and keep what the builder says; the context is the project."""
    argv = command(file, image, values, arguments=arguments, options=options)
    return runner.run(argv, cwd=ROOT, keep=True, env={**compose.environment(values), "PWD": str(ROOT)})


def command(
    file: Path, image: str, values: Mapping[str, str], *, arguments: Mapping[str, str], options: tuple[str, ...]
) -> list[str]:
    """Return the command; a proxy's password is in the environment only, since everybody sees a command line."""
    given = [*(f"{name}={value}" for name, value in arguments.items()), *(name for name in PROXIES if name in values)]
    secrets = {
        "ca_bundle": DOCKER_DIR / values.get("CA_BUNDLE", "ca-bundle.pem"),
        "pip_config": DOCKER_DIR / values.get("PIP_CONFIG", "pip.conf"),
    }
    return [
        *("docker", "buildx", "build", "--load", *options, "--tag", image, "--file", str(file)),
        *(word for each in given for word in ("--build-arg", each)),
        *(word for name, path in secrets.items() for word in ("--secret", f"id={name},{_field(f'src={path}')}")),
        str(ROOT),
    ]


def _field(text: str) -> str:
    """Return a field of comma-separated values (RFC 4180), as buildx reads options; a path may hold what parts them."""
    return '"{}"'.format(text.replace('"', '""')) if set(text) & set(',"') else text
