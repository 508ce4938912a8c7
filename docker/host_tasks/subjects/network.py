"""What the build and the container need to reach the network the way this machine does."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from host_tasks.kit import client
from host_tasks.kit.paths import DOCKER_DIR, ENV_FILE, shown
from host_tasks.kit.words import ExitCode, HostError, masked, path_word, task_command, unset
from host_tasks.loop import Finding, Seen, fact, fail, ok, rule, warn
from host_tasks.subjects import settings

# The order of the clients that set them: OpenSSL, requests, pip, curl.
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
# Debian and Ubuntu; Fedora and RHEL; openSUSE; Alpine. Go's crypto/x509, root_linux.go, lists the same.
CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
ANSWER_S = 2.0  # for a connection to a proxy or an index
# With the name that docker's config.json has for each; from there Compose would put them into the container's
# environment, where `docker inspect` shows their passwords (docker/compose 2.26, create.go): docker-compose.yml sets
# these empty, and what is handed in as a file fills them.
PROXIES = {"HTTP_PROXY": "httpProxy", "HTTPS_PROXY": "httpsProxy", "NO_PROXY": "noProxy"}

PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host")
LARGEST_SECRET_BYTES = 500 * 1024  # BuildKit, session/secrets: a larger one is refused


# look


@fact
def addresses(seen: Seen) -> Mapping[str, str]:
    """Return the addresses that a build asks first, by what names them: the proxies, else the index of pip's own."""
    values = settings.now(seen).values
    through = {name: values[name] for name in PROXIES if name != "NO_PROXY" and values.get(name)}
    lines = (line.partition(" = ") for line in pip_config(settings.shell(seen)).splitlines())
    return through or {name: url.split()[0] for name, _, url in lines if name == "index-url"}


@fact
def silent_addresses(seen: Seen) -> Mapping[str, str]:
    """Return why nothing answers, for each of them where nothing does."""
    told = {name: silence(address) for name, address in addresses(seen).items()}
    return {name: why for name, why in told.items() if why}


@fact
def bundle_bytes(seen: Seen) -> int:
    """Return the size of the CA bundle that docker/.env names; 0 where there is none."""
    path = DOCKER_DIR / settings.now(seen).values.get("CA_BUNDLE", "")
    return path.stat().st_size if path.is_file() else 0


def ca_bundle(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of certificate authorities that this machine trusts; None where it has none that is known.

    The path is absolute: what a variable names is seen from the working directory, and Compose's from docker/.
    """
    named = [environ[name] for name in CA_VARIABLES if environ.get(name)]
    return next((Path(name).absolute() for name in (*named, *CA_FILES) if Path(name).is_file()), None)


def certificates(bundle: Path) -> str:
    """Return the certificates of a file (RFC 7468), each once: some have some twice, and BuildKit takes 500 KiB.

    Raises:
        HostError: the file cannot be read (77).
    """
    try:
        text = bundle.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        fix = f"chmod a+r {path_word(bundle)}"
        raise HostError(f"{bundle} cannot be read: {err.strerror}", fix=fix, code=ExitCode.PERMISSION) from err
    whole = r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.*?-----END (?:TRUSTED )?CERTIFICATE-----"
    return "".join(f"{certificate}\n" for certificate in dict.fromkeys(re.findall(whole, text, re.DOTALL)))


def proxies(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the proxies of the shell, else of docker's config.json, by the upper-case names of their variables.

    curl and most others read either case.
    """
    found = {
        name: environ.get(name) or environ.get(name.lower()) or client.configured(environ, "proxies", "default", key)
        for name, key in PROXIES.items()
    }
    return {name: value for name, value in found.items() if value}


def pip_config(environ: Mapping[str, str] = os.environ) -> str:
    """Return a pip.conf with the package index that this machine's pip uses; "" for pip's default.

    PIP_* variables win over files, and there [install] over [global] (pip 26 user guide, "Configuration"). Indexes that
    are folders of this machine are left out.

    Raises:
        HostError: pip could not read one of its files either (78).
    """
    told, lines = _told_by_pip_files(environ), []
    for option in PIP_OPTIONS:
        said = [environ.get(f"PIP_{option.upper().replace('-', '_')}")]
        said += [told.get(section, {}).get(option) for section in ("install", "global")]
        words = next(filter(None, said), "").split()
        if remote := [word for word in words if option == "trusted-host" or word.startswith(("http://", "https://"))]:
            lines.append(f"{option} = {' '.join(remote)}")
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def _told_by_pip_files(environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Return what pip's files say, by section and option.

    Raises:
        HostError: pip could not read one of them either (78).
    """
    there = [path for path in pip_files(environ) if path.is_file()]
    if not there:
        return {}
    import configparser

    parser = configparser.RawConfigParser()
    parser.optionxform = lambda optionstr: optionstr.lower().replace("_", "-")  # type: ignore[method-assign]
    try:
        parser.read(there, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as err:
        line = getattr(err, "lineno", None) or next(iter(getattr(err, "errors", [])), [None])[0]
        where = f"{getattr(err, 'source', 'one of its files')}{f', line {line}' if line else ''}"
        problem = f"pip's configuration cannot be read: {where}"  # not what stands there: it may hold a password
        raise HostError(problem, fix="see which files: pip config debug", code=ExitCode.CONFIG) from err
    return {section: dict(parser[section]) for section in parser.sections()}


def pip_files(environ: Mapping[str, str], platform: str = sys.platform) -> list[Path]:
    """Return where pip looks, the last one winning: for all users, the user's own, its Python's, and the named one.

    So says pip 26, configuration.py. `pip config list` says it too, but takes as long as all of `config`.
    """
    home = environ.get("HOME") or environ.get("USERPROFILE") or str(Path.home())
    named, library = environ.get("PIP_CONFIG_FILE", ""), "Library/Application Support/pip"
    everyone = [*(f"{folder}/pip" for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")), "/etc"]
    own = [f"{home}/.pip", f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/pip"]
    if platform == "win32":
        everyone, own = [f"{environ.get('PROGRAMDATA')}/pip"], [f"{home}/pip", f"{environ.get('APPDATA')}/pip"]
    if platform == "darwin":
        everyone = [f"/{library}"]
        own = [f"{home}/.pip", f"{home}/{library}" if Path(home, library).is_dir() else f"{home}/.config/pip"]
    if named == os.devnull:  # it turns every file off
        return []
    python = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX") or sys.base_prefix
    folders = [*everyone, *([] if named and Path(named).exists() else own), python]
    files = [Path(folder, "pip.ini" if platform == "win32" else "pip.conf") for folder in folders]
    return [*files, *([Path(named)] if named else [])]


def silence(address: str) -> str:
    """Return why nothing answers at an address within ANSWER_S, "" where something does."""
    import socket
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER_S).close()
    except (OSError, ValueError) as err:
        return str(err) or type(err).__name__
    return ""


# judge


@rule("proxy")
def proxy(seen: Seen) -> Iterator[Finding]:
    """Name proxies that docker/.env keeps from an earlier shell."""
    values, known = settings.now(seen).values, proxies(settings.shell(seen))
    kept = [name for name in PROXIES if values.get(name)]
    stale = [name for name in kept if name not in known]
    for name in stale:
        cause = f"docker/.env keeps {name}={masked(name, values[name])} from an earlier shell, and this one has none"
        yield warn(cause, task_command(f"env --unset {name}"))
    if not stale:
        yield ok(", ".join(kept) or "none")


@rule("reachable")
def reachable(seen: Seen) -> Iterator[Finding]:
    """Ask for an answer of the proxy, or the package index, that a build goes through."""
    for name, why in silent_addresses(seen).items():
        cause = f"{name} is {masked(name, addresses(seen)[name])}, and nothing answers there: {why}"
        fix = f"{unset(name, name.lower())} && {task_command(f'env --unset {name}')}"
        yield fail(cause, fix if name in PROXIES else "pip config debug", ExitCode.UNAVAILABLE)
    if not silent_addresses(seen):
        yield ok(", ".join(addresses(seen)) or "no proxy and no index of your own is named")


@rule("certificates")
def certificates_fit(seen: Seen) -> Iterator[Finding]:
    """Ask for a CA bundle that the builder takes."""
    bundle = settings.now(seen).values.get("CA_BUNDLE")
    if bundle and bundle_bytes(seen) > LARGEST_SECRET_BYTES:
        cause = f"{bundle} has {bundle_bytes(seen)} bytes, and BuildKit takes {LARGEST_SECRET_BYTES}"
        yield fail(cause, f"choose a smaller file: CA_BUNDLE in {shown(ENV_FILE)}")
    else:
        yield ok(bundle or "none of this machine's own")
