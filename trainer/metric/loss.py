"""EfficientPBAN: the metric that ships, as a loss for any training loop."""

import pathlib
from importlib.resources import files

import torch
from torch import Tensor, nn

SHIPPED = pathlib.Path(str(files("streamsr") / "weights" / "metric" / "efficient_pban.onnx"))


class EfficientPBAN(nn.Module):
    """1 - score of a result beside its original, the mean of a batch: 0 for equal pictures, below 1; lower is better.

        from trainer.metric import EfficientPBAN

        criterion = EfficientPBAN().to(device)                       # frozen: it has no weights that learn
        for low, original in pairs:                                  # RGB in [0, 1], sides of 96 or more
            result = network(low)
            loss = l1(result, original) + 0.2 * criterion(result, original)
            optimiser.zero_grad()
            loss.backward()                                          # the slope reaches `result` alone
            optimiser.step()

    file: another metric that was exported. Raises TrainerError where it cannot be read. Needs `pip install 'streamsr[train]'`.
    """

    def __init__(self, file: pathlib.Path = SHIPPED) -> None:
        super().__init__()
        from trainer.metric.shipped_metric import open_shipped  # ONNX and the encoder's package: only once a metric is opened

        self.metric = open_shipped(file).requires_grad_(False).eval()

    def score(self, result_NCHW: Tensor, original_NCHW: Tensor) -> Tensor:
        """(N,) in (0, 1]: 1 for equal pictures, higher is better. Raises ValueError for shapes that differ or are too small."""
        score: Tensor = self.metric(result_NCHW, original_NCHW)
        return score

    def forward(self, result_NCHW: Tensor, original_NCHW: Tensor) -> Tensor:
        return 1 - torch.mean(self.score(result_NCHW, original_NCHW))
