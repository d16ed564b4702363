"""Rows of an evaluation as a table and as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from trainer.evaluation.evaluate import Row
from trainer.evaluation.scores import Scores, mean_of
from trainer.evaluation.steadiness import mean_steadiness


def means(rows: Sequence[Row]) -> list[Row]:
    """The mean of every method over each folder; `item` says over how many."""
    found = []
    for group, method in dict.fromkeys((row.group, row.method) for row in rows):
        mine = [row for row in rows if (row.group, row.method) == (group, method)]
        scores, steady = mean_of([row.scores for row in mine]), mean_steadiness([row.steadiness for row in mine])
        found.append(Row(group, f"mean of {len(mine)}", method, scores, steady))
    return found


def table(rows: Sequence[Row]) -> str:
    """Aligned text: for each folder a block with a line a method. A method's warping error stands beside the original's."""
    width = max(len(row.method) for row in rows)
    lines: list[str] = []
    measures = dataclasses.fields(Scores)
    group = ""
    for row in means(rows):
        if row.group != group:
            group = row.group
            motion = "   flicker  warping (original)" if row.steadiness is not None else ""
            lines += ["", f"{group}, {row.item}"] if lines else [f"{group}, {row.item}"]
            lines.append(f"{'':{width}s}" + "".join(f"  {one.metadata['label']:>8s}" for one in measures) + motion)
        told = "".join(f"  {_cell(getattr(row.scores, one.name), one.metadata['digits']):>8s}" for one in measures)
        if row.steadiness is not None:
            steady = row.steadiness
            told += f"   {steady.flicker:7.2f}  {steady.warping:7.2f} ({steady.warping_original:.2f})"
        lines.append(f"{row.method:{width}s}{told}")
    return "\n".join(lines)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def as_dict(rows: Sequence[Row]) -> dict[str, Any]:
    """For JSON: the means, and every picture and clip."""
    return {"mean": [dataclasses.asdict(row) for row in means(rows)], "rows": [dataclasses.asdict(row) for row in rows]}
