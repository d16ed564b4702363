"""Ablations leave out or exchange one thing at a time, and train every variant alike."""

import dataclasses
import json
import pathlib
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from streamsr.compare.vmaf import find_ffmpeg
from trainer.ablation import ablate, ablation_table, variants
from trainer.checkpoint import load_checkpoint
from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.photos import list_photos
from trainer.data.rgb_pairs import colour_pairs
from trainer.data.stills import clean_pairs
from trainer.nets import build_network
from trainer.recipes import Recipe, lite
from trainer.trainer_error import TrainerError
from trainer.training_loop import LoopOptions

SINGLE = dataclasses.replace(lite(2), channels=4, layers=1, steps=2, batch=2, crop=48, warmup=1)


def cached(photos: pathlib.Path, folder: pathlib.Path, make: object, count: int = 1) -> PairCache:
    paths = list_photos(photos)[:count]
    return open_cache(folder, paths, make=make, rounds=1, scale=2, seed=0, max_bytes=10**8)  # type: ignore[arg-type]


def changes(variant: Recipe, recipe: Recipe) -> set[str]:
    return {f.name for f in dataclasses.fields(Recipe) if getattr(variant, f.name) != getattr(recipe, f.name)} - {"name"}


@pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")
def test_losses_are_compared_from_equal_starts_and_by_equal_measures(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub(torch.nn.Module):
        def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
            return torch.exp(-10 * (sr - hr).abs().mean((1, 2, 3)))

    monkeypatch.setattr("trainer.losses.perception.load_metric", lambda _: Stub())
    (tmp_path / "metric.pt").write_bytes(b"stub")
    cache = cached(photos, tmp_path / "c", clean_pairs)
    options = LoopOptions(out=tmp_path, device="cpu", metric=tmp_path / "metric.pt")
    rows = ablate(dataclasses.replace(SINGLE, lr=0.0), lambda _: nullcontext((cache, cache)), options, of=["loss"])
    assert [row["variant"] for row in rows] == ["Efficient-PBAN", "feature distance", "neither"]
    # with a learning rate of 0 they are the same network: same start, same crops, same measures
    assert len({row["efficient_pban"] for row in rows}) == len({row["vmaf_neg"] for row in rows}) == 1
    starts = [load_checkpoint(tmp_path / name)["model"] for name in ("Efficient-PBAN", "neither")]
    assert all(torch.equal(starts[0][key], starts[1][key]) for key in starts[0])
    line = ablation_table(rows).splitlines()[1]
    assert f"{rows[0]['vmaf_neg']:.2f}" in line


def test_one_thing_changes_between_losses_and_between_colours() -> None:
    pban, features, neither = variants(lite(2), ["loss"]).values()
    assert changes(pban, neither) == {"pban_weight"}
    assert changes(features, neither) == {"feature_weight"}
    assert neither.information_weight == lite(2).information_weight
    luma, rgb = variants(lite(2), ["colour"]).values()
    assert changes(rgb, luma) == {"planes"}
    assert build_network(rgb).macs_per_pixel > build_network(luma).macs_per_pixel


def test_luma_and_rgb_learn_from_the_same_crops(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    colours = cached(photos, tmp_path / "rgb", colour_pairs, 2)
    opened = []

    def open_pairs(variant: Recipe) -> AbstractContextManager[tuple[PairCache, PairCache]]:
        opened.append(variant.degradation)
        return nullcontext((colours, colours))

    rows = ablate(SINGLE, open_pairs, LoopOptions(out=tmp_path, device="cpu"), of=["colour"])
    assert opened == ["colour", "colour"]
    assert [row["variant"] for row in rows] == ["luma", "RGB"]
    assert {row["steps"] for row in rows} == {2}
    assert json.loads((tmp_path / "ablation.json").read_text()) == rows
    assert all(20 < float(row["psnr"]) < 60 for row in rows)  # type: ignore[arg-type]


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(TrainerError, match=r"no ablation of 'los'. Kinds: loss, colour"):
        variants(lite(2), ["los"])
