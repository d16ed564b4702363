"""Pictures and clips through bicubic, Lanczos and networks: a row of scores for each.

Pictures, the protocol that the x2 figures are quoted in: cut to a multiple of `2 * scale`; the source is Pillow's BICUBIC (antialiased) in
8-bit RGB, turned into 8-bit studio luma; scores are on studio luma with a border of `scale` pixels left out for PSNR and SSIM; the first
baseline is Pillow's BICUBIC back up, in RGB, unrounded luma. `Found` makes them soft or JPEG files first.
Clips: trainer/evaluation/eval_clips.py.
"""

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from streamsr.compare.pban import PbanScorer
from trainer.data.degrade import crop_to_multiple, downscale_luma, shrunk, through_jpeg
from trainer.data.photos import list_photos, luma_codes, luma_of, read_rgb
from trainer.evaluation.contact_sheet import Sheet
from trainer.evaluation.eval_clips import list_clips, read_luma
from trainer.evaluation.scores import Scores, mean_of, measure
from trainer.evaluation.steadiness import Steadiness, follow, steadiness
from trainer.evaluation.upscalers import BICUBIC, Method, open_methods

JUDGE_EVERY = 8  # frames of a clip: the metric costs more than all else


@dataclass(frozen=True)
class Row:
    """One picture or clip by one method. group: name of its folder. steadiness: of clips."""

    group: str
    item: str
    method: str
    scores: Scores
    steadiness: Steadiness | None = None


@dataclass(frozen=True)
class Found:
    """The state in which pictures are found, other than sharp and untouched as the published protocols have them."""

    enlarge: float = 1.0  # the originals, by Pillow's bicubic: as soft as pictures of a camera or out of a video
    jpeg: int | None = None  # quality of the JPEG file that the small picture comes out of


def evaluate_picture(
    path: pathlib.Path, methods: Sequence[Method], scale: int, judge: PbanScorer | None, sheet: Sheet | None = None, found: Found = Found()
) -> list[Row]:
    """Score one picture by every method."""
    image = Image.fromarray(read_rgb(path))
    if found.enlarge != 1:
        image = image.resize((round(image.width * found.enlarge), round(image.height * found.enlarge)), Image.Resampling.BICUBIC)
    rgb = crop_to_multiple(np.asarray(image), 2 * scale)
    height, width = rgb.shape[:2]
    small = shrunk(rgb, scale)
    if found.jpeg is not None:
        small = through_jpeg(small, found.jpeg)
    source, reference = luma_codes(np.asarray(small)), luma_of(rgb)
    rows, shown = [], {}
    for method in methods:
        result: np.ndarray
        if method.name == BICUBIC:
            result = luma_of(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)))
        else:
            (result,) = method.upscale([source])
        rows.append(Row(path.parent.name, path.name, method.name, measure([result], [reference], border=scale, still=True, judge=judge)))
        shown[method.name] = np.rint(result).astype(np.uint8)
    if sheet is not None:
        sheet.add(path.stem, shown, luma_codes(rgb))
    return rows


def evaluate_clip(
    path: pathlib.Path, methods: Sequence[Method], scale: int, judge: PbanScorer | None, *, count: int, sheet: Sheet | None = None
) -> list[Row]:
    """Score the first `count` frames of a clip by every method."""
    originals = [crop_to_multiple(frame, 2 * scale) for frame in read_luma(path, count)]
    source = [downscale_luma(frame, scale=scale, kernel="sws_bicubic") for frame in originals]
    flows = follow(originals)
    rows, shown = [], {}
    for method in methods:
        made = method.upscale(source)
        scores = measure(made, originals, border=scale, still=False, judge=judge, judge_every=JUDGE_EVERY)
        rows.append(Row(path.parent.name, path.name, method.name, scores, steadiness(made, originals, flows)))
        shown[method.name] = made[len(made) // 2]
    if sheet is not None:
        sheet.add(path.stem, shown, originals[len(originals) // 2])
    return rows


def evaluate_all(
    weights: Sequence[pathlib.Path],
    *,
    data: Sequence[pathlib.Path] = (),
    clips: Sequence[pathlib.Path] = (),
    count: int = 32,
    judge: PbanScorer | None = None,
    sheet: Sheet | None = None,
    found: Found = Found(),
) -> list[Row]:
    """Every picture of the folders in `data`, then every clip of those in `clips`. judge: None leaves VMAF and Efficient-PBAN out.

    found: of the pictures.

    Raises TrainerError for missing or empty folders, and for weights that do not open.
    """
    pictures = [path for folder in data for path in list_photos(folder)]
    videos = [path for folder in clips for path in list_clips(folder)]
    methods, scale = open_methods(weights)
    rows = [row for path in pictures for row in evaluate_picture(path, methods, scale, judge, sheet, found)]
    return rows + [row for path in videos for row in evaluate_clip(path, methods, scale, judge, count=count, sheet=sheet)]


def evaluate(weights: pathlib.Path, data: pathlib.Path) -> list[Row]:
    """PSNR-Y and SSIM-Y alone, of one network (and the baselines) on one folder of pictures."""
    return evaluate_all([weights], data=[data])


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Means over the pictures of the network among `rows` (its rows are those of the last method), and its gains over bicubic."""
    mine, base = (mean_of([row.scores for row in rows if row.method == name]) for name in (rows[-1].method, BICUBIC))
    return {
        "psnr_y": mine.psnr, "psnr_y_gain": mine.psnr - base.psnr, "ssim_y": mine.ssim, "ssim_y_gain": mine.ssim - base.ssim,
    }  # fmt: skip
