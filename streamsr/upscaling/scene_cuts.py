"""Continuity: whether a frame goes on from the one before. A recurrent network starts anew where it does not.

Note [Scene cuts]
    Measured on the decoded luma, reduced to 32 x 18 block means. The two pictures are laid over each other at every shift of
    up to 3 columns and 2 rows (a tenth of the picture: pans stay continuous), and where they agree best
        distance   = 1 - their correlation: neither brightness nor contrast counts, so fades and flashes stay continuous;
        difference = the mean absolute difference of their deviations from the mean, in codes of 255: nearly empty pictures
                     have no correlation, and nothing to cut.
    A cut is a distance above DISTANCE and SPIKE times that of the two pictures before (a fast pan is as far off, but goes
    on), and a difference above DIFFERENCE. At these thresholds the real clips of the tests break where they are cut and
    nowhere else. In a trial with a DIFFERENCE of 8, 97 % of 1158 cuts from one clip to another were found: the rest goes
    between pictures that are nearly empty or much alike. What is missed shows the network a state that does not fit, which
    its training contains too; what is taken for a cut by mistake costs the memory of one moment.
"""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 18, 32  # blocks
SHIFT_ROWS, SHIFT_COLUMNS = 2, 3
SAMPLES = 8  # a side, of a block: more change nothing, and cost time in large pictures
DISTANCE = 0.25
SPIKE = 2.5
DIFFERENCE = 6.0  # codes of 255
FLAT = 4.0  # codes squared: contrast that is noise
LONGEST_S = 1.0  # between two frames that go on from each other


class Continuity:
    """Looks at the frames of one stream in their order."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._blocks: np.ndarray | None = None
        self._pts: int | None = None
        self._distance = 0.0  # of the last two pictures; 0 where the later one began a scene

    def time_goes_on(self, pts: int | None, time_base: float | None) -> bool:
        """False where pts goes back, or forth by more than LONGEST_S: a seek, or frames that are missing. Frames without times go on."""
        last, self._pts = self._pts, pts
        if pts is None or last is None:
            return True
        return pts >= last and (time_base is None or (pts - last) * time_base <= LONGEST_S)

    def picture_goes_on(self, luma: np.ndarray, bits: int) -> bool:
        """False for the first picture, for another size and for a scene cut. luma: (h, w), codes of `bits` bits."""
        blocks = reduce(luma) / (1 << (bits - 8))
        before, self._blocks = self._blocks, blocks
        shape, self._shape = self._shape, luma.shape
        last, self._distance = self._distance, 0.0
        if before is None or shape != luma.shape:
            return False
        distance, difference = compare(before, blocks)
        if distance > max(DISTANCE, SPIKE * last) and difference > DIFFERENCE:
            return False
        self._distance = distance
        return True


def sample_step(rows: int, columns: int) -> tuple[int, int]:
    """Every how many rows and columns a picture is looked at. What was sampled so before is looked at whole."""
    return max(1, rows // (ROWS * SAMPLES)), max(1, columns // (COLUMNS * SAMPLES))


def reduce(luma: np.ndarray) -> np.ndarray:
    """float64 block means (ROWS, COLUMNS); (h, w) where the picture is smaller than that."""
    rows, columns = sample_step(*luma.shape)
    luma = luma[::rows, ::columns]
    for axis, parts in ((0, ROWS), (1, COLUMNS)):
        length = luma.shape[axis]
        edges = np.arange(min(parts, length) + 1) * length // min(parts, length)
        sums = np.add.reduceat(luma, edges[:-1], axis, dtype=np.float64)
        luma = sums / np.expand_dims(np.diff(edges), 1 - axis)
    return luma


def compare(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """(distance, difference) of two pictures' block means at the shift where the distance is least. Note [Scene cuts]."""
    found = (2.0, 255.0)
    rows, columns = before.shape
    for y in range(-min(SHIFT_ROWS, rows - 1), min(SHIFT_ROWS, rows - 1) + 1):
        for x in range(-min(SHIFT_COLUMNS, columns - 1), min(SHIFT_COLUMNS, columns - 1) + 1):
            a = before[max(y, 0) : rows + min(y, 0), max(x, 0) : columns + min(x, 0)]
            b = after[max(-y, 0) : rows + min(-y, 0), max(-x, 0) : columns + min(-x, 0)]
            a, b = a - a.mean(), b - b.mean()
            contrast = np.sqrt((np.mean(a * a) + FLAT) * (np.mean(b * b) + FLAT))
            found = min(found, (float(1 - (np.mean(a * b) + FLAT) / contrast), float(np.abs(a - b).mean())))
    return found
