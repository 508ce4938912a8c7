"""Names and texts from containers, files and other programs: a terminal obeys none, and none is a line of its own."""

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from observed import GIB, INPUTS, Seen, base, beside, crossing, engine, examined, place, server

from host_tasks import goals
from host_tasks.extras import record
from host_tasks.extras.record import Package
from host_tasks.kit import report, runner
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import plan
from host_tasks.setup.basics import error_text, shell_word
from host_tasks.subjects import compose, containers, doctor, explain, mounts, services, status
from host_tasks.subjects.explain import Explanation
from host_tasks.subjects.images import Built, Image

ROUNDS, AT_ONCE = 20, 50
ODD = "\x1b\x00\x07\x08\t\n\x0b\x0c\r\x1c\x7f\x85\x9b\u2028\u2029\u202e\u2066\u2069\udcff"
PIECES = [
    *ODD,
    *("\x1b[2J", "\x1b[1A", "\x1b]0;title\x07", "\x1b]52;c;cm0gLXJm\x07", "\x1b[31m", "\x1bP1$r\x1b\\", "\x1b[6n"),
    *("\nfail  mounts: forged", "\n      fix: forged", "\r\nerror: forged", "\u2028fix: forged"),
    *("data", " ", "'", '"', "\\", "$", "é", "名", "\u200d"),
]
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def texts(seed: int) -> list[str]:
    """Return random texts; none is empty."""
    chosen = random.Random(seed)  # noqa: S311 (no secret)
    return ["".join(chosen.choices(PIECES, k=chosen.randint(1, 8))) for _ in range(AT_ONCE)]


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no engine be asked."""
    monkeypatch.setattr(containers, "of_project", lambda project: ())
    monkeypatch.setattr(containers, "memory", lambda container: (GIB, GIB))
    monkeypatch.setattr(services, "_removed", lambda container: None)


def called(names: list[str]) -> Seen:
    """Return a clone in which folders, files, services, images and packages are called so, and programs say so."""
    first, second, third, *_ = names
    files = [name.translate({0: None, ord("/"): None}) for name in names]
    places = tuple(place(ROOT / f"data{name}", mode=0o444) for name in files)
    return examined(  # noqa: S604 (no call of a shell)
        containers=(
            server(health="unhealthy", last_check=first),
            beside(f"db{third}", status="created", error=second, config_hash=first),
        ),
        base=base(name=f"base{first}", system=second),
        image=Image("sha256:i", created=third),
        built=Built("sha256:i", {**INPUTS, first: "1"}),
        places=places,
        crossings=tuple(crossing(found.mount.source, read=False) for found in places),
        planted={ROOT / "src" / f"x{name}": why for name, why in zip(files, names, strict=True)},
        lock_inputs=(),
        by_hand=tuple(Package("conda", f"x{name}", name) for name in names),
        engine=engine(compose_said=first, said=second),
        shell={"COMPOSE_FILE": first},
        link=HostError(f"the server does not answer: {third}", fix=first, code=ExitCode.UNAVAILABLE),
    )


def print_all(names: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what every task prints that prints such names."""
    seen = called(names)
    doctor.print_findings(seen, goals.doctor())
    status.print_status(seen, json=False)
    with pytest.raises(HostError) as error:
        mounts.print_mounts(seen, json=False)
    report.lines(str(error.value.message))
    report.lines(explain.table([Explanation(name, name, name, name) for name in names]))
    report.lines(str(plan(seen, goals.up())))
    report.lines(str(plan(seen, [record.by_hand])))
    for name in names:
        report.lines(report.table(("package",), [(f"x{name}",)]))
        report.note(f"{name} is paused: it goes on.")
        report.command(name)
        report.result(f"x{name}")
        report.agreed(name, yes=True)
        report.lines(error_text(name, fix=name))
    return "".join(capsys.readouterr())


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_text_moves_the_cursor_or_starts_a_line(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What people paste from doctor, a plan or an error is ours: as many lines as with plain names, and no controls."""
    printed = print_all(texts(seed), capsys)
    plain = print_all([f"plain{number}" for number in range(AT_ONCE)], capsys)

    assert OBEYED.findall(printed) == []
    assert printed.count("\n") == plain.count("\n")


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get every text as it is, and a terminal gets nothing to obey."""
    names = [name.replace("\udcff", "") for name in texts(0)]
    report.as_json(names)
    printed = capsys.readouterr().out

    assert json.loads(printed) == names
    assert OBEYED.findall(printed) == []


@pytest.mark.skipif(os.name == "nt", reason="there is no bash")
def test_fix_names_the_very_file(tmp_path: Path) -> None:
    """A command that is pasted is one line, and names the file that is meant, whatever that is called."""
    for number, text in enumerate(texts(1)):
        path = tmp_path / f"{number}{text.translate({0: None, ord('/'): None})}"
        path.touch()
        word = shell_word(str(path))

        assert OBEYED.findall(word) == []
        subprocess.run(["bash", "-c", f"rm {word}"], check=True)
    assert list(tmp_path.iterdir()) == []


def test_lines_of_a_container_keep_their_colours_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`logs` passes on what programs colour; what they would have the terminal do is shown."""
    wanted = "\n".join(texts(2)) + "\n\x1b[31mred\x1b[0m\n"
    (tmp_path / "log").write_bytes(wanted.encode(errors="surrogateescape"))

    runner.run(["cat", "log"], cwd=tmp_path, logs=True, announce=False)
    printed = capfd.readouterr().out

    assert "\x1b[31mred\x1b[0m\n" in printed
    assert OBEYED.findall(re.sub(r"\x1b\[[0-9;]*m|\t|\r+(?=\n)", "", printed)) == []


def test_control_sequence_on_the_border_of_two_reads_is_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A sequence that comes in two pieces is judged as a whole; one that never ends is shown."""
    script = r"printf '\033[3'; sleep 0.3; printf '1mred\033]0;t'; sleep 0.3; printf 'itle\007\033['"

    runner.run(["sh", "-c", script], cwd=tmp_path, logs=True, announce=False)

    assert capfd.readouterr().out == r"\x1b[31mred\x1b]0;title\x07\x1b[".replace(r"\x1b[31m", "\x1b[31m")


@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
def test_step_of_a_build_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, terminal: bool
) -> None:
    """On a terminal Docker draws its progress by moves of lines; what sets titles or clears the screen is shown."""
    script = r"printf '\033[1A\033[2K\033[31mred\033[2J\033]52;c;eA==\007\n'"
    monkeypatch.setattr(runner, "_own_terminal", lambda stream: os.openpty() if terminal else None)

    runner.run(["sh", "-c", script], cwd=tmp_path, keep=True, announce=False)

    draws = "\x1b[1A\x1b[2K" if terminal else r"\x1b[1A\x1b[2K"
    assert capfd.readouterr().err.rstrip() == draws + "\x1b[31mred" + r"\x1b[2J\x1b]52;c;eA==\x07"


def test_last_lines_before_giving_up_are_those_of_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of a container's log is told as one, so none is taken for a fix of ours."""
    ill = server(status="exited", exit_code=1)
    seen = Seen(containers=(ill,), tried=[f"{services.START}8888"], project="study-1a2b3c4d")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "last_lines", lambda container: "one\n\x1b[2Jfix: forged\u2028fix: forged")
        patch.setattr(compose, "call_by_name", lambda *words, **options: None)
        services.give_up(seen)

    assert capsys.readouterr().err.splitlines() == [
        "jupyterlab-server | one",
        r"jupyterlab-server | \x1b[2Jfix: forged",
        "jupyterlab-server | fix: forged",
    ]
