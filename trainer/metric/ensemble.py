"""Several metrics as one: they differ in what chance gave their networks in pretraining, and their opinions are averaged.

One network's judge, fitted to few people, is right or wrong by chance in a handful of pairs; the mean of several is so less often
(README.md beside this). All look at the same features of one frozen encoder. Axes: N, C, H, W.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.metric.encoder import ENCODERS, EncoderName
from trainer.metric.feature_cache import stages_at_both_scales, terms_of
from trainer.metric.learned_metric import Metric


class MetricEnsemble(nn.Module):
    """(sr, hr), RGB (N, 3, H, W) in [0, 1], sides of 96 or more -> score (N,) in (0, 1], higher is better.

    jurors: metrics with the same encoder, variances, units and reach; the encoder, the distance and the size of scores are the first one's.
    """

    def __init__(self, jurors: Sequence[Metric]) -> None:
        super().__init__()
        if not jurors:
            raise ValueError("A jury needs a metric or more.")
        if len({juror.reach for juror in jurors}) > 1:
            raise ValueError(f"Jurors differ in reach: {', '.join(str(juror.reach) for juror in jurors)}.")
        for juror in jurors[1:]:
            juror.network.encoder = jurors[0].network.encoder
        self.jurors = nn.ModuleList(jurors)

    @property
    def first(self) -> Metric:
        juror = self.jurors[0]
        assert isinstance(juror, Metric)
        return juror

    @property
    def encoder_name(self) -> EncoderName:
        """What its encoder is called in `ENCODERS`."""
        return next(name for name, kind in ENCODERS.items() if type(self.first.network.encoder) is kind)

    def energy(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        """-log(score), the geometric mean of the jurors': (N,), 0 or more."""
        first = self.first
        first.check(sr_NCHW, hr_NCHW)
        sr, hr = (stages_at_both_scales(first.network.encoder, x) for x in (sr_NCHW, hr_NCHW))
        distance = first.distance(terms_of(sr, hr, first.variances))
        if first.reach == 0:
            return distance
        bends = [torch.tanh(juror.network.opinion(sr[0][-1], hr[0][-1])) for juror in self.jurors]  # type: ignore[union-attr, operator]
        return distance * torch.exp(-first.reach * torch.stack(bends).mean(0))

    def forward(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        return torch.exp(-self.energy(sr_NCHW, hr_NCHW))
