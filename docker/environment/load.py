"""Load modules so that Python leaves them compiled.

Run by the environment's own Python: load.py WORD ...; a word is a module, or @server or @kernel.
"""

import contextlib
import importlib
import os
import sys


def server() -> None:
    """Load what JupyterLab loads until it serves."""
    from jupyterlab.labapp import LabApp

    LabApp.initialize_server(argv=["--allow-root", "--no-browser", "--ip=127.0.0.1", "--port=0"])


def kernel() -> None:
    """Load what a kernel loads until it computes, and what `%matplotlib inline` adds."""
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.instance().initialize(["--quiet"])
    importlib.import_module("matplotlib_inline.backend_inline")


def everything(name: str) -> None:
    """Load what `from NAME import *` loads: a package with lazy parts, such as scipy, lists them in __all__."""
    module = importlib.import_module(name)
    for each in getattr(module, "__all__", ()):
        getattr(module, each, None)


for word in sys.argv[1:]:
    with contextlib.suppress(Exception, SystemExit):
        {"@server": server, "@kernel": kernel}.get(word, lambda name=word: everything(name))()
os._exit(0)  # threads of a server or kernel need not be waited for
