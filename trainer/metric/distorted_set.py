"""The pretraining set: photographs, their distorted versions in order of severity, and pseudo-labels. Nobody judged these pictures.

FOLDER/set.json                   what it was made from
FOLDER/index.jsonl                a line a photograph: its crop, and each version's file, family, severity (0 mildest) and pseudo-labels
FOLDER/NAME/original.png, FAMILY_SEVERITY.png

A photograph is appended to the index when all its versions are written, so a build that was stopped goes on where it was.
"""

import hashlib
import json
import pathlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from streamsr.compare.measures import ms_ssim, psnr, ssim
from streamsr.compare.vmaf import Vmaf, find_ffmpeg
from streamsr.output_file import atomic_output
from trainer.data.photos import is_validation, list_photos, luma_of, read_rgb
from trainer.metric.distortions import FAMILIES, Family, Levels, Picture, network
from trainer.trainer_error import TrainerError

FORMAT = 1


@dataclass(frozen=True)
class DistortOptions:
    """What a set holds. Two sets with equal options and photographs are the same, file by file."""

    photos: int = 150  # at most so many photographs
    families: int = 4  # drawn for each of them
    side: int = 384  # of the crops, in pixels; even, 176 or more
    seed: int = 0
    models: tuple[str, ...] = ()  # ONNX files of further networks: other strengths of perceptual loss, stages of training
    max_mb: int = 2000  # the build stops before it grows past this


@dataclass(frozen=True)
class Version:
    """One distorted picture of a set."""

    file: str
    family: str
    severity: int  # within its family, 0 the mildest
    words: str
    pseudo: dict[str, float]  # pseudo-labels: vmaf, vmaf_neg, ms_ssim, ssim, psnr


@dataclass(frozen=True)
class Subject:
    """One photograph's crop with its versions."""

    photo: str
    original: str
    validation: bool
    versions: list[Version]


def build_set(data: pathlib.Path, out: pathlib.Path, options: DistortOptions) -> list[Subject]:
    """Make or complete the set in `out` from the photographs in `data`. Raises TrainerError when `out` holds another set."""
    _check_options(options)
    photos = sorted(list_photos(data), key=lambda path: hashlib.sha256(f"{options.seed} {path.name}".encode()).digest())
    out.mkdir(parents=True, exist_ok=True)
    description = {"format": FORMAT, **asdict(options), "models": list(options.models)}
    limits = ("photos", "max_mb")  # these may grow
    if (out / "set.json").is_file():
        there = json.loads((out / "set.json").read_text())
        changed = [key for key in description if key not in limits and there.get(key) != description[key]]
        if changed:
            told = ", ".join(f"{key} {there.get(key)!r} there, {description[key]!r} here" for key in changed)
            raise TrainerError(f"{str(out)!r} holds another set ({told}). Use another --out.")
    _write(out / "set.json", json.dumps(description, indent=2) + "\n")
    subjects = list(read_set(out)) if (out / "index.jsonl").is_file() else []
    done, skipped = {subject.photo for subject in subjects}, []
    size = sum(file.stat().st_size for file in out.rglob("*.png"))
    families = FAMILIES | {pathlib.Path(model).stem: network(model) for model in options.models}
    began = time.monotonic()
    for path in photos:
        if len(subjects) >= options.photos:
            break
        if path.name in done:
            continue
        if size > options.max_mb * 10**6:
            print(f"stopped at {size / 1e6:.0f} MB (--max-mb {options.max_mb})", flush=True)
            break
        try:
            picture = read_rgb(path)
        except TrainerError as error:
            skipped.append(path.name)
            print(f"skipped: {error}", flush=True)
            continue
        if min(picture.shape[:2]) < options.side:
            skipped.append(path.name)
            print(f"skipped {path.name}: {picture.shape[1]} x {picture.shape[0]} is smaller than the crop of {options.side}", flush=True)
            continue
        subject = _make(path, picture, out, options, families)
        with open(out / "index.jsonl", "a") as index:
            index.write(json.dumps(asdict(subject)) + "\n")
        subjects.append(subject)
        size += sum(file.stat().st_size for file in (out / path.stem).iterdir())
        if len(subjects) % 10 == 0:
            print(f"{len(subjects)} photographs, {size / 1e6:.0f} MB, {time.monotonic() - began:.0f} s", flush=True)
    if not subjects:
        raise TrainerError(f"No photograph in {str(data)!r} is {options.side} pixels a side; {len(skipped)} were skipped.")
    versions = sum(len(subject.versions) for subject in subjects)
    print(f"{out}: {len(subjects)} photographs, {versions} versions, {size / 1e6:.0f} MB; {len(skipped)} skipped", flush=True)
    return subjects


def read_set(folder: pathlib.Path) -> Iterator[Subject]:
    """The subjects of a set. Raises TrainerError naming the line that is no subject; an unfinished last line is left out."""
    index = folder / "index.jsonl"
    if not index.is_file():
        raise TrainerError(f"There is no set in {str(folder)!r}: make one with python -m trainer distort --data PHOTOS --out {folder}.")
    lines = index.read_text().split("\n")
    if lines[-1]:  # a build that was killed while it wrote
        _write(index, "".join(f"{line}\n" for line in lines[:-1]))
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = json.loads(line)
            yield Subject(entry["photo"], entry["original"], entry["validation"], [Version(**version) for version in entry["versions"]])
        except (ValueError, TypeError, KeyError) as error:
            raise TrainerError(f"{index}:{number}: not a line of a set: {error}.") from error


def _check_options(options: DistortOptions) -> None:
    if options.side < 176 or options.side % 2:
        raise TrainerError(f"--side is {options.side}; it must be even and 176 or more (five scales of MS-SSIM).")
    if options.families < 1 or options.photos < 1:
        raise TrainerError("--families and --photos must be 1 or more.")
    for model in options.models:
        if not pathlib.Path(model).is_file():
            raise TrainerError(f"There is no model file {model!r}.")
    if find_ffmpeg() is None:
        raise TrainerError("Pseudo-labels need an FFmpeg program with libvmaf: pip install imageio-ffmpeg.")


def _make(path: pathlib.Path, picture: Picture, out: pathlib.Path, options: DistortOptions, families: dict[str, Family]) -> Subject:
    seed = int.from_bytes(hashlib.sha256(f"{options.seed} {path.name}".encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    original = _sharpest_crop(picture, options.side, rng)
    folder = out / path.stem
    folder.mkdir(exist_ok=True)
    names = list(rng.choice(list(families), min(options.families, len(families)), replace=False))
    made: list[tuple[str, Levels]] = [(str(name), families[str(name)](original, rng)) for name in names]
    labels = iter(pseudo_labels([result for _, levels in made for _, result in levels], original))
    versions = []
    for family, levels in made:
        for severity, (words, result) in enumerate(levels):
            file = f"{path.stem}/{family}_{severity}.png"
            Image.fromarray(result).save(out / file, compress_level=4)
            versions.append(Version(file, family, severity, words, next(labels)))
    Image.fromarray(original).save(folder / "original.png", compress_level=4)
    return Subject(path.name, f"{path.stem}/original.png", is_validation(path), versions)


def _sharpest_crop(picture: Picture, side: int, rng: np.random.Generator) -> Picture:
    """Of four random crops the one with the most detail: in sky and blur there is nothing to judge."""
    height, width = picture.shape[:2]
    crops = []
    for _ in range(4):
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        crops.append(np.ascontiguousarray(picture[y : y + side, x : x + side]))
    return max(crops, key=lambda crop: float(np.abs(np.diff(crop[..., 1].astype(np.int16), axis=1)).mean()))


def pseudo_labels(results: list[Picture], original: Picture) -> list[dict[str, float]]:
    """Published metrics of each result (they are no opinions): VMAF and VMAF-NEG of a still, MS-SSIM, SSIM and PSNR of luma."""
    height, width = original.shape[:2]
    reference = luma_of(original).astype(np.float32)
    codes = np.rint(reference).astype(np.uint8)
    found = []
    with Vmaf(width, height) as vmaf:
        for result in results:
            luma = luma_of(result).astype(np.float32)
            vmaf.add(np.rint(luma).astype(np.uint8), codes)
            found.append({"ms_ssim": ms_ssim(luma, reference), "ssim": ssim(luma, reference), "psnr": psnr(luma, reference)})
        for label, frame in zip(found, vmaf.finish(), strict=True):
            label |= {"vmaf": frame["vmaf"], "vmaf_neg": frame["vmaf_neg"]}
    return [{name: round(value, 5) for name, value in sorted(label.items())} for label in found]


def _write(path: pathlib.Path, text: str) -> None:
    with atomic_output(path) as draft:
        draft.write_text(text)
