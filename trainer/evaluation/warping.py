"""Warping error of what `streamsr run` makes, beside Lanczos's: whether a network's frames boil where Lanczos's lie still.

Each clip is measured in two ways, on luma:

halved    The clip is the original. FFmpeg's bicubic makes it half as large, x264 at CRF 23 compresses it, and the run doubles it.
          Flow is the original's, so it favours no method.
own size  The clip as it is, doubled: what a user sees. There is no original, so flow is estimated on Lanczos's result, and pixels
          count where Lanczos can be followed. That cuts off the largest errors of Lanczos and not those of a network: the ratio is
          too high by a few hundredths (two clips: 1.72 and 1.04, over all pixels 1.66 and 1.04).

The ratio to Lanczos is what to look at. A sharper picture that moves as one has a larger warping error by itself, because every
error of the flow weighs more at a steeper edge; 1.15 times Lanczos's is taken for steady. The source's own noise and
compression are in Lanczos's error, too: a network that removes them comes out below 1.
"""

import math
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

import streamsr
from streamsr.errors import StreamsrError
from streamsr.models import RESIZE
from streamsr.options import Look
from trainer.data.degrade import plane_of
from trainer.data.photos import Plane
from trainer.evaluation.eval_clips import list_clips, read_frames, read_luma
from trainer.evaluation.steadiness import Flows, Steadiness, follow, steadiness
from trainer.evaluation.upscalers import LANCZOS
from trainer.trainer_error import TrainerError

CRF, FPS = "23", 25  # of the halved clips: x264's default; what is said of time does not count


@dataclass(frozen=True)
class WarpingOptions:
    models: tuple[str, ...] = ("lite", "base")  # of `streamsr run`
    scale: int = 2
    look: Look = "natural"
    frames: int = 16  # of each clip
    threads: int = 0  # of the engine; 0: all


@dataclass(frozen=True)
class WarpingRow:
    """One clip by one method, in codes of 255. halved_ratio, own_ratio: warping error over Lanczos's."""

    clip: str
    method: str
    halved: Steadiness
    own: Steadiness
    halved_ratio: float
    own_ratio: float


def measure_warping(clips: Sequence[pathlib.Path], options: WarpingOptions) -> Iterator[WarpingRow]:
    """Lanczos and each model on each clip. clips: files or folders. Raises TrainerError for what cannot be read or upscaled."""
    for path in (path for given in clips for path in (list_clips(given) if given.is_dir() else [given])):
        with tempfile.TemporaryDirectory() as folder:
            half = pathlib.Path(folder) / "half.mkv"
            originals = halve(path, half, scale=options.scale, count=options.frames)
            if len(originals) < 2:
                raise TrainerError(f"{str(path)!r} has one frame; a warping error needs two.")
            halved = {method: upscaled(half, method, options) for method in (RESIZE, *options.models)}
            own = {method: upscaled(path, method, options) for method in (RESIZE, *options.models)}
        flows, own_flows = follow(originals), follow(own[RESIZE])
        plain_halved, plain_own = _steady(halved[RESIZE], originals, flows), _steady(own[RESIZE], own[RESIZE], own_flows)
        for method in halved:
            a, b = _steady(halved[method], originals, flows), _steady(own[method], own[RESIZE], own_flows)
            name = LANCZOS if method == RESIZE else method
            yield WarpingRow(path.name, name, a, b, _ratio(a, plain_halved), _ratio(b, plain_own))


def halve(path: pathlib.Path, target: pathlib.Path, *, scale: int, count: int) -> list[Plane]:
    """Write the first `count` frames, 1 / scale as large, as H.264; returns the originals' luma, of `scale` times the size."""
    frames = read_frames(path, count)
    width, height = (side // scale // 2 * 2 for side in (frames[0].width, frames[0].height))
    originals = [_corner(frame, width * scale, height * scale) for frame in frames]
    with av.open(str(target), "w") as output:
        stream = output.add_stream("libx264", FPS, options={"crf": CRF}, width=width, height=height, pix_fmt="yuv420p")
        for pts, frame in enumerate(originals):
            small = frame.reformat(width, height, interpolation="BICUBIC")
            small.pts, small.time_base = pts, Fraction(1, FPS)
            output.mux(stream.encode(small))
        output.mux(stream.encode(None))
    return [plane_of(frame) for frame in originals]


def upscaled(path: pathlib.Path, model: str, options: WarpingOptions) -> list[Plane]:
    """Luma of the first frames by `streamsr run`: int8, forms and condition are those of a user's run."""
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "made.mkv"
        try:
            streamsr.run(
                path, made, model=model, scale=options.scale, look=options.look, threads=options.threads, num_frames=options.frames,
                encoder="libx264", preset="ultrafast", encoder_options={"qp": "0"},
            )  # fmt: skip
        except StreamsrError as error:
            raise TrainerError(f"{str(path)!r} by {model}: {error}") from error
        return read_luma(made, options.frames)


def warping_table(rows: Sequence[WarpingRow]) -> str:
    """Aligned text: for each clip a line a method, then the mean ratios."""
    width = max(len(row.method) for row in rows)
    head = f"{'':{width}s}   halved: warping (original)  of Lanczos's   own size: warping  of Lanczos's"
    lines = []
    for clip in dict.fromkeys(row.clip for row in rows):
        lines += [clip, head]
        for row in (row for row in rows if row.clip == clip):
            told = f"{row.halved.warping:18.2f} {f'({row.halved.warping_original:.2f})':>10s}{row.halved_ratio:14.2f}"
            lines.append(f"{row.method:{width}s}{told}{row.own.warping:20.2f}{row.own_ratio:14.2f}")
    lines.append("mean of the ratios: halved, own size")
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        lines.append(f"{method:{width}s}{np.mean([r.halved_ratio for r in mine]):8.2f}{np.mean([r.own_ratio for r in mine]):8.2f}")
    return "\n".join(lines)


def _corner(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The upper left part of a yuv420p frame. Sides are even."""
    parts = []
    for plane, (w, h) in zip(frame.planes, ((width, height), (width // 2, height // 2), (width // 2, height // 2)), strict=True):
        parts.append(np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:h, :w].ravel())
    return av.VideoFrame.from_ndarray(np.concatenate(parts).reshape(-1, width), format="yuv420p")


def _steady(frames: Sequence[Plane], originals: Sequence[Plane], flows: Flows) -> Steadiness:
    found = steadiness(frames, originals, flows)
    assert found is not None, "measure_warping refuses single frames"
    return found


def _ratio(mine: Steadiness, plain: Steadiness) -> float:
    """1 where nothing moves in either."""
    return mine.warping / plain.warping if plain.warping else math.inf if mine.warping else 1.0
