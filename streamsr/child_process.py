"""Child processes of streamsr: Python in isolated mode, so that neither the current folder nor the environment can bring in code.

    subprocess.Popen(child_command("streamsr.live.relay", "3"))

Isolated mode (-I) leaves out the current folder, PYTHONPATH and the user's packages. This file runs by its path, and adds the
folder that contains streamsr, and those of installed packages that this process knows.
"""

from __future__ import annotations

import os
import sys


def child_command(module: str, *arguments: str) -> list[str]:
    """What starts `module` of streamsr as a program."""
    return [_interpreter(), "-I", os.path.abspath(__file__), os.pathsep.join(_folders()), module, *arguments]


def _interpreter() -> str:
    if not sys.executable or not os.path.isabs(sys.executable):
        from .errors import EngineError

        raise EngineError(f"Python does not say where its interpreter is ({sys.executable!r}).", hint="start streamsr by an absolute path")
    return sys.executable


def _folders() -> list[str]:
    """Our own folder first, then those that pip installs into."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = [path for path in sys.path if os.path.isabs(path) and os.path.basename(path) in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([own, *installed]))


if __name__ == "__main__":
    import runpy

    _, folders, *sys.argv[:] = sys.argv
    known = folders.split(os.pathsep)
    sys.path[:] = [known[0], *(path for path in sys.path if path != known[0])]
    sys.path += [path for path in known if path not in sys.path]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
