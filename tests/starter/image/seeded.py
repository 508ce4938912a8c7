"""Notebooks with something in them that makes results hard to get again, each with what has to be said of it."""

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

WIDGET = "application/vnd.jupyter.widget-view+json"
RED, BLUE = bytes((255, 0, 0)), bytes((0, 0, 255))


class Seed(NamedTuple):
    """A notebook: the state that is true of it, the kind of its difference, and its cells."""

    state: str
    kind: str
    cells: list[dict[str, Any]]
    kernel: str = "python3"


def code(source: str, *outputs: Mapping[str, Any], count: int | None = 1, tags: Iterable[str] = ()) -> dict[str, Any]:
    """Return a cell of code with what is stored of it; count None = it was never run."""
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": source,
        "outputs": list(outputs),
        "execution_count": count,
    }


def bare(source: str) -> dict[str, Any]:
    """Return a cell of which nothing is stored."""
    return code(source, count=None)


def said(text: str, name: str = "stdout") -> dict[str, Any]:
    """Return what a cell has printed."""
    return {"output_type": "stream", "name": name, "text": text}


def shown(**data: Any) -> dict[str, Any]:
    """Return what a cell displays, by its types with _ for /."""
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {kind.replace("_", "/", 1): value for kind, value in data.items()},
    }


def result(text: str, **data: Any) -> dict[str, Any]:
    """Return the value of a cell."""
    return {**shown(text_plain=text, **data), "output_type": "execute_result", "execution_count": 1}


def raised(name: str, message: str) -> dict[str, Any]:
    """Return an error as it is stored."""
    return {"output_type": "error", "ename": name, "evalue": message, "traceback": [f"/old/place: {name}"]}


def png(colour: bytes, *, size: int = 2, level: int = 9) -> str:
    """Return a square picture of one colour (PNG specification, 11.2), compressed as it is said."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + colour * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, level)), chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def picture(now: str, stored: str) -> list[dict[str, Any]]:
    """Return a cell that displays a picture, and what is stored of it."""
    source = f"from IPython.display import Image; import base64; Image(base64.b64decode({now!r}))"
    return [code(source, result("<IPython.core.display.Image object>", image_png=stored))]


def widget(text: str, stored: str) -> list[dict[str, Any]]:
    """Return a cell that displays a widget of which each kernel has another id."""
    source = f"import uuid; display({{{WIDGET!r}: {{'model_id': uuid.uuid4().hex}}, 'text/plain': {text!r}}}, raw=True)"
    output = shown(text_plain=stored)
    output["data"][WIDGET] = {"model_id": "0" * 32}
    return [code(source, output)]


STEPS = "for step in range(3): print(f'\\rstep {step}', end='')"
NEW_PICTURE = "import matplotlib.pyplot as plt, random\nplt.plot([random.random() for _ in range(9)]); plt.show()"
WARNING = "import warnings; warnings.warn('old')"
WARNED = f"/tmp/ipykernel_4711/1.py:1: UserWarning: old\n  {WARNING}\n"  # noqa: S108
NO = "no output stored"

SEEDS: dict[str, Seed] = {
    "printed": Seed("same", "", [code("print(1)", said("1\n"))]),
    "another text": Seed("differs", "text", [code("print('new')", said("old\n"))]),
    "another number": Seed("differs", "number", [code("print(0.5)", said("0.6\n"))]),
    "float noise": Seed("same", "", [code("print(0.1 + 0.2)", said("0.3\n"))]),
    "float noise in a table": Seed(
        *("same", ""),
        [
            code(
                "from IPython.display import HTML; HTML('<td>0.30000000000000004</td>')",
                result("<IPython.core.display.HTML object>", text_html="<td>0.3</td>"),
            )
        ],
    ),
    "error": Seed("fails", "", [code("1 / 0", said("1\n"))]),
    "hidden state": Seed("fails", "", [code("print(deleted)", said("3\n"), count=7)]),
    "name of a later cell": Seed("fails", "", [code("print(later)", said("3\n"), count=2), code("later = 3", count=1)]),
    "cell run twice": Seed("differs", "number", [code("n = 1"), code("n += 1; print(n)", said("3\n"), count=5)]),
    "cells run in another order": Seed(
        *("differs", "text"),
        [code("word = 'a'"), code("print(word)", said("b\n"), count=4), code("word = 'b'", count=3)],
    ),
    "time": Seed("unstable", "number", [code("import time; print(time.time())", said("1.5e9\n"))]),
    "random": Seed("unstable", "number", [code("import random; random.random()", result("0.5"))]),
    "seed": Seed(
        "same", "", [code("import random; random.seed(1); print(random.random())", said("0.13436424411240122\n"))]
    ),
    "order of a set": Seed("unstable", "text", [code("print(set('abcdefghijklmnopqrstuvwxyz'))", said("{'a'}\n"))]),
    "memory address": Seed("unstable", "text", [code("object()", result("<object at 0x7f0000000000>"))]),
    "absolute path": Seed("fails", "", [code("open('/home/somebody/table.csv').read()", result("''"))]),
    "missing file": Seed("fails", "", [code("open('missing.csv').read()", result("''"))]),
    "project's path": Seed(
        "same", "", [code("import os; print(os.getcwd())", said("/home/somebody/app/notebooks/seeded\n"))]
    ),
    "file of a run": Seed(
        *("same", ""),
        [
            code(
                "import pathlib; path = pathlib.Path('../../results/n'); print(path.exists()); path.touch()",
                said("False\n"),
            )
        ],
    ),
    "write to data": Seed("fails", "", [code("open('../../data/n', 'w').close()")]),
    "warning": Seed("same", "", [code(WARNING, said(WARNED, "stderr"))]),
    "progress": Seed("same", "", [code(STEPS, said("\rstep 0\rstep 1\rstep 2"))]),
    "progress with a rate": Seed(
        "unstable", "number", [code("import time; print(f'\\r{time.perf_counter()}')", said("1.5\n"))]
    ),
    "colours": Seed("same", "", [code("print('\\x1b[31mred\\x1b[0m')", said("red\n"))]),
    "widget": Seed("same", "", widget("IntSlider(value=5)", "IntSlider(value=5)")),
    "picture": Seed("same", "", picture(png(RED), png(RED))),
    "picture of the same pixels": Seed("same", "", picture(png(RED), png(RED, level=0))),
    "another picture": Seed("differs", "picture", picture(png(RED), png(BLUE))),
    "random plot": Seed("unstable", "picture", [code(NEW_PICTURE, shown(image_png=png(RED)))]),
    "plot that is not stored": Seed(NO, "", [bare("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")]),
    "huge output": Seed("same", "", [code("print('x' * 2_000_000)", said("x" * 2_000_000 + "\n"))]),
    "nothing stored": Seed(NO, "", [bare("print(1)")]),
    "no code": Seed("same", "", [{"cell_type": "raw", "metadata": {}, "source": "raw"}]),
    "no kernel": Seed("fails", "", [code("1", result("1"))], kernel="no-such-kernel"),
    "question": Seed("fails", "", [code("input('name? ')", result("'ada'"))]),
    "network": Seed("fails", "", [code("import socket; socket.create_connection(('192.0.2.1', 80), 5)", result("1"))]),
    "expected error": Seed(
        "same", "", [code("1 / 0", raised("ZeroDivisionError", "division by zero"), tags=["raises-exception"])]
    ),
    "stored error": Seed("fails", "", [code("1 / 0", raised("ZeroDivisionError", "division by zero"))]),
    "end of a kernel": Seed("fails", "", [code("import os; os._exit(1)")]),
    "no end": Seed("fails", "", [code("import time; time.sleep(1000)")]),
    "failure in one of two runs": Seed("unstable", "", [code("import os; assert os.environ['PYTHONHASHSEED'] == '1'")]),
    "not compared": Seed(
        "same", "", [code("import random; random.random()", result("0.5"), tags=["nbval-ignore-output"])]
    ),
    "JSON": Seed(
        *("same", ""),
        [code("display({'application/json': {'b': 1, 'a': 2}}, raw=True)", shown(application_json={"a": 2, "b": 1}))],
    ),
}


def notebook(seed: Seed) -> str:
    """Return a seed as a file (nbformat 4.4, which has no ids of cells)."""
    kernel = {"name": seed.kernel, "display_name": seed.kernel, "language": "python"}
    metadata = {"kernelspec": kernel}
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": seed.cells})
