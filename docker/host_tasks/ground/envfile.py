"""docker/.env: read strictly, changed in place, written at once.

Compose and python-dotenv read this file by two grammars that differ (compose-go dotenv/parser.go, python-dotenv
parser.py). A file that Compose cannot read is refused, and so is an own key that the two read differently. Another key
may differ: the person who writes FOO=$HOME may want Compose to expand it; `read` returns it as it is written.
"""

import io
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from host_tasks.ground import files, lock
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ENV_FILE, shown
from host_tasks.observe.network import PROXIES

OWN_KEYS = (
    *("USER", "UID", "GID", "APP_USER"),
    *("COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "BASE_IMAGE", "CA_BUNDLE", "PIP_CONFIG"),
    *PROXIES,
)
HEADER = "# Written by `invoke env`: who you are, and what was chosen for this clone."

_BOM = "\ufeff"
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_STRAY = re.compile(rf"\r(?!\n)|[\x00{_BOM}\ud800-\udfff]")
_DOUBTS = {  # by name: the quotes in which it is one, and how to find it
    "a backslash": (("'", '"', ""), re.compile(r"\\")),
    "a single quote": (("'", '"', ""), re.compile(r"'")),
    "a control character": (("'", '"', ""), re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")),
    "a $ outside single quotes": (('"', ""), re.compile(r"\$")),
    "a # or a blank outside quotes": (("",), re.compile(r"^#|(?! )\s")),
}
_EXPANSION = re.compile(r"\$\{(?![A-Za-z_]\w*(?:\}|:?[-+?].*\}))", re.ASCII | re.DOTALL)
# What both grammars take for one statement. Compose lets a backslash protect any quote, starts a comment after a bare
# value at " #" only, and goes on with a further statement behind a closing quote.
_STATEMENT = re.compile(
    r"""(?P<blank>(?:[ \t]*\r?\n)*)
    (?:
        [ \t]*(?:\#[^\r\n]*)?
      | [ \t]*(?P<alone>[^\W\d][\w.\[\]-]*)[ \t]*(?=\r?\n)
      | (?P<head>[ \t]*(?:export[ \t]+)?(?P<key>[^\W\d][\w.\[\]-]*)[ \t]*=[ \t]*)
        (?: (?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")(?P<after>[ \t]*(?:\#[^\r\n]*)?)
          | (?P<bare>(?!['"])[^\r\n]*?)(?P<tail>(?:[ \t]*[ ]\#[^\r\n]*)?[ \t]*)
        )
    )
    (?P<end>\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Change:
    """One own key that gets another value; None = the key is not in the file."""

    key: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        """Return the change as `--dry-run` prints it."""
        if self.new is None:
            return f"remove {self.key}"
        if self.old is None:
            return f"add {self.key}={render(self.new)}"
        return f"{self.key} {render(self.old)} -> {render(self.new)}"


@dataclass(frozen=True)
class Plan:
    """What the file holds and what it shall hold."""

    path: Path
    before: bytes | None  # None: there is no file
    after: bytes
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.changes)

    def __str__(self) -> str:
        """Return one line for each change."""
        return "\n".join(f"{shown(self.path)}: {change}" for change in self.changes or ("nothing to change",))


@dataclass(frozen=True)
class _Piece:
    """A statement, a comment or blank lines, as they stand in the file."""

    match: re.Match[str]
    line: int  # 1-based, of the key
    key: str | None  # None: a comment, blanks, or a name alone, which Compose takes from the shell
    value: str

    def with_value(self, value: str | None) -> str:
        """Return the text with another value, its inline comment kept; None removes the line, comment and all."""
        blank, head, after, tail, end = self.match.group("blank", "head", "after", "tail", "end")
        # Behind a quote the comment may follow at once, behind a bare value Compose wants a space.
        tail = re.sub(r"^([ \t]*\t)?#", r"\1 #", after or tail or "")
        return blank if value is None else blank + head + render(value, key=self.key or "") + tail + end


def read(path: Path = ENV_FILE) -> dict[str, str]:
    """Return every KEY=value of the file, the last one where a key is repeated; {} where there is no file.

    Raises:
        HostError: a line is malformed, or gives an own key two meanings (78); unreadable (77); not a file (73).
    """
    return {piece.key: piece.value for piece in _pieces(_content(path), path) if piece.key}


def line_numbers(path: Path = ENV_FILE) -> dict[str, int]:
    """Return the 1-based line of each key of `read`, the last one where a key is repeated."""
    return {piece.key: piece.line for piece in _pieces(_content(path), path) if piece.key}


def render(value: str, *, key: str = "the value") -> str:
    """Return a value as both readers read it back: bare, or in single quotes (empty too: a comment may follow).

    Raises:
        HostError: the two would read it differently (65).
    """
    if doubt := _doubt(value, "'"):
        raise HostError(
            f"{key} holds {doubt}, which Compose and python-dotenv read differently: {value!r}",
            fix=f"choose a value without {doubt}",
            code=ExitCode.DATA,
        )
    return value if _BARE.fullmatch(value) else f"'{value}'"


def plan(values: Mapping[str, str | None], path: Path = ENV_FILE) -> Plan:
    """Return what would change for these own keys; None removes a key, and a key not named stays.

    A repeated key gets the new value on each of its lines, if its last one differs. Reads the file, writes nothing.

    Raises:
        HostError: as `read` and `render` do.
    """
    if foreign := sorted(set(values) - set(OWN_KEYS)):
        raise ValueError(f"not keys of this project: {foreign}")
    before = _content(path)
    pieces = _pieces(before, path)
    now = {piece.key: piece.value for piece in pieces if piece.key}
    changes = tuple(Change(key, now.get(key), new) for key, new in values.items() if now.get(key) != new)
    wanted = {change.key: change.new for change in changes}
    text = "".join(piece.with_value(wanted[piece.key]) if piece.key in wanted else piece.match[0] for piece in pieces)
    added = [f"{key}={render(new, key=key)}" for key, new in wanted.items() if new is not None and key not in now]
    bom = _BOM if (before or b"").startswith(_BOM.encode()) else ""
    return Plan(path, before, (bom + _appended(text, added)).encode(), changes)


def write(plan: Plan) -> None:
    """Replace the file at once; the caller holds the lock. Mode, owner (for root) and a symbolic link are kept.

    Raises:
        HostError: the folder is not writable (73), or its disk is full (74); the file is as it was.
    """
    files.write(plan.path, plan.after if plan.changed else None)


def update(values: Mapping[str, str | None], path: Path = ENV_FILE) -> Plan:
    """Plan and write under the lock, for a caller that does not hold it: the lock is not reentrant."""
    with lock.held(path.with_name(".lock")):
        planned = plan(values, path)
        write(planned)
    return planned


def _content(path: Path) -> bytes | None:
    """Return the bytes of the file; None where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise HostError(
                f"{shown(path)} is not a file",
                fix=f"mv {path_word(path)} {path_word(path)}.old",
                code=ExitCode.CANNOT_CREATE,
            )
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise HostError(
            f"{shown(path)} cannot be read: {err.strerror}",
            fix=f"make it readable for you: chmod u+rw {shown(path)}",
            code=ExitCode.PERMISSION if isinstance(err, PermissionError) else ExitCode.IO,
        ) from err


def _pieces(content: bytes | None, path: Path) -> list[_Piece]:
    """Return the file cut into its statements; together their texts are the file, without its byte order mark."""
    text = (content or b"").decode(errors="surrogateescape").removeprefix(_BOM)
    if stray := _STRAY.search(text):
        line = text[: stray.start()].count("\n") + 1
        raise _refused(
            path, line, "a byte stands here that is not UTF-8, or a NUL, byte order mark or lone carriage return"
        )
    pieces = []
    for binding in parse_stream(io.StringIO(text)):
        raw = binding.original.string
        line = binding.original.line + raw[: len(raw) - len(raw.lstrip())].count("\n")
        match = _STATEMENT.fullmatch(raw)
        if match is None or binding.error:
            start = raw.strip().partition("=")[0][:40]  # the value may be a secret
            raise _refused(path, line, f"{start!r} begins no KEY=value, or its quotes do not close")
        if reason := _objection(match):
            raise _refused(path, line, reason)
        pieces.append(_Piece(match, line, match["key"], binding.value or ""))
    return pieces


def _refused(path: Path, line: int, reason: str) -> HostError:
    """Return the error for one line of the file."""
    return HostError(
        f"{shown(path)}:{line}: {reason}",
        fix=f"correct or remove line {line}, then run: {task_command('env')}",
        code=ExitCode.CONFIG,
    )


def _objection(match: re.Match[str]) -> str | None:
    """Return why a statement cannot be taken, by both readers for an own key and by Compose for another; or None."""
    key, alone, quoted, bare = match.group("key", "alone", "quoted", "bare")
    quote = (quoted or "")[:1]
    if alone in OWN_KEYS:
        return f"{alone} has no value"
    if key in OWN_KEYS:
        doubt = _doubt(quoted[1:-1] if quote else bare, quote)
        return doubt and f"{key} holds {doubt}, which Compose and python-dotenv read differently"
    if key is None or quote == "'":
        return None
    # compose-go template.go; in double quotes a backslash protects what follows it
    text = (re.sub(r"\\.", "", quoted, flags=re.DOTALL) if quote else bare).replace("$$", "")
    broken = _EXPANSION.search(text) or text.count("${") > text.count("}")
    return f"Compose cannot expand the value of {key}" if broken else None


def _doubt(value: str, quote: str) -> str | None:
    """Return what in a value, between these quotes or bare (""), the two readers may take differently; or None."""
    return next((name for name, (quotes, found) in _DOUBTS.items() if quote in quotes and found.search(value)), None)


def _appended(text: str, lines: Iterable[str]) -> str:
    """Return the text with lines added under HEADER, in its line ending and with or without a last one, as it was."""
    block = [*([] if HEADER in text else [HEADER]), *lines]
    if block in ([], [HEADER]):
        return text
    newline: str = (re.findall(r"\r?\n", text) or ["\n"])[-1]
    if text and not text.endswith("\n"):
        return newline.join([text, *block])
    return text + newline.join([*block, ""])
