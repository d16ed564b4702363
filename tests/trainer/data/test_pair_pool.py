"""Streamed pairs: a few are held, a batch depends on its number alone, and a resumed run is the uninterrupted one."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from trainer.checkpoint import load_checkpoint
from trainer.data import pair_pool as pool_module
from trainer.data.crops import CropSampler
from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.pair_pool import EVERY, FIRST, Pool
from trainer.data.photos import list_photos, split_photos
from trainer.data.stills import NUM_SOFT, clean_pairs
from trainer.recipes import lite_clean
from trainer.trainer_error import TrainerError
from trainer.training_loop import LoopOptions, train

RECIPE = dataclasses.replace(lite_clean(2), steps=10, batch=2, crop=16, warmup=3, channels=4, layers=1)


def open_pool(photos: pathlib.Path, workers: int = 0) -> Pool:
    return Pool(split_photos(list_photos(photos))[0], make=clean_pairs, scale=2, seed=0, workers=workers)


def test_what_is_held_depends_on_the_number_of_batches_alone(photos: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SLOTS", 10)
    one, other = open_pool(photos), open_pool(photos, workers=2)
    try:
        changed = [one.advance() for _ in range(5 * EVERY)]
        assert sum(changed) == 5
        assert len(one.pairs) == 10 * (1 + NUM_SOFT)
        other.restore(5 * EVERY)
        assert one.pairs == other.pairs
        assert all(np.array_equal(one.hr(i), other.hr(i)) for i in range(len(one.pairs)))
        assert all(np.array_equal(one.lr(i, 3), other.lr(i, 3)) for i in range(len(one.pairs)))
    finally:
        other.close()


def test_a_resumed_streamed_run_equals_the_uninterrupted_one(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "FIRST", 2)
    monkeypatch.setattr(pool_module, "EVERY", 4)
    validation: PairCache = open_cache(
        tmp_path / "v", split_photos(list_photos(photos))[1][:2], make=clean_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8
    )
    options = LoopOptions(out=tmp_path / "whole", device="cpu", validate_every=100)
    train(RECIPE, open_pool(photos), validation, options)
    parts = dataclasses.replace(options, out=tmp_path / "parts")
    train(RECIPE, open_pool(photos), validation, dataclasses.replace(parts, stop_at=7))
    train(RECIPE, open_pool(photos), validation, parts)
    states = [load_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    assert states[0]["crop_rng"] == states[1]["crop_rng"]
    assert states[0]["crop_rng"]["batches"] == 10
    assert all(torch.equal(states[0]["model"][key], states[1]["model"][key]) for key in states[0]["model"])
    with pytest.raises(TrainerError, match="another --loader"):
        CropSampler(validation, crop=16, batch=1, seed=0).restore(states[0]["crop_rng"])


def test_files_that_cannot_be_used_are_named_once_and_counted(
    photos: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in list_photos(photos)[:4]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"noise")
    pool = Pool(list_photos(tmp_path), make=clean_pairs, scale=2, seed=0, workers=0)
    for _ in range(5 * EVERY):
        pool.advance()
    assert len(pool.pairs) == (FIRST + 5) * (1 + NUM_SOFT)
    said = capsys.readouterr().out
    assert said.count("skipped: ") == 1
    assert "broken.png" in said
    assert "(1 so far)" in said
    with pytest.raises(TrainerError, match=r"12 files one after the other cannot be used\. The last: .*broken\.png"):
        Pool([tmp_path / "broken.png"], make=clean_pairs, scale=2, seed=0, workers=0)


def test_the_command_line_streams(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(__file__).resolve().parents[3]
    arguments = ["--recipe", "lite_clean_x2", "--data", str(photos), "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "run")]
    small = ["--steps", "3", "--batch", "1", "--crop", "16", "--channels", "4", "--layers", "1", "--loader", "stream", "--device", "cpu"]
    command = [sys.executable, "-m", "trainer", "sr", *arguments, *small]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 3/3" in done.stdout
    assert not (tmp_path / "c" / "clean_x2" / "training").exists()  # nothing is prepared for training
