"""What a running container may do, what it may use, and what it answers to whom."""

import json
import re
import sys
import urllib.error
from contextlib import closing
from http.client import HTTPConnection, HTTPMessage
from typing import Any, cast

import pytest
from conftest import Clone, docker, wait_until
from lab import OPENER, api, cookies_of, status_of

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# One path for each handler of jupyter_server 2.21, jupyterlab 4.6 and their extensions; 1-1-1-1-1 is a kernel's id.
CLOSED = [
    "/",
    "/api/",
    "/favicon.ico",
    "/static/favicon.ico",
    "/static/lab/index.html",
    "/lab",
    "/lab/tree/notebooks",
    "/doc",
    "/api/config/x",
    "/api/contents",
    "/api/contents/notebooks",
    "/api/contents/notebooks/checkpoints",
    "/api/contents/notebooks/checkpoints/x",
    "/api/contents/notebooks/trust",
    "/api/events",
    "/api/events/subscribe",
    "/api/kernels",
    "/api/kernels/1-1-1-1-1",
    "/api/kernels/1-1-1-1-1/restart",
    "/api/kernels/1-1-1-1-1/channels",
    "/api/kernelspecs",
    "/api/kernelspecs/python3",
    "/api/me",
    "/api/nbconvert",
    "/api/resolvePath",
    "/api/security/csp-report",
    "/api/sessions",
    "/api/sessions/1-1-1-1-1",
    "/api/shutdown",
    "/api/spec.yaml",
    "/api/status",
    "/api/terminals",
    "/api/terminals/1",
    "/files/notebooks/README.md",
    "/kernelspecs/python3/logo-64x64.png",
    "/lab/x",
    "/lab/api/build",
    "/lab/api/extensions",
    "/lab/api/licenses/",
    "/lab/api/listings/x",
    "/lab/api/news",
    "/lab/api/plugins",
    "/lab/api/settings/",
    "/lab/api/settings/x",
    "/lab/api/translations/",
    "/lab/api/translations/en",
    "/lab/api/update",
    "/lab/api/workspaces/",
    "/lab/api/workspaces/x",
    "/lsp/status",
    "/lsp/ws/x",
    "/logout",
    "/metrics",
    "/nbconvert/html",
    "/nbconvert/html/notebooks/x.ipynb",
    "/terminals/websocket/1",
    "/view/notebooks/README.md",
]

NO_PRIVILEGES = {
    **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000"),
    "NoNewPrivs": "1",
    "Seccomp": "2",
}


def privileges(clone: Clone) -> dict[str, str]:
    """Return what the kernel says of the server's own process (proc(5), /proc/pid/status)."""
    status = clone.inside("cat", "/proc/1/status").stdout
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {name: values[name] for name in NO_PRIVILEGES}


def set_id_files(clone: Clone) -> list[str]:
    """Return the files that would run as their owner or group."""
    return clone.inside("find", "/", "-xdev", "-type", "f", "-perm", "/6000").stdout.split()


def token_in(clone: Clone) -> str:
    """Return the token that the server reads, as its user reads it."""
    return clone.inside("sh", "-c", 'head -c 99 "${JUPYTER_TOKEN_FILE}"').stdout


def text_of(url: str) -> str:
    """Return the text of the answer to a request, be it a refusal."""
    try:
        with OPENER.open(url, timeout=20) as answer:
            return str(answer.read().decode("latin-1"))
    except urllib.error.HTTPError as err:
        return err.read().decode("latin-1")


def whole_answer(base: str, path: str) -> str:
    """Return all that a server sends for a path to a browser, which follows no redirect."""
    with closing(HTTPConnection(base.removeprefix("http://"), timeout=20)) as connection:
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        return f"{answer.headers}{answer.read().decode('latin-1')}"


def status_of_restarted(url: str) -> int:
    """Return the status that a request gets, 0 from a server that does not answer yet."""
    try:
        return status_of(url)
    except OSError:
        return 0


def answer_headers(url: str) -> HTTPMessage:
    """Return the headers of the answer to a request."""
    with OPENER.open(url, timeout=20) as answer:
        headers: HTTPMessage = answer.headers
        return headers


@pytest.fixture(scope="module")
def link(running: Clone) -> str:
    """The link of the running clone."""
    return running.succeed("url").splitlines()[-1]


@pytest.mark.engines
def test_container_has_no_privileges(running: Clone) -> None:
    """No capability, none to gain, the engine's system calls only, not the machine's root, no file for another."""
    root_is = running.inside("cat", "/proc/self/uid_map").stdout.split()[1]  # user_namespaces(7)
    assert privileges(running) == NO_PRIVILEGES
    assert running.inside("id", "--user").stdout.strip() == running.values()["UID"]
    assert running.values()["UID"] != "0" or root_is == running.owner[0] != "0"
    assert set_id_files(running) == []


def test_server_does_not_start_as_the_machines_root(running: Clone) -> None:
    """Only a rootless engine's uid 0 is a person: an image that was made for one serves nothing anywhere else."""
    done = running.run("docker", "run", "--rm", "--user=0", f"{running.project}-jupyterlab-server", timeout_s=60)

    assert done.returncode != 0
    assert "Running as root is not recommended" in done.stderr


@pytest.mark.parametrize("path", CLOSED)
def test_nothing_is_served_without_the_token(path: str, link: str) -> None:
    """Every handler answers, and refuses: 403, or 405 for a method that it does not have."""
    base = link.split("/?")[0]

    answers = {method: status_of(base + path, method=method) for method in METHODS}

    assert set(answers.values()) <= {403, 405}, answers
    assert answers["GET"] in (403, 405)


def test_health_check_is_told_nothing_more(link: str) -> None:
    """What alone answers without a token says that the server is there."""
    assert text_of(link.split("/?")[0] + "/api") == "{}"


def test_licenses_are_served_with_the_token(link: str) -> None:
    """The page that never answered anybody without a token answers who has it."""
    base, token = link.split("/?")[0], link.rpartition("token=")[2]

    assert status_of(f"{base}/lab/api/licenses/", Authorization=f"token {token}") == 200


def test_page_asks_nobody_for_news(link: str) -> None:
    """JupyterLab's page starts without the extension that asks its publisher for news, whatever postBuild does."""
    page = text_of(link)
    config = json.loads(
        page.partition('id="jupyter-config-data" type="application/json">')[2].partition("</script>")[0]
    )

    assert config["disabledExtensions"] == ["@jupyterlab/apputils-extension:announcements"]


def test_settings_of_absent_extensions_are_no_warning(running: Clone) -> None:
    """What the configuration says to extensions that are not installed is not named in the log."""
    log = running.run("docker", "logs", running.container_id())

    told = log.stdout + log.stderr
    assert "is running at" in told
    assert [line for line in told.splitlines() if "recognized" in line or "YStore" in line] == []


@pytest.mark.engines
def test_cookie_opens_nothing_but_where_no_other_server_is_sent_it(link: str) -> None:
    """A browser has it for a path of this server alone, and shown anywhere else it is worth nothing."""
    outside = link.split("/?")[0]
    base, cookies, _ = cookies_of(link)
    place = base.removeprefix(outside)

    there = [status_of(f"{base}{path}", Cookie=cookies) for path in ("/lab", "/api/contents", "/api/terminals")]
    elsewhere = {path: status_of(f"{outside}{path}", Cookie=cookies) for path in CLOSED}

    assert re.fullmatch("/[0-9a-f]{24}", place)
    assert there == [200] * 3
    assert set(elsewhere.values()) == {403}, elsewhere


def test_place_of_the_cookie_is_told_to_nobody_without_the_token(link: str) -> None:
    """No page, redirect or header of the server has it; who has the token is led there."""
    outside = link.split("/?")[0]
    place = cookies_of(link)[0].removeprefix(outside)

    told = [path for path in (*CLOSED, "/api", "/none", f"{place[:-1]}/lab") if place in whole_answer(outside, path)]

    assert told == []
    assert place in whole_answer(outside, "/?" + link.partition("?")[2])


def test_cookies_are_not_sent_with_another_sites_forms(link: str) -> None:
    """Each cookie says SameSite, and the one that opens the server is out of reach for scripts."""
    cookies = answer_headers(link).get_all("Set-Cookie") or []

    assert {each.split("=")[0].split("-")[0] for each in cookies} == {"username", "_xsrf"}
    assert [each for each in cookies if "samesite=lax" not in each.lower()] == []
    assert [each for each in cookies if each.startswith("username") and "HttpOnly" not in each] == []


def test_foreign_host_is_refused_with_the_token(link: str) -> None:
    """A page that rebinds its name to 127.0.0.1 gets 403 even with the token; localhost gets 200."""
    number = link.split(":")[2].split("/")[0]

    assert status_of(link, Host=f"evil.example:{number}") == 403
    assert status_of(link, Host=f"localhost:{number}") == 200


def test_data_loaders_can_share_more_than_the_engine_gives(running: Clone) -> None:
    """A program puts 256 MB into shared memory, where the engine's 64 MB would end it with SIGBUS."""
    code = (
        "from multiprocessing import shared_memory as s\n"
        "m = s.SharedMemory(create=True, size=2**28); m.buf[:] = bytes(2**28); m.unlink()"
    )

    done = running.inside("python", "-c", code)

    assert done.returncode == 0, done.stderr


@pytest.mark.engines
def test_limits_have_defaults_and_keys(running: Clone) -> None:
    """Limits let people work, memory up to a share of the machine's, and each key of docker/.env changes its own."""
    folder = running.root / "docker"
    values = running.values()
    keys: dict[str, Any] = {
        **values,
        "CPU_LIMIT": "0.5",
        "MEMORY_LIMIT": "1g",
        "PIDS_LIMIT": "99",
        "SHM_SIZE": "1g",
        "LOG_SIZE": "1m",
    }
    host = json.loads(docker("inspect", running.container_id()))[0]["HostConfig"]

    config = running.run("docker", "compose", "config", "--format", "json", cwd=folder, **keys)

    server = json.loads(config.stdout)["services"]["jupyterlab-server"]
    share = int(values["MEMORY_LIMIT"].removesuffix("m")) * 2**20
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (share, 0, 8192)
    assert host["Tmpfs"]["/dev/shm"].startswith("size=50%")  # noqa: S108
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
    assert (server["cpus"], int(server["mem_limit"]), server["pids_limit"]) == (0.5, 2**30, 99)
    assert server["tmpfs"] == ["/dev/shm:size=1g,mode=1777"]  # noqa: S108
    assert server["logging"]["options"]["max-size"] == "1m"


def test_each_container_has_a_token_of_its_own(running: Clone, link: str) -> None:
    """A link of yesterday opens nothing; a restart of the same container keeps its link. Only its user reads it."""
    first = token_in(running)
    mode = running.inside("sh", "-c", 'stat -c %a:%u "${JUPYTER_TOKEN_FILE}"').stdout.strip()
    docker("restart", running.container_id())
    restarted = token_in(running)

    running.succeed("down")
    new_link = running.succeed("up", "--yes").splitlines()[-1]

    second = token_in(running)
    assert link.endswith(first)
    assert mode == f"600:{running.values()['UID']}"
    assert restarted == first
    assert len(second) == 48
    assert second != first
    assert new_link.endswith(second)
    assert status_of(new_link.replace(second, first)) == 403


@pytest.mark.engines
def test_rotation_shuts_out_the_old_link_and_its_browsers(running: Clone) -> None:
    """Another link opens the same server, whose kernels go on; a restart does not let the old browser in again."""
    old = running.succeed("url").splitlines()[-1]
    base, cookies, _ = cookies_of(old)
    kernel = str(api(old, "kernels", method="POST", body={"name": "python3"})["id"])
    before = status_of(f"{base}/api/contents", Cookie=cookies)

    new = running.succeed("url", "--rotate").splitlines()[-1]

    after = status_of(f"{base}/api/contents", Cookie=cookies)
    page = text_of(new.replace("/?", "/lab?"))
    kernels = [each["id"] for each in cast("list[dict[str, str]]", api(new, "kernels"))]
    docker("restart", running.container_id())
    wait_until(lambda: status_of_restarted(new) == 200, timeout_s=180, what="the restarted server")
    again = status_of(f"{base}/api/contents", Cookie=cookies), status_of(f"{cookies_of(new)[0]}/lab", Cookie=cookies)
    assert (before, after, *again) == (200, 403, 403, 403)
    assert (status_of(old), status_of(new)) == (403, 200)
    assert kernel in kernels
    assert new.rpartition("token=")[2] in page
    assert old.rpartition("token=")[2] not in page


def test_other_address_is_opened_and_closed_again(running: Clone) -> None:
    """--bind says what it opens, so does doctor; a foreign name gets 403 there; going back closes it."""
    address = docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
    opened = running.task("up", "--yes", "--bind", address)
    link = opened.stdout.splitlines()[-1]
    number = link.split(":")[2].split("/")[0]
    by_address, by_name = status_of(link), status_of(link, Host=f"evil.example:{number}")
    judged = {each["code"]: each for each in json.loads(running.task("doctor", "--json").stdout)}
    again = running.task("up", "--yes")

    running.succeed("up", "--yes", "--bind", "127.0.0.1")

    assert opened.returncode == 0, opened.stderr
    assert link.startswith(f"http://{address}:")
    assert (by_address, by_name) == (200, 403)
    assert (judged["reach"]["state"], judged["reach"]["fix"]) == ("warn", "invoke up --bind 127.0.0.1")
    assert "is open to other machines" in opened.stderr
    assert "is open to other machines" in again.stderr
    with pytest.raises(OSError, match="refused"):
        status_of(link)
    assert docker("port", running.container_id()) == f"8888/tcp -> 127.0.0.1:{number}"
    assert "JUPYTER_BIND" not in running.values()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_address_of_ones_own_opens_nothing_to_others(running: Clone) -> None:
    """127.0.0.2 is this machine only, answers to its own link, and has cookies that 127.0.0.1 is not sent."""
    link = running.succeed("up", "--yes", "--bind", "127.0.0.2").splitlines()[-1]
    opened = status_of(link)
    judged = {each["code"]: each["state"] for each in json.loads(running.task("doctor", "--json").stdout)}

    running.succeed("up", "--yes", "--bind", "127.0.0.1")

    assert link.startswith("http://127.0.0.2:")
    assert (opened, judged["reach"]) == (200, "ok")
