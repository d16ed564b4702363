"""ResNet-34's stem and first three stages, with torchvision's parameter names, so that its weight files load.

Written out because torchvision's wheels need one exact build of torch. Source: He et al., arXiv:1512.03385. Axes: N, C, H, W.
"""

import torch
from torch import Tensor, nn

from trainer.trainer_error import TrainerError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the first may halve the size and change the width."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or given != made:
            self.downsample = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet34Stages(nn.Module):
    """(N, 3, H, W) -> [stem (64, 1/2), layer1 (64, 1/4), layer2 (128, 1/8), layer3 (256, 1/16)]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._layer(64, 64, 3, 1)
        self.layer2 = self._layer(64, 128, 4, 2)
        self.layer3 = self._layer(128, 256, 6, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _layer(given: int, made: int, blocks: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(given, made, stride), *(BasicBlock(made, made, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> list[Tensor]:
        stem = torch.relu(self.bn1(self.conv1(x)))
        features = [stem, self.layer1(self.maxpool(stem))]
        features.append(self.layer2(features[-1]))
        features.append(self.layer3(features[-1]))
        return features

    def load_pretrained(self, state: dict[str, Tensor], name: str) -> None:
        """Load torchvision's `resnet34`; its fourth stage and classifier are left out. Raises TrainerError when the names do not fit."""
        own = self.state_dict()
        wanted = {key: value for key, value in state.items() if not key.startswith(("layer4.", "fc."))}
        wrong = sorted(set(own) ^ set(wanted)) or [key for key in own if own[key].shape != wanted[key].shape]
        if wrong:
            raise TrainerError(f"{name!r} is not torchvision's resnet34: {len(wrong)} parameters differ, first {wrong[0]!r}.")
        self.load_state_dict(wanted)
