"""Degraded luma pairs, prepared once: one flat uint8 file, memory-mapped, with a JSON index beside it.

pairs.bin   planes, one after the other, row-major
pairs.json  {"key": ..., "pairs": [{"height", "width", "hr": offset, "lr": [offset, ...]}, ...]}; height and width in low-resolution pixels
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streamsr.engines import count_threads
from streamsr.output_file import atomic_output
from trainer.data.photos import Plane
from trainer.trainer_error import TrainerError

FORMAT = 8  # raise it when a degradation changes: older caches are then rebuilt

# (target, its degraded versions): the unit that a cache stores. A version listed several times is drawn as often, and stored once
Pair = tuple[Plane, list[Plane]]


@dataclass(frozen=True)
class PairCache:
    """An open cache. `planes` is the memory map; `pairs` the index."""

    planes: np.memmap
    pairs: list[dict]
    scale: int

    def lr(self, index: int, version: int) -> Plane:
        """Degraded luma (height, width)."""
        p = self.pairs[index]
        start, h, w = p["lr"][version], p["height"], p["width"]
        return self.planes[start : start + h * w].reshape(h, w)

    def hr(self, index: int) -> Plane:
        """Target luma (scale * height, scale * width)."""
        p = self.pairs[index]
        start, h, w = p["hr"], p["height"] * self.scale, p["width"] * self.scale
        return self.planes[start : start + h * w].reshape(h, w)


MakePairs = Callable[[pathlib.Path, int, int], list[Pair]]


def open_cache(
    folder: pathlib.Path,
    photos: Sequence[pathlib.Path],
    *,
    make: MakePairs,
    rounds: int,
    scale: int,
    seed: int,
    max_bytes: int,
) -> PairCache:
    """Open the cache in `folder`, building it first when it is absent or was made from something else.

    photos: and videos. make: (file, seed, scale) -> pairs; called `rounds` times a file with different seeds, on every core. Memory grows
    with what the cache may hold (1 KB a target), not with the number of files.
    """
    digest = hashlib.sha256(f"{FORMAT} {make.__module__}.{make.__qualname__} {rounds} {scale} {seed} {max_bytes} ".encode())
    for i, path in enumerate(photos):
        digest.update(f"{',' if i else ''}{path.name}:{path.stat().st_size}".encode())
    key = digest.hexdigest()
    index = folder / "pairs.json"
    if not (index.is_file() and json.loads(index.read_text())["key"] == key):
        _build(folder, photos, make=make, rounds=rounds, scale=scale, seed=seed, max_bytes=max_bytes, key=key)
    pairs = json.loads(index.read_text())["pairs"]
    return PairCache(np.memmap(folder / "pairs.bin", np.uint8, mode="r"), pairs, scale)


def _build(
    folder: pathlib.Path,
    photos: Sequence[pathlib.Path],
    *,
    make: MakePairs,
    rounds: int,
    scale: int,
    seed: int,
    max_bytes: int,
    key: str,
) -> None:
    """Write pairs.bin, then pairs.json by rename: a cache without an index counts as absent."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    jobs = ((path, seed + 1_000_003 * r + i, scale) for r in range(rounds) for i, path in enumerate(photos))
    entries: list[dict] = []
    position = 0
    num_skipped, first_reason = 0, ""
    with open(folder / "pairs.bin", "wb") as file:
        for number, pairs in enumerate(_in_parallel(make, jobs, rounds * len(photos))):
            if isinstance(pairs, str):
                if number < len(photos):  # later rounds meet the same files
                    print(f"skipped: {pairs}", flush=True)
                    num_skipped, first_reason = num_skipped + 1, first_reason or pairs
                continue
            for hr, versions in pairs:
                distinct = {id(v): v for v in versions}
                size = hr.size + sum(v.size for v in distinct.values())
                if position + size > max_bytes:
                    break
                entry: dict = {"height": versions[0].shape[0], "width": versions[0].shape[1], "hr": position}
                file.write(hr.tobytes())
                position += hr.size
                places = {}
                for name, version in distinct.items():
                    places[name] = position
                    file.write(version.tobytes())
                    position += version.size
                entry["lr"] = [places[id(v)] for v in versions]
                entries.append(entry)
            else:
                continue
            break
    if num_skipped and not entries:
        raise TrainerError(f"None of the {len(photos)} photographs can be used. The first: {first_reason}")
    with atomic_output(folder / "pairs.json") as draft:
        draft.write_text(json.dumps({"key": key, "pairs": entries}))
    print(f"cache {folder}: {len(entries)} targets, {position / 1e6:.0f} MB, {time.monotonic() - start:.0f} s"
          + (f"; {num_skipped} photographs skipped" if num_skipped else ""), flush=True)  # fmt: skip


def _attempt(make: MakePairs, job: tuple[pathlib.Path, int, int]) -> list[Pair] | str:
    """The pairs, or why this photograph gives none."""
    try:
        return make(*job)
    except TrainerError as error:
        return str(error)


def _in_parallel(make: MakePairs, jobs: Iterable[tuple[pathlib.Path, int, int]], count: int) -> Iterator[list[Pair] | str]:
    """Results in the order of the jobs (the file must not depend on timing), a few jobs ahead at most."""
    # spawn, not fork: torch and FFmpeg may already hold threads here
    context = multiprocessing.get_context("spawn")
    workers = max(1, min(count, count_threads(0)))
    if workers == 1 or count < 8:
        for job in jobs:
            yield _attempt(make, job)
        return
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = []
        for job in jobs:
            waiting.append(pool.submit(_attempt, make, job))
            if len(waiting) > 4 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
