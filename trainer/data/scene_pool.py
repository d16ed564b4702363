"""The pool of pairs: one compressed array file for each scene, made once, by any number of processes, and resumable.

A file holds T frames of a scene: two of them, or, in a pool of runs, all in their order. hy (T, S, S) and hc (T, 2, S / 2, S / 2): the
target. ly (V, T, s, s) and lc (V, T, 2, s / 2, s / 2): V ways in which it was found. condition (V, 2): what a network is told (Note
[Condition] of trainer.data.as_found). site: of all chroma.
"""

import pathlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.as_found import degrade, draw_site, targets, told
from trainer.data.footage import is_video
from trainer.data.photos import is_validation
from trainer.data.scenes import NUM_FRAMES, SIDE, open_scene
from trainer.trainer_error import TrainerError

WAYS = 6  # in which a scene is found
CLEAN = 0  # the first of them
DRAWINGS = 12  # drawn scenes for every hundred photographs
SCENES_OF_VIDEO = 12  # for one of a photograph


@dataclass(frozen=True)
class Scene:
    """The arrays of one file, in memory."""

    hy: NDArray[np.uint8]
    hc: NDArray[np.uint8]
    ly: NDArray[np.uint8]
    lc: NDArray[np.uint8]
    condition: NDArray[np.float32]
    site: tuple[float, float]
    estimated: NDArray[np.float32] | None = None  # (V, 2): the condition that an estimator takes them to be in


def make_pool(
    footage: Sequence[pathlib.Path], folder: pathlib.Path, *, scale: int, rounds: int, runs: bool = False, part: int = 0, parts: int = 1
) -> None:
    """Fill `folder` with `rounds` scenes of every photograph, more of every video, and drawings; what is there is kept.

    runs: keep all frames of a scene, for networks with a state. part of parts: a share of the work.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    drawings = [None] * max(1, len(footage) * DRAWINGS // 100)
    for round_ in range(rounds * SCENES_OF_VIDEO):
        for number, path in enumerate([*footage, *drawings]):
            if round_ >= rounds and (path is None or not is_video(path)):
                continue
            kind = "drawn" if path is None else "val" if is_validation(path) else "video" if is_video(path) else "photo"
            name = f"{kind}_{round_:02d}_{number if path is None else path.stem}"
            file = folder / f"{name}.npz"
            if number % parts != part or file.exists():
                continue
            try:
                arrays = make_scene(path, seed=zlib.crc32(name.encode()), scale=scale, runs=runs)
            except (TrainerError, RuntimeError) as error:
                print(f"skipped: {error}", flush=True)
                continue
            partial = file.with_suffix(".part")
            with open(partial, "wb") as out:
                np.savez(out, **arrays)  # type: ignore[arg-type]
            partial.replace(file)


def make_scene(path: pathlib.Path | None, *, seed: int, scale: int, runs: bool = False) -> dict[str, NDArray]:
    """The arrays of a pool file. path: None for a drawing. runs: all frames, not two of them."""
    rng = np.random.default_rng(seed)
    frames = open_scene(path, rng)
    side = SIDE // (2 * scale) * 2 * scale
    frames = [frame[:side, :side] for frame in frames]
    site = draw_site(rng)
    chosen = list(range(NUM_FRAMES)) if runs else sorted(int(t) for t in rng.choice(NUM_FRAMES, 2, replace=False))
    high = targets([frames[t] for t in chosen], site)
    ways = [degrade(frames, scale, site, rng, clean=way == CLEAN) for way in range(WAYS)]
    return {
        "hy": np.stack([luma for luma, _ in high]),
        "hc": np.stack([chroma for _, chroma in high]),
        "ly": np.stack([[way.pictures[t][0] for t in chosen] for way in ways]),
        "lc": np.stack([[way.pictures[t][1] for t in chosen] for way in ways]),
        "condition": np.array([told(way.blur, way.damage) for way in ways], np.float32),
        "site": np.array(site, np.float32),
    }


def load_pool(folder: pathlib.Path) -> tuple[list[Scene], list[Scene]]:
    """(training, validation) scenes in the order of their names. Raises TrainerError where there are none."""
    training: list[Scene] = []
    validation: list[Scene] = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            parts = {name: arrays[name] for name in ("hy", "hc", "ly", "lc", "condition")}
            vertical, horizontal = (float(v) for v in arrays["site"])
        (validation if file.name.startswith("val_") else training).append(Scene(**parts, site=(vertical, horizontal)))
    if not training or not validation:
        raise TrainerError(f"{str(folder)!r} holds {len(training)} training and {len(validation)} validation scenes; both are needed.")
    return training, validation
