"""Every Python of the environment runs this as it starts (project.pth), also where no shell has activated it.

After `docker exec CONTAINER python` the environment's variables and what the host trusts are set as activate.sh sets
them, and src/ and what it requires (pip.sh) can be imported: last on the path, so that no file of them hides a
package. Not by the server, which runs isolated (serve.py): what tries an optional package would find a notebook's.
"""

import os
import sys

CA_BUNDLE = "/run/secrets/ca_bundle"
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
PIP_CONFIG = "/run/secrets/pip_config"
PROXIES = "/run/secrets/proxies"
COMMANDS = "/opt/own/bin"  # of src/pyproject.toml; the last on PATH, so that none of them hides a program


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 # pathlib would cost every start some milliseconds
            return file.read()
    except OSError:
        return ""


def _activate() -> None:
    if state := _read(f"{sys.prefix}/conda-meta/state"):  # conda 24.7, prefix_data.py; few environments have one
        import json

        for name, value in json.loads(state).get("env_vars", {}).items():
            os.environ.setdefault(name.upper(), value)
    if "BEGIN CERTIFICATE" in _read(CA_BUNDLE):
        for name in CA_VARIABLES:
            os.environ.setdefault(name, CA_BUNDLE)
    for line in _read(PROXIES).splitlines():
        name, _, value = line.partition("=")
        if name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            for variable in (name, name.lower()):
                os.environ[variable] = os.environ.get(variable) or value  # docker-compose.yml sets them empty
    if os.path.exists(PIP_CONFIG) and not os.access(PIP_CONFIG, os.R_OK):  # noqa: PTH110
        os.environ.setdefault("PIP_INDEX_URL", f"file://{PIP_CONFIG}-cannot-be-read")
    elif any(not line.startswith("#") for line in _read(PIP_CONFIG).splitlines() if line.strip()):
        os.environ.setdefault("PIP_CONFIG_FILE", PIP_CONFIG)


# The Dask scheduler that listens beside the Lab, in its network (docker-compose.workers.yml), for `Client()` to find.
# Port 8786 of 127.0.0.1, in the state of listening (proc(5), /proc/net/tcp).
if "0100007F:2252 00000000:0000 0A" in _read("/proc/net/tcp"):
    os.environ.setdefault("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:8786")
# An application is reached by JupyterLab's own address (jupyter-server-proxy 4), also in the links that are shown.
if not sys.flags.isolated:  # as the server is, which tells kernels and terminals its place
    place = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    os.environ.setdefault("DASK_DISTRIBUTED__DASHBOARD__LINK", f"{place}proxy/{{port}}/status")
    os.environ.setdefault("TENSORBOARD_PROXY_URL", f"{place}proxy/%PORT%/")
if "CONDA_SHLVL" not in os.environ:
    _activate()
if "PROJECT_DIR" in os.environ and not sys.flags.isolated:
    sys.path.append(f"/opt/source/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")
    # What is known of the project in src/ (own_project.py), before what a tool may have left of it there; then its
    # code, which may be in a src/ of its own.
    sys.path += ["/opt/own/lib", f"{os.environ['PROJECT_DIR']}/src", f"{os.environ['PROJECT_DIR']}/src/src"]
    if COMMANDS not in (path := os.environ.get("PATH", os.defpath)).split(":"):
        os.environ["PATH"] = f"{path}:{COMMANDS}"
