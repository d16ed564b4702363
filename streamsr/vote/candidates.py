"""Candidates: the pictures or short videos of a folder that voters choose between. CONTENT_METHOD.EXT, and CONTENT_original.EXT."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError

PICTURES = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
VIDEOS = {".mp4": "video/mp4", ".webm": "video/webm"}
KINDS = PICTURES | VIDEOS
ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture or video."""

    path: Path
    content: str  # what it shows
    method: str  # what made it

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS


@dataclass(frozen=True, slots=True)
class Pair:
    """Two candidates of one content, in the order of their names."""

    a: Candidate
    b: Candidate


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a folder holds."""

    pairs: list[Pair]
    originals: dict[str, Candidate]  # by content; not voted on unless asked for

    @property
    def candidates(self) -> list[Candidate]:
        return list(dict.fromkeys(candidate for pair in self.pairs for candidate in (pair.a, pair.b)))


def read_candidates(folder: Path, *, with_original: bool = False) -> Candidates:
    """Every pair of one content. Raises SourceError where there is none."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder.", hint="streamsr vote FOLDER, with pictures CONTENT_METHOD.png in it")
    found: dict[str, list[Candidate]] = {}
    originals = {}
    for path in sorted(folder.iterdir()):
        content, underscore, method = path.stem.partition("_")
        if path.suffix.lower() not in KINDS or not underscore or not content or not method or path.name.startswith("."):
            continue
        candidate = Candidate(path, content, method)
        if method == ORIGINAL:
            originals[content] = candidate
        if method != ORIGINAL or with_original:
            found.setdefault(content, []).append(candidate)
    pairs = []
    for candidates in found.values():
        pairs += [Pair(a, b) for a, b in itertools.combinations(candidates, 2) if a.is_video == b.is_video]
    if not pairs:
        kinds = ", ".join(KINDS)
        hint = "name them CONTENT_METHOD.png, such as beach_lite.png and beach_base.png; --of VIDEO --try makes some"
        raise SourceError(f"{folder} holds no two pictures or videos of one content ({kinds}).", hint=hint)
    return Candidates(pairs, originals)
