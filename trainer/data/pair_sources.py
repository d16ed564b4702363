"""Where a run's pairs come from: the folder of the user, through the loader that was chosen."""

import contextlib
import hashlib
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.data.dali_loader import Photographs, check_recipe, find_dali
from trainer.data.file_listing import Listing, open_folder
from trainer.data.footage import is_video
from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.pair_makers import pair_maker
from trainer.data.pair_pool import Pool
from trainer.recipes import Degradation, Recipe

Loader = Literal["cache", "stream", "dali"]
Source = PairCache | Pool | Photographs  # of training pairs: prepared, made meanwhile, or left to DALI
MAX_VALIDATION = 300  # files: of a large folder some, spread evenly, because no more are looked at


@dataclass(frozen=True)
class SourceOptions:
    """data: folder of photographs and videos. cache: of prepared pairs, shared by runs."""

    data: pathlib.Path
    cache: pathlib.Path
    rounds: int = 4  # times each file is degraded anew
    max_bytes: int = 2 * 10**9  # of a cache

    def list_files(self) -> tuple[Listing, Listing]:
        """(training, validation). Raises TrainerError for a folder that cannot be used."""
        name = hashlib.sha256(str(self.data.absolute()).encode()).hexdigest()[:12]
        return open_folder(self.data, self.cache / f"listing_{name}.sqlite")


@contextlib.contextmanager
def open_sources(recipe: Recipe, loader: Loader, options: SourceOptions) -> Iterator[tuple[Source, PairCache]]:
    """The pairs of training and of validation. Raises TrainerError for what cannot be had."""
    if loader == "dali":  # before an hour of preparing validation
        check_recipe(recipe)
        find_dali()
    training, validation = options.list_files()
    checks = _cache(recipe.degradation, recipe.scale, "validation", validation, options)
    if loader == "stream":
        with contextlib.closing(Pool(training, make=pair_maker(recipe.degradation), scale=recipe.scale, seed=recipe.seed)) as pool:
            yield pool, checks
    elif loader == "dali":
        yield Photographs([path for path in training if not is_video(path)]), checks
    else:
        yield _cache(recipe.degradation, recipe.scale, "training", training, options), checks


def _cache(
    degradation: Degradation, scale: int, part: Literal["training", "validation"], files: Listing, options: SourceOptions
) -> PairCache:
    once = part == "validation" or degradation != "compressed"
    return open_cache(
        options.cache / f"{degradation}_x{scale}" / part,
        files if part == "training" else files[:: max(1, len(files) // MAX_VALIDATION)],
        make=pair_maker(degradation),
        rounds=1 if once else max(1, options.rounds),
        scale=scale,
        seed=10**9 if part == "validation" else 0,
        max_bytes=options.max_bytes,
    )
