"""Folders of pictures, compared picture by picture: each is a frame of the Comparison, identified by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import SourceError, UsageError
from ..io.containers import is_picture_name
from .comparison import Comparison, FrameScores, compare, open_scorer


def compare_folders(
    result: str | Path, original: str | Path, *, every: int | None = None, engine: str = "auto", threads: int = 0,
    on_frame: Callable[[FrameScores, int | None], None] | None = None,
) -> Comparison:  # fmt: skip
    """Measure the pictures of a folder against those of another with the same names, whatever their endings where only these differ.

    every: measure each N-th pair only; None: all. The rest as `compare`. A picture that cannot be measured is named in the notes.
    Raises UsageError where no two names are the same, SourceError where nothing could be measured.
    """
    pairs, lonely = pair_pictures(Path(result), Path(original))
    if not pairs:
        raise UsageError(f"No picture of {result} has the name of one in {original}.", hint="compare pairs pictures by their names")
    scorer = open_scorer(engine, threads)
    comparison = Comparison(str(result), str(original), 0, 0, every or 1, num_pairs=len(pairs))
    wanted = pairs[:: every or 1]
    notes: list[str] = []
    for number, (mine, theirs) in enumerate(wanted):
        try:
            found = compare(mine, theirs, engine=scorer, threads=threads)
        except (SourceError, UsageError) as error:
            notes.append(f"{mine.name} was not measured: {error.message}")
            continue
        scores = found.frames[0]
        scores.time_s, scores.name = float(number), mine.name
        comparison.frames.append(scores)
        comparison.width, comparison.height = comparison.width or found.width, comparison.height or found.height
        notes += found.notes
        if on_frame is not None:
            on_frame(scores, len(wanted))
    if not comparison.frames:
        raise SourceError(f"No picture of {result} could be measured: {notes[0]}")
    comparison.notes = [*dict.fromkeys(notes), *(f"{path} has no partner" for path in lonely)]
    return comparison


def pair_pictures(result: Path, original: Path) -> tuple[list[tuple[Path, Path]], Sequence[Path]]:
    """((picture of the result, picture of the original), ...) by name, and those without a partner."""
    mine, theirs = (
        sorted(path for path in folder.iterdir() if is_picture_name(path.name) and path.is_file()) for folder in (result, original)
    )
    by_name, by_stem = {path.name: path for path in theirs}, {path.stem: path for path in theirs}
    pairs = [(path, found) for path in mine if (found := by_name.get(path.name) or by_stem.get(path.stem)) is not None]
    paired = {path for pair in pairs for path in pair}
    return pairs, [path for path in (*mine, *theirs) if path not in paired]
