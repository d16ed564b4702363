"""RGB pairs: both sides of the comparison see the same crops."""

import pathlib

import numpy as np
import pytest
import torch

from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.photos import list_photos, luma_of, read_rgb
from trainer.data.rgb_pairs import ColourSampler, colour_pairs, fixed_colour_crops, luma_of_unit
from trainer.nets import Lite
from trainer.trainer_error import TrainerError


@pytest.fixture(scope="module")
def cache(photos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> PairCache:
    paths = list_photos(photos)[:3]
    return open_cache(tmp_path_factory.mktemp("c"), paths, make=colour_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)


def test_luma_is_that_of_the_photographs(photos: pathlib.Path) -> None:
    rgb = read_rgb(list_photos(photos)[0])
    unit = torch.from_numpy(rgb.transpose(2, 0, 1)[None].copy()).float() / 255
    np.testing.assert_allclose(luma_of_unit(unit)[0, 0].numpy() * 255, luma_of(rgb), atol=1e-3)
    assert luma_of_unit(unit[:, :1]) is not unit
    assert torch.equal(luma_of_unit(unit[:, :1]), unit[:, :1])


def test_the_cache_holds_the_photograph_in_its_colours(cache: PairCache, photos: pathlib.Path) -> None:
    [(lr, hr), *_] = fixed_colour_crops(cache, crop=48, limit=9, planes=3)
    assert (lr.shape, hr.shape) == ((1, 3, 48, 48), (1, 3, 96, 96))
    expected = read_rgb(list_photos(photos)[0])[:, 16:112].transpose(2, 0, 1)
    assert np.array_equal((hr[0].numpy() * 255).round(), expected)
    assert (torch.nn.functional.avg_pool2d(hr, 2) - lr).abs().mean() < 0.03  # colours in the same order and place


def test_luma_and_rgb_are_drawn_alike(cache: PairCache) -> None:
    colour, luma = (ColourSampler(cache, crop=16, batch=3, planes=planes, seed=5) for planes in (3, 1))
    for _ in range(2):
        for a, b in zip(colour.draw(), luma.draw(), strict=True):
            assert torch.equal(luma_of_unit(a), b)
    with pytest.raises(TrainerError, match="crop of 99"):
        ColourSampler(cache, crop=99, batch=1, planes=3, seed=0)


def test_an_rgb_network_repeats_each_colour_when_its_tail_is_silent() -> None:
    net = Lite(2, planes=3)
    torch.nn.init.zeros_(net.tail.weight)
    x = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        assert torch.equal(net(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert net.macs_per_pixel == 9 * (3 * 16 + 5 * 256) + 16 * 12
