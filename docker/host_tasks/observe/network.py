"""What the build and the container need to reach the network the way this machine does."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError

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
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host")


def ca_bundle(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of certificate authorities that this machine trusts; None where it has none that is known.

    The path is absolute: what a variable names is seen from the working directory, and Compose's from docker/.
    """
    named = [environ[name] for name in CA_VARIABLES if environ.get(name)]
    return next((Path(each).absolute() for each in (*named, *CA_FILES) if Path(each).is_file()), None)


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
    found = re.findall(
        r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.*?-----END (?:TRUSTED )?CERTIFICATE-----", text, re.DOTALL
    )
    return "".join(f"{each}\n" for each in dict.fromkeys(found))


def proxies(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the proxy variables that are set, by their upper-case names; curl and most others read either case."""
    found = {name: environ.get(name) or environ.get(name.lower(), "") for name in PROXIES}
    return {name: value for name, value in found.items() if value}


def proxy_config(values: Mapping[str, str]) -> str:
    """Return what docker/activate.sh reads of the proxies among the values: NAME=value, one a line."""
    return "".join(f"{name}={values[name]}\n" for name in PROXIES if values.get(name))


def pip_config(environ: Mapping[str, str] = os.environ) -> str:
    """Return a pip.conf with the package index that this machine's pip uses, or an empty string for pip's default.

    pip reads the global file, the user's, the one that PIP_CONFIG_FILE names, then PIP_* variables; the last wins
    (pip 26 user guide, "Configuration", "Precedence"); [install] wins over [global] (the same, "Per-command").
    Indexes that are folders of this machine are left out.

    Raises:
        HostError: pip could not read one of its files either (78).
    """
    said = _said_by_pip_files(environ)
    lines = []
    for option in PIP_OPTIONS:
        found = [said.get(section, {}).get(option, "") for section in ("install", "global")]
        value = next(filter(None, [environ.get(f"PIP_{option.upper().replace('-', '_')}"), *found]), "")
        remote = [
            each for each in value.split() if option == "trusted-host" or each.startswith(("http://", "https://"))
        ]
        if remote:
            lines.append(f"{option} = {' '.join(remote)}")
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def _said_by_pip_files(environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Return what pip's configuration files say by section, each after those that it wins over.

    Raises:
        HostError: pip could not read one of them either (78).
    """
    home = Path(environ.get("HOME") or "~").expanduser()
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    files = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", user]
    if named := environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    # /dev/null there turns every file off (same guide).
    there = [] if named == os.devnull else [each for each in files if each.is_file()]
    if not there:
        return {}
    import configparser  # late: few machines have such a file

    parser = configparser.RawConfigParser()
    try:
        parser.read(there, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as err:
        line = getattr(err, "lineno", None) or next(iter(getattr(err, "errors", [])), [None])[0]
        where = f"{getattr(err, 'source', 'one of its files')}{f', line {line}' if line else ''}"
        problem = f"pip's configuration cannot be read: {where}"  # not what stands there: it may hold a password
        raise HostError(problem, fix="see which files: pip config debug", code=ExitCode.CONFIG) from err
    return {section: dict(parser[section]) for section in parser.sections()}


def named_addresses(values: Mapping[str, str], pip_config: str) -> dict[str, str]:
    """Return the addresses that a build asks first, by what names them: the proxies, else the index of pip's own."""
    proxies = {name: values[name] for name in PROXIES if name != "NO_PROXY" and values.get(name)}
    lines = (line.partition(" = ") for line in pip_config.splitlines())
    return proxies or {name: url.split()[0] for name, _, url in lines if name == "index-url"}


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
