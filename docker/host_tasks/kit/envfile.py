"""A .env file: read strictly, changed in place, written at once.

Compose and python-dotenv read such a file by two grammars that differ (compose-go dotenv/parser.go, python-dotenv
parser.py). A file that Compose cannot read is refused, and so is an own key that the two read differently. Another key
may differ: the person who writes FOO=$HOME may want Compose to expand it; `read` returns it as it is written.
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from host_tasks.kit import files
from host_tasks.kit.paths import shown
from host_tasks.kit.words import ExitCode, HostError, masked, path_word, task_command
from host_tasks.setup.basics import fix_access

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
_NAMED = re.compile(r"\s*(?:export[ \t]+)?([A-Za-z_]\w{0,39})[ \t]*[=:]", re.ASCII)
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
        old, new = (None if each is None else render(masked(self.key, each)) for each in (self.old, self.new))
        if new is None:
            return f"remove {self.key}"
        return f"add {self.key}={new}" if old is None else f"{self.key} {old} -> {new}"


@dataclass(frozen=True)
class Plan:
    """What the file holds and what it shall hold."""

    path: Path
    before: bytes | None  # None: there is no file
    after: bytes
    changes: tuple[Change, ...]


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


@dataclass(frozen=True)
class EnvFile:
    """A .env file, of which some keys are ours and every other line is a person's."""

    path: Path
    own_keys: tuple[str, ...]
    header: str  # a comment over the lines that are added

    def read(self) -> dict[str, str]:
        """Return every KEY=value of the file, the last one where a key is repeated; {} where there is no file.

        Raises:
            HostError: a line is malformed, or gives an own key two meanings (78); unreadable (77); not a file (73).
        """
        return {piece.key: piece.value for piece in self._pieces(_content(self.path)) if piece.key}

    def line_numbers(self) -> dict[str, int]:
        """Return the 1-based line of each key of `read`, the last one where a key is repeated."""
        return {piece.key: piece.line for piece in self._pieces(_content(self.path)) if piece.key}

    def plan(self, values: Mapping[str, str | None]) -> Plan:
        """Return what would change for these own keys; None removes a key, and a key not named stays.

        A repeated key gets the new value on each of its lines, if its last one differs. Reads the file, writes nothing.

        Raises:
            HostError: as `read` and `render` do.
        """
        if foreign := sorted(set(values) - set(self.own_keys)):
            raise ValueError(f"not keys of this project: {foreign}")
        before = _content(self.path)
        pieces = self._pieces(before)
        now = {piece.key: piece.value for piece in pieces if piece.key}
        changes = tuple(Change(key, now.get(key), new) for key, new in values.items() if now.get(key) != new)
        wanted = {change.key: change.new for change in changes}
        text = "".join(
            piece.with_value(wanted[piece.key]) if piece.key in wanted else piece.match[0] for piece in pieces
        )
        added = [f"{key}={render(new, key=key)}" for key, new in wanted.items() if new is not None and key not in now]
        bom = _BOM if (before or b"").startswith(_BOM.encode()) else ""
        return Plan(self.path, before, (bom + _appended(text, added, self.header)).encode(), changes)

    def _pieces(self, content: bytes | None) -> list[_Piece]:
        """Return the file cut into its statements; together their texts are the file, without its byte order mark."""
        text = (content or b"").decode(errors="surrogateescape").removeprefix(_BOM)
        if stray := _STRAY.search(text):
            reason = "a byte stands here that is not UTF-8, or a NUL, byte order mark or lone carriage return"
            raise self._refused(text[: stray.start()].count("\n") + 1, reason)
        pieces = []
        for binding in parse_stream(io.StringIO(text)):
            raw = binding.original.string
            line = binding.original.line + raw[: len(raw) - len(raw.lstrip())].count("\n")
            match = _STATEMENT.fullmatch(raw)
            if match is None or binding.error:
                key = _NAMED.match(raw)  # and nothing else of the line, which may be a secret
                what = f"the line of {key[1]}" if key else "this line"
                raise self._refused(line, f"{what} is no KEY=value, or its quotes do not close")
            if objection := _objection(match, self.own_keys):
                raise self._refused(line, objection)
            pieces.append(_Piece(match, line, match["key"], binding.value or ""))
        return pieces

    def _refused(self, line: int, reason: str) -> HostError:
        """Return the error for one line of the file."""
        fix = f"correct or remove line {line}, then run: {task_command('env')}"
        return HostError(f"{shown(self.path)}:{line}: {reason}", fix=fix, code=ExitCode.CONFIG)


def render(value: str, *, key: str = "the value") -> str:
    """Return a value as both readers read it back: bare, or in single quotes (empty too: a comment may follow).

    Raises:
        HostError: the two would read it differently (65).
    """
    if doubt := _doubt(value, "'"):
        problem = f"{key} holds {doubt}, which Compose and python-dotenv read differently: {masked(key, value)!r}"
        raise HostError(problem, fix=f"choose a value without {doubt}", code=ExitCode.DATA)
    return value if _BARE.fullmatch(value) else f"'{value}'"


def can_hold(value: str) -> bool:
    """Return whether `render` takes a value."""
    return _doubt(value, "'") is None


def write(plan: Plan) -> None:
    """Replace the file where there is a change; the caller holds the lock. Mode, owner (for root) and a link are kept.

    Raises:
        HostError: the folder is not writable (73), or its disk is full (74); the file is as it was.
    """
    if plan.changes:
        files.write(plan.path, plan.after)


def _content(path: Path) -> bytes | None:
    """Return the bytes of the file; None where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            fix = f"mv {path_word(path)} {path_word(path)}.old"
            raise HostError(f"{shown(path)} is not a file", fix=fix, code=ExitCode.CANNOT_CREATE)
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as err:
        code = ExitCode.PERMISSION if isinstance(err, PermissionError) else ExitCode.IO
        raise HostError(f"{shown(path)} cannot be read: {err.strerror}", fix=fix_access(str(path)), code=code) from err


def _objection(match: re.Match[str], own_keys: Container[str]) -> str | None:
    """Return why a statement cannot be taken, by both readers for an own key and by Compose for another; or None."""
    key, alone, quoted, bare = match.group("key", "alone", "quoted", "bare")
    quote = (quoted or "")[:1]
    if alone in own_keys:
        return f"{alone} has no value"
    if key in own_keys:
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


def _appended(text: str, lines: Sequence[str], header: str) -> str:
    """Return the text with lines added under the header; its line ending, and whether the last has one, stay."""
    if not lines:
        return text
    block = [*([] if header in text else [header]), *lines]
    newline: str = (re.findall(r"\r?\n", text) or ["\n"])[-1]
    if text and not text.endswith("\n"):
        return newline.join([text, *block])
    return text + newline.join([*block, ""])
