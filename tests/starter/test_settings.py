"""Settings: what is observed meets what docker/.env keeps, and how that is judged, on a file of the test's own."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import observed
import pytest
from observed import settings as settings_of

from host_tasks import goals, loop
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import FAIL, OK, Finding, Rule, Seen
from host_tasks.subjects import clone, containers, identity, link, machine, network, services, settings
from host_tasks.subjects.containers import Container
from host_tasks.subjects.identity import Identity

GIB = 1024**3
INDEX = "https://index.example/simple"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB{}\n-----END CERTIFICATE-----\n"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker/.env of the test's own, on a machine with a known identity, no proxies, no index and one CA bundle."""
    path = tmp_path / ".env"
    monkeypatch.setattr(settings, "ENV_FILE", path)
    monkeypatch.setattr(identity, "observe", lambda: Identity("ada", 1815, 1852, "you"))
    monkeypatch.setattr(
        settings, "memory_limit", lambda total=0: {0: "7372m"}.get(total, f"{total * 9 // 10 // 2**20}m")
    )
    monkeypatch.setattr(settings, "PIP_CONFIG", tmp_path / ".pip.conf")
    monkeypatch.setattr(settings, "PROXY_CONFIG", tmp_path / ".proxies.conf")
    monkeypatch.setattr(settings, "CA_BUNDLE", tmp_path / ".ca-bundle.pem")
    names = [*network.CA_VARIABLES, *network.PROXIES, *map(str.lower, network.PROXIES), "XDG_CONFIG_HOME"]
    for name in (*names, "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ca.pem").write_text(CERTIFICATE.format(1), encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return path


def write(**choices: str | None) -> None:
    """Do the step that writes the settings, with choices."""
    settings.write(Seen(), **choices)


def judged() -> Finding:
    """Return what is said of docker/.env as it is now."""
    [finding] = settings.env_file.found(Seen())
    return finding


def written() -> dict[str, str]:
    """Return what docker/.env holds."""
    return settings.observe().kept


def kept(path: Path, **values: str) -> None:
    """Write a docker/.env that keeps these values."""
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")


def test_first_observation_plans_every_value_and_writes_nothing(env_file: Path, tmp_path: Path) -> None:
    """Observing changes nothing; what the file will hold is known before it is written."""
    found = settings.observe()

    values = {
        "USER": "ada",
        "UID": "1815",
        "GID": "1852",
        "APP_USER": "ada",
        "COMPOSE_PROJECT_NAME": clone.project_name(),
        "PROJECT_FOLDER": str(ROOT),
        "CA_BUNDLE": str(tmp_path / ".ca-bundle.pem"),
        "MEMORY_LIMIT": "7372m",
    }
    assert found.values == values
    assert {change.key: change.new for change in found.plan.changes} == values
    assert not env_file.exists()


def test_folder_that_no_env_file_can_hold_is_left_out(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone in a folder with a quote in its name is one like the others; only an editor's tool has to be told."""
    monkeypatch.setattr(settings, "ROOT", Path("/home/ada/it's"))

    assert "PROJECT_FOLDER" not in settings.observe().values


def test_file_whose_path_no_env_file_can_hold_goes_by_its_name(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone in a folder such as it's: Compose finds the copy of the certificates beside docker/.env all the same."""
    monkeypatch.setattr(settings, "CA_BUNDLE", tmp_path / "it's" / ".ca-bundle.pem")

    assert settings.observe().values["CA_BUNDLE"] == ".ca-bundle.pem"


def test_second_observation_changes_nothing(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was written is what is observed: the second `env` is a no-op, and the first says what it did."""
    first = settings.observe()
    write()
    said = capsys.readouterr().err
    before = env_file.stat().st_mtime_ns

    second = settings.observe()
    write()

    assert said.splitlines() == [f"{env_file}: {change}" for change in first.plan.changes]
    assert (second.plan.changes, second.values) == ((), first.values)
    assert env_file.stat().st_mtime_ns == before
    assert capsys.readouterr().err == ""


def test_shell_does_not_decide_who_it_is(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """USER, UID, GID and LOGNAME of the shell are never read."""
    monkeypatch.undo()
    expected = settings.observe().values
    for name in ("USER", "UID", "GID", "LOGNAME", "COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "BASE_IMAGE"):
        monkeypatch.setenv(name, "7777")

    assert settings.observe().values == expected
    assert not env_file.exists()


def test_choices_that_were_made_are_kept(env_file: Path) -> None:
    """A port, a base image and keys of the person's own stay where nothing else is asked for."""
    kept(env_file, JUPYTER_PORT="9000", BASE_IMAGE="mine:1", DATA_DIR="/srv")

    found = settings.observe()

    assert (found.values["JUPYTER_PORT"], found.values["BASE_IMAGE"]) == ("9000", "mine:1")
    assert "DATA_DIR" not in found.values
    write()
    assert written()["DATA_DIR"] == "/srv"


def test_new_choice_replaces_the_old(env_file: Path) -> None:
    """A port and a base image that are chosen win; None removes the line."""
    kept(env_file, JUPYTER_PORT="9000", BASE_IMAGE="mine:1")

    write(JUPYTER_PORT="9001", BASE_IMAGE=None)

    assert written()["JUPYTER_PORT"] == "9001"
    assert "BASE_IMAGE" not in written()
    assert "BASE_IMAGE" not in settings.observe().values


def test_choice_is_written_once_it_has_come_true(env_file: Path) -> None:
    """What this call chose counts at once, and stands in docker/.env only after the server runs by it."""
    asked = {"JUPYTER_PORT": "9000", "HARDENED": "yes", "DASK_WORKERS": None}
    files = os.pathsep.join(["docker-compose.yml", "docker-compose.hardened.yml"])
    settings.write(Seen(asked=asked))
    before = written()

    found = settings.now(Seen(asked=asked))
    [finding] = settings.choices_kept.found(Seen(asked=asked))
    assert finding.step is not None
    finding.step.do(Seen(asked=asked))

    new = {"JUPYTER_PORT": "9000", "HARDENED": "yes", "COMPOSE_FILE": files}
    assert not set(new) & set(before)
    assert (found.plan.changes, found.values) == ((), {**before, **new})
    assert written() == {**before, **new}
    assert list(settings.choices_kept.found(Seen(asked=asked))) == []


@pytest.mark.parametrize("task", [goals.up, goals.restarted])
def test_choice_is_kept_after_the_start(task: Callable[[], tuple[Rule, ...]]) -> None:
    """A build or a start that fails leaves the next plain `up` what it was."""
    rules = task()

    assert rules.index(services.services) < rules.index(settings.choices_kept) < rules.index(link.answers)


@pytest.mark.parametrize("port", ["abc", "0", "80", "70000", "-1", "9" * 30, "9" * 5000])
def test_port_in_the_file_that_is_none_ends_with_78(env_file: Path, port: str) -> None:
    """A port written by hand that cannot be one is named with file and line; the file stays as it was."""
    kept(env_file, USER="ada", JUPYTER_PORT=port)
    before = env_file.read_bytes()

    found = judged()

    assert (found.state, found.exit_code, found.step) == (FAIL, ExitCode.CONFIG, None)
    assert found.cause == f"{env_file}:2: JUPYTER_PORT={port} is not between 1024 and 65535"
    assert env_file.read_bytes() == before


def test_empty_port_in_the_file_is_none(env_file: Path) -> None:
    """Compose takes its default for an empty value, and so does this."""
    kept(env_file, JUPYTER_PORT="")

    assert settings.observe().values["JUPYTER_PORT"] == ""


def test_ca_bundle_that_a_person_chose_stays_while_it_exists(env_file: Path, tmp_path: Path) -> None:
    """The file of docker/.env wins over this machine's until it is gone."""
    own = tmp_path / "own.pem"
    own.touch()
    kept(env_file, CA_BUNDLE=str(own))

    assert settings.observe().values["CA_BUNDLE"] == str(own)
    own.unlink()
    assert settings.observe().values["CA_BUNDLE"] == str(tmp_path / ".ca-bundle.pem")


def test_certificates_of_this_machine_are_copied_once_each(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine may not see the machine's own file, and BuildKit takes no more than 500 KiB."""
    copy, other = tmp_path / ".ca-bundle.pem", tmp_path / "other.pem"
    one, two = CERTIFICATE.format(1), CERTIFICATE.format(2)
    other.write_text(f"# the first\n{one}{two}# the first again\n{one}", encoding="utf-8")
    write()
    before = copy.read_text(encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    found = judged()

    write()

    assert before == one
    assert found.cause == f"{copy} does not hold what this machine says now"
    assert (copy.read_text(encoding="utf-8"), judged().state) == (one + two, OK)
    assert written()["CA_BUNDLE"] == str(copy)


def test_certificates_stay_in_a_shell_that_trusts_none(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose refuses a secret without its file, so what docker/.env names stays."""
    write()
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(network, "CA_FILES", ())

    assert settings.observe().values["CA_BUNDLE"] == str(tmp_path / ".ca-bundle.pem")
    assert judged().state == OK


def test_ca_bundle_that_is_relative_is_seen_from_docker(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose sees a relative path of its .env from docker/, wherever the task is run."""
    kept(env_file, CA_BUNDLE="ca-bundle.pem")
    monkeypatch.chdir(tmp_path)

    assert settings.observe().values["CA_BUNDLE"] == "ca-bundle.pem"


def test_index_of_pip_follows_the_shell_that_names_one(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index goes to a file beside docker/.env; another index changes the file even where docker/.env stays."""
    config = tmp_path / ".pip.conf"
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    write()
    assert written()["PIP_CONFIG"] == str(config)
    monkeypatch.setenv("PIP_INDEX_URL", f"{INDEX}/2")
    before = judged()

    write()

    assert (before.state, before.step and before.step.what, judged().state) == (FAIL, f"write {config}", OK)
    assert config.read_text(encoding="utf-8") == f"[global]\nindex-url = {INDEX}/2\n"


def test_index_of_pip_stays_in_a_shell_that_names_none(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker/.env names the file, so it must stay, whatever else changes: Compose refuses a secret without its file."""
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    write()
    monkeypatch.delenv("PIP_INDEX_URL")

    write(JUPYTER_PORT="9001")

    assert written()["PIP_CONFIG"] == str(tmp_path / ".pip.conf")
    assert (tmp_path / ".pip.conf").exists()


@pytest.mark.parametrize("there", [None, "old"], ids=["new", "there already"])
def test_configuration_of_pip_is_readable_by_its_owner_only(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str | None
) -> None:
    """It may hold a password: 0600 from its first moment, whatever the umask and whatever was there."""
    config = tmp_path / ".pip.conf"
    if there:
        config.write_text(there, encoding="utf-8")
        config.chmod(0o644)
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@index.example/simple")
    previous = os.umask(0)

    try:
        write()
    finally:
        os.umask(previous)

    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert config.read_text(encoding="utf-8") == "[global]\nindex-url = https://me:secret@index.example/simple\n"


def test_unchanged_configuration_of_pip_is_not_written_again(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running container has the file mounted: what has not changed stays the same file."""
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    write()
    before = (tmp_path / ".pip.conf").stat()

    write(JUPYTER_PORT="9001")

    after = (tmp_path / ".pip.conf").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_changed_configuration_of_pip_is_the_same_file(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running container has the file mounted, and would never see another one that took its place."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{INDEX}/a-longer-one")
    write()
    before = (tmp_path / ".pip.conf").stat()
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)

    write()

    assert (tmp_path / ".pip.conf").stat().st_ino == before.st_ino
    assert (tmp_path / ".pip.conf").read_text(encoding="utf-8") == f"[global]\nindex-url = {INDEX}\n"


def test_proxies_go_to_a_file_while_there_are_any(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in a container's environment shows in `docker inspect`; the file is its owner's only."""
    proxies = tmp_path / ".proxies.conf"
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:1")
    monkeypatch.setenv("NO_PROXY", "localhost")
    write()
    text, mode, named = proxies.read_text(encoding="utf-8"), proxies.stat().st_mode, written()["PROXY_CONFIG"]
    monkeypatch.delenv("https_proxy")
    monkeypatch.delenv("NO_PROXY")
    kept(env_file, **{key: value for key, value in written().items() if not key.endswith("_PROXY")})

    write()

    assert text == "HTTPS_PROXY=http://me:secret@proxy:1\nNO_PROXY=localhost\n"
    assert (stat.S_IMODE(mode), named) == (0o600, str(proxies))
    assert "PROXY_CONFIG" not in written()


# What nobody else may read


@pytest.fixture
def secrets(env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker/secrets of the test's own, with a README that is no secret."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "README.md").touch(mode=0o644)
    monkeypatch.setattr(settings, "SECRETS_DIR", folder)
    kept(env_file)
    env_file.chmod(0o600)
    return folder


def exposed(uid: int) -> dict[str, str]:
    """Return the files that are not their owner's only."""
    return {
        path.name: why
        for path, why in settings.exposed(
            Seen({settings.now: settings_of(who=Identity("ada", uid, 100, "you"))})
        ).items()
    }


def test_files_that_others_can_read_are_closed(env_file: Path, secrets: Path) -> None:
    """docker/.env and each file of docker/secrets, below a folder too; what a link leads to is left alone."""
    (secrets / "team").mkdir(mode=0o755)
    (secrets / "team" / "key").touch(mode=0o640)
    (secrets / "link").symlink_to(__file__)
    env_file.chmod(0o644)
    mode = Path(__file__).stat().st_mode
    before = exposed(os.getuid())

    settings.close(Seen({clone.is_root: False}))

    assert before == {".env": "has the mode 0644", "team": "has the mode 0755", "key": "has the mode 0640"}
    assert exposed(os.getuid()) == {}
    assert Path(__file__).stat().st_mode == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a file away")
def test_secret_is_given_to_who_reads_it(secrets: Path) -> None:
    """Where root runs the tasks, the container's user could not read a file that is root's and nobody else's."""
    (secrets / "key").touch(mode=0o600)
    before = exposed(1815)

    settings.close(Seen({clone.is_root: True}))

    assert before == {"key": "belongs to uid 0, and the container is 1815"}
    assert exposed(1815) == {}


# The Compose files


@pytest.mark.parametrize(
    ("named", "hardened", "expected"),
    [
        (None, "yes", "docker-compose.yml:docker-compose.hardened.yml"),
        ("docker-compose.yml:docker-compose.hardened.yml", None, None),
        ("docker-compose.yml:gpu.yml", "yes", "docker-compose.yml:docker-compose.hardened.yml:gpu.yml"),
        ("docker-compose.yml:docker-compose.hardened.yml:gpu.yml", None, "docker-compose.yml:gpu.yml"),
    ],
)
def test_hardened_container_is_a_further_compose_file(
    monkeypatch: pytest.MonkeyPatch, named: str | None, hardened: str | None, expected: str | None
) -> None:
    """Plain Compose reads the list in docker/.env too; files of a person's own stay."""
    monkeypatch.setattr(os, "pathsep", ":")

    assert settings.compose_file({"COMPOSE_FILE": named, "HARDENED": hardened}) == expected


def test_memory_is_limited_to_a_share_of_the_machine() -> None:
    """A kernel that takes more ends, and not the machine."""
    bytes_of_machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    share = settings.memory_limit()

    assert share is not None
    assert 0.89 < int(share.removesuffix("m")) * 2**20 / bytes_of_machine <= 0.9


@pytest.mark.parametrize(
    ("kept_now", "total", "limit"),
    [
        pytest.param({"MEMORY_LIMIT": "7372m"}, 8 * GIB, None, id="engine of this machine"),
        pytest.param({"MEMORY_LIMIT": "7372m"}, 4 * GIB, "3686m", id="Docker Desktop's machine has half of it"),
        pytest.param({}, 4 * GIB, "3686m", id="Windows tells no memory of its own"),
        pytest.param({"MEMORY_LIMIT": "3686m"}, 4 * GIB, None, id="written before"),
        pytest.param({"MEMORY_LIMIT": "20g"}, 4 * GIB, None, id="a person's"),
        pytest.param({"MEMORY_LIMIT": "7372m"}, 0, None, id="no engine answers"),
    ],
)
def test_memory_limit_goes_by_the_engines_memory(
    env_file: Path, kept_now: dict[str, str], total: int, limit: str | None
) -> None:
    """Nine tenths of what the engine has: of more, a kernel would take all of Docker Desktop's machine."""
    now = observed.settings(kept=kept_now)
    seen = observed.Seen(settings=now, engine_says={"MemTotal": total})

    found = list(machine.memory_limit.found(seen))

    assert [finding.step.what for finding in found if finding.step] == ([f"limit memory to {limit}"] if limit else [])


@pytest.mark.parametrize("key", ["BASE_IMAGE", "MEMORY_LIMIT"])
def test_key_that_is_taken_out_goes_or_is_said_anew(env_file: Path, key: str) -> None:
    """`env --unset` cures on every system what sed did on some; what this machine says comes back."""
    write(BASE_IMAGE="mine:1")
    kept(env_file, **{**written(), "MEMORY_LIMIT": "1g", "MINE": "x"})

    loop.achieve([settings.taken_out(key), settings.env_file])

    other = {"BASE_IMAGE": "mine:1", "MEMORY_LIMIT": "1g"}
    expected = {"BASE_IMAGE": {"MEMORY_LIMIT": "1g"}, "MEMORY_LIMIT": {**other, "MEMORY_LIMIT": "7372m"}}[key]
    assert {name: value for name, value in written().items() if name in other} == expected
    assert written()["MINE"] == "x"


def test_key_that_is_not_the_tasks_is_refused() -> None:
    """A line of a person's own is theirs to remove."""
    with pytest.raises(HostError) as refused:
        settings.taken_out("MINE")

    assert refused.value.code == ExitCode.USAGE


def test_memory_limit_of_a_person_stays(env_file: Path) -> None:
    """No limit is a choice too."""
    kept(env_file, MEMORY_LIMIT="0")

    assert settings.observe().values["MEMORY_LIMIT"] == "0"


# How it is judged


def test_reason_to_write_names_both_values(env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there and what is true are both named; a password of a proxy is not."""
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@proxy:2")
    kept(
        env_file,
        USER="ada",
        UID="7",
        GID="1852",
        APP_USER="ada",
        PROJECT_FOLDER=str(ROOT),
        HTTP_PROXY="http://me:older@proxy:1",
        CA_BUNDLE="/gone.pem",
        MEMORY_LIMIT="0",
    )

    found = judged()

    assert found.cause == (
        f"{env_file} says UID=7, but it is 1815; it says CA_BUNDLE=/gone.pem, but it is {tmp_path}/.ca-bundle.pem; "
        "it says HTTP_PROXY=http://****@proxy:1, but it is http://****@proxy:2; "
        f"it does not say COMPOSE_PROJECT_NAME={clone.project_name()}; "
        f"it does not say PROXY_CONFIG={tmp_path}/.proxies.conf"
    )
    assert found.step is not None
    assert found.step.touches == (
        f"UID, COMPOSE_PROJECT_NAME, CA_BUNDLE, PROXY_CONFIG, HTTP_PROXY in {env_file}; every other line stays"
    )


def test_file_that_is_true_has_no_step(env_file: Path) -> None:
    """Nothing is written where nothing changed."""
    write()

    found = judged()

    assert (found.cause, found.step) == (f"{env_file} is up to date: ada 1815:1852", None)


Left = dict[str, tuple[Container, ...]]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Left:
    """The containers of each project, which the test fills."""
    found: Left = {}
    monkeypatch.setattr(containers, "of_project", lambda project: found.get(project, ()))
    return found


@pytest.mark.parametrize(
    ("place", "named", "former"),
    [
        pytest.param("gone", None, True, id="moved"),
        pytest.param("still there", None, False, id="copied, and the original is there"),
        pytest.param("gone", "somebody-00000000", False, id="a name that is not that place's"),
        pytest.param("", "old-00000000", False, id="a place that nothing tells"),
    ],
)
def test_former_name_is_that_of_a_place_that_is_gone(
    place: str, named: str | None, env_file: Path, tmp_path: Path, left: Left, *, former: bool
) -> None:
    """What has a name that another clone may have is nobody's to take."""
    (tmp_path / "still there").mkdir()
    folder = str(tmp_path / place) if place else ""
    old = named or clone.project_name(Path(folder))
    kept(env_file, COMPOSE_PROJECT_NAME=old, PROJECT_FOLDER=folder)

    assert clone.former(Seen()) == (old if former else "")


@pytest.mark.parametrize(("place", "moved"), [("it's gone", True), ("it's there", False)])
def test_place_that_docker_env_cannot_hold_is_told_by_containers(
    place: str, env_file: Path, tmp_path: Path, left: Left, *, moved: bool
) -> None:
    """A path with a quote does not fit into docker/.env; what was started from there knows it."""
    (tmp_path / "it's there").mkdir()
    old = clone.project_name(tmp_path / place)
    left[old] = (Container("1", "old-1", project=old, folder=str(tmp_path / place / "docker")),)
    kept(env_file, COMPOSE_PROJECT_NAME=old)

    assert clone.former(Seen()) == (old if moved else "")


def test_clone_that_was_not_moved_asks_no_engine(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env` and `config` need none."""
    monkeypatch.setattr(containers, "of_project", lambda project: pytest.fail("asked"))
    write()

    [found] = clone.moved.found(Seen())

    assert found.state == "ok"
