"""Kernel: one __global__ function of a .cu file, and the text that a compiler gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
OPTIONS = ("--std=c++17",)  # no fast math: division and rounding are part of what the references agree with
_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function of one of this folder's files, compiled with some macros set."""

    file: str
    name: str
    macros: tuple[tuple[str, str | int], ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """NVRTC's options."""
        return OPTIONS + tuple(f"-D{name}={value}" for name, value in self.macros)


@cache
def read_source(file: str) -> str:
    """The text of a .cu file with its headers in place, each once.

    One text and no include folder: CuPy keeps what it compiled under a hash of the text, which would not see a changed header.
    """
    included: set[str] = set()

    def expand(name: str) -> str:
        if name in included:
            return ""
        included.add(name)
        parts = [f'#line 1 "{name}"\n']
        text = (FOLDER / name).read_text(encoding="utf-8")
        end = 0
        for match in _INCLUDE.finditer(text):
            line = text.count("\n", 0, match.end()) + 1
            parts += [text[end : match.start()], expand(match[1]), f'#line {line} "{name}"\n']
            end = match.end()
        return "".join(parts) + text[end:]

    return expand(file)
