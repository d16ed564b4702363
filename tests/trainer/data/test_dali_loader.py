"""The DALI loader: its graph as DALI would get it (recorded by a fake module), what is made of its output, and its words.

What DALI itself computes takes the real package: the last tests, on the processor, skipped without it.
"""

import dataclasses
import pathlib
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from trainer.data.dali_loader import DaliSampler, Photographs, find_dali, graph
from trainer.data.photos import list_photos, luma_of
from trainer.recipes import lite, lite_clean
from trainer.trainer_error import TrainerError

RECIPE = dataclasses.replace(lite_clean(2), batch=3, crop=16)


class Recorder:
    """Stands in for nvidia.dali.fn: every call is noted, and returns its own name."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], name: str = "fn") -> None:
        self._calls, self._name = calls, name

    def __getattr__(self, part: str) -> "Recorder":
        return Recorder(self._calls, f"{self._name}.{part}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        self._calls.append((self._name, args, options))
        return (self._name, "labels") if self._name == "fn.readers.file" else self._name


def test_the_graph_decodes_crops_flips_and_shrinks_in_this_order() -> None:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    kinds = types.SimpleNamespace(RGB="rgb", INTERP_CUBIC="cubic")
    source = Photographs([pathlib.Path("a.jpg"), pathlib.Path("b.png")], shard=1, num_shards=4)
    assert graph(Recorder(calls), kinds, source, side=32, scale=3, accelerated=True) == ("fn.resize", "fn.flip")
    names = [name for name, _, _ in calls if "random" not in name]
    assert names == ["fn.readers.file", "fn.decoders.image_crop", "fn.flip", "fn.resize"]
    given = {name: (args, options) for name, args, options in calls}
    assert given["fn.readers.file"][1]["files"] == ["a.jpg", "b.png"]
    assert (given["fn.readers.file"][1]["shard_id"], given["fn.readers.file"][1]["num_shards"]) == (1, 4)
    args, options = given["fn.decoders.image_crop"]
    assert args == ("fn.readers.file",)
    assert (options["device"], options["crop"]) == ("mixed", (96, 96))
    assert given["fn.flip"][0] == ("fn.decoders.image_crop",)
    args, options = given["fn.resize"]
    assert args == ("fn.flip",)
    assert (options["size"], options["interp_type"], options["antialias"]) == ((32, 32), "cubic", True)
    graph(Recorder(calls), kinds, source, side=32, scale=3, accelerated=False)
    assert calls[-1][0] == "fn.resize"
    assert next(options for name, _, options in reversed(calls) if name == "fn.decoders.image_crop")["device"] == "cpu"


class Batch:
    """A TensorList of equal samples."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def as_tensor(self) -> torch.Tensor:
        return torch.from_numpy(self.data)


class Pipeline:
    """Draws noise; its checkpoint is how often it ran."""

    def __init__(self, checkpoint: bytes | None, batch: int) -> None:
        self.runs, self.batch = int(checkpoint or 0), batch

    def build(self) -> None:
        pass

    def run(self) -> tuple[Batch, Batch]:
        if self.runs > 90:
            raise RuntimeError("cannot decode x.jpg")
        self.runs += 1
        hr = np.random.default_rng(self.runs).integers(0, 256, (self.batch, 32, 32, 3)).astype(np.uint8)
        return Batch(hr[:, ::2, ::2].copy()), Batch(hr)

    def checkpoint(self) -> bytes:
        return str(self.runs).encode()


@pytest.fixture
def fake_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    def pipeline_def(**options: Any) -> Any:
        assert options["enable_checkpointing"]
        assert options["device_id"] is None
        return lambda make: lambda checkpoint=None: Pipeline(checkpoint, options["batch_size"])

    package, dali = types.ModuleType("nvidia"), types.ModuleType("nvidia.dali")
    dali.fn, dali.types, dali.pipeline_def = types.ModuleType("fn"), types.ModuleType("types"), pipeline_def  # type: ignore[attr-defined]
    for name, module in {"nvidia": package, "nvidia.dali": dali}.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("fake_dali")
def test_batches_are_studio_luma_and_go_on_where_a_checkpoint_was_made() -> None:
    plain = dataclasses.replace(RECIPE, batch=64)
    lr, hr = DaliSampler(Photographs([]), plain, seed=0, device=torch.device("cpu")).draw()
    assert (lr.shape, hr.shape) == ((64, 1, 16, 16), (64, 1, 32, 32))
    expected = np.rint(luma_of(np.random.default_rng(1).integers(0, 256, (64, 32, 32, 3))))
    same = [np.array_equal(np.rint(hr[n, 0].numpy() * 255), expected[n]) for n in range(64)]
    assert 0.5 < np.mean(same) < 0.9  # the others are stretched to full range or barred, as in CropSampler
    whole, parts = (DaliSampler(Photographs([]), RECIPE, seed=0, device=torch.device("cpu")) for _ in range(2))
    whole.draw()
    parts.restore(whole.state())
    assert all(torch.equal(a, b) for a, b in zip(whole.draw(), parts.draw(), strict=True))
    with pytest.raises(TrainerError, match="another --loader"):
        parts.restore(parts.rng.bit_generator.state)


@pytest.mark.usefixtures("fake_dali")
def test_what_dali_cannot_do_is_said() -> None:
    device = torch.device("cpu")
    with pytest.raises(TrainerError, match=r"recipe 'lite_x2' learns from compressed ones.*--loader cache"):
        DaliSampler(Photographs([]), lite(2), seed=0, device=device)
    sampler = DaliSampler(Photographs([]), RECIPE, seed=0, device=device)
    sampler.pipeline.runs = 91
    with pytest.raises(TrainerError, match=r"could not make a batch: cannot decode x\.jpg.*below 32 pixels a side"):
        sampler.draw()


def test_without_dali_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(TrainerError, match="pip install nvidia-dali-cuda120"):
        find_dali()


def test_the_real_package_makes_aligned_pairs_on_the_processor(photos: pathlib.Path) -> None:
    pytest.importorskip("nvidia.dali")
    sampler = DaliSampler(Photographs(list_photos(photos)), RECIPE, seed=0, device=torch.device("cpu"))
    lr, hr = sampler.draw()
    assert (lr.shape, hr.shape) == ((3, 1, 16, 16), (3, 1, 32, 32))
    assert (torch.nn.functional.avg_pool2d(hr, 2) - lr).abs().mean() < 0.05
    again = DaliSampler(Photographs(list_photos(photos)), RECIPE, seed=0, device=torch.device("cpu"))
    again.restore(sampler.state())
    assert all(torch.equal(a, b) for a, b in zip(sampler.draw(), again.draw(), strict=True))


def test_the_real_package_gives_the_photograph_and_names_what_it_cannot_read(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("nvidia.dali")
    from PIL import Image

    device, rng = torch.device("cpu"), np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "exact.png")  # as large as the crop
    recipe = dataclasses.replace(RECIPE, batch=16)
    _, hr = DaliSampler(Photographs([tmp_path / "exact.png"]), recipe, seed=0, device=device).draw()
    codes = np.rint(luma_of(picture))
    looks = [codes, codes[::-1], codes[:, ::-1], codes[::-1, ::-1]]
    found = [min(np.abs(one[0].numpy() * 255 - look).max() for look in looks) for one in hr]
    assert sum(gap < 1e-3 for gap in found) >= 8  # the others are stretched or barred
    Image.fromarray(picture[:20]).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"noise")
    for name in ("small", "broken"):
        sampler = DaliSampler(Photographs([tmp_path / f"{name}.png"]), RECIPE, seed=0, device=device)
        with pytest.raises(TrainerError, match=r"DALI could not make a batch: (The cropping window|nvImageCodec failure)"):
            sampler.draw()
