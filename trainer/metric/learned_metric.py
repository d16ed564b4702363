"""The metric that ships: a feature distance, weighted by what people said, and corrected by the Efficient-PBAN network.

score = exp(-distance x exp(-reach x tanh(opinion))): 1 for equal pictures, towards 0 for bad ones, whatever the network says. The network
can change a distance by a factor of exp(reach) either way, and says nothing before it was trained. Axes: N, C, H, W; K terms.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.metric.feature_cache import NUM_SCALES, stages_at_both_scales, terms_of
from trainer.metric.pban_network import EfficientPban

SMOOTH = 1e-4  # under the root of each distance: finite slope for equal pictures
NUM_FACTORS = 2  # luminance, structure


class Metric(nn.Module):
    """(sr, hr), RGB (N, 3, H, W) in [0, 1], sides of 96 or more -> score (N,) in (0, 1], higher is better.

    variances: of each stage's channels over photographs. reach: of the network's correction; 0 leaves it out.
    """

    def __init__(self, network: EfficientPban, variances: Sequence[Tensor], *, reach: float = 0.4) -> None:
        super().__init__()
        if network.behaviour != "fixed":
            raise ValueError("The metric corrects with a network of the behaviour 'fixed': 'paper' looks at the whole batch.")
        self.network = network
        self.reach = reach
        for i, variance in enumerate(variances):
            self.register_buffer(f"variance{i}", variance.detach().clone())
        widths = [v.numel() for v in variances for _ in range(NUM_FACTORS)] * NUM_SCALES
        self.channels = nn.Parameter(torch.zeros(sum(widths)))  # log of each channel's weight in its distance
        self.weights = nn.Parameter(torch.zeros(len(widths)))  # log of each distance's weight
        self.log_size = nn.Parameter(torch.zeros(()))  # of the whole distance: what a score of 1 / e looks like
        self.register_buffer("place", torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths)), persistent=False)
        self.register_buffer("unit", torch.ones(len(widths)))  # mean of each distance over pictures, so that weights start even
        self.register_buffer("per_channel", 1 / torch.tensor(widths, dtype=torch.float32)[self.get_buffer("place")], persistent=False)
        nn.init.zeros_(network.judge.weight)
        nn.init.zeros_(network.judge.bias)

    @property
    def variances(self) -> list[Tensor]:
        return [self.get_buffer(f"variance{i}") for i in range(len(self.network.encoder.channels))]

    def distances(self, terms_NK: Tensor) -> Tensor:
        """The twenty distances (N, scales x stages x factors), each a mean over channels by their weights."""
        weighted = terms_NK.clamp_min(0) * self.channels.exp() * self.get_buffer("per_channel")
        place = self.get_buffer("place").expand_as(weighted)
        return torch.zeros(len(weighted), len(self.weights), dtype=weighted.dtype, device=weighted.device).scatter_add(1, place, weighted)

    @torch.no_grad()
    def measure_units(self, terms_NK: Tensor) -> None:
        """Make the mean of every distance over these pictures one."""
        self.get_buffer("unit").copy_(self.distances(terms_NK).mean(0).clamp_min(1e-9))

    def distance(self, terms_NK: Tensor) -> Tensor:
        """The distance without the network: (N,), 0 for equal pictures."""
        roots = (self.distances(terms_NK) / self.get_buffer("unit") + SMOOTH).sqrt() - math.sqrt(SMOOTH)
        return (roots * torch.softmax(self.weights, 0)).sum(1) * self.log_size.exp()

    def corrected(self, distance: Tensor, opinion: Tensor) -> Tensor:
        """A better opinion makes a distance smaller."""
        return distance * torch.exp(-self.reach * torch.tanh(opinion))

    def check(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> None:
        """Raises ValueError for shapes that cannot be compared."""
        if sr_NCHW.shape != hr_NCHW.shape:
            raise ValueError(f"Result and original differ in shape: {tuple(sr_NCHW.shape)} and {tuple(hr_NCHW.shape)}.")
        self.network.prepare(sr_NCHW[:1])

    def energy(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        """-log(score): (N,), 0 or more."""
        self.check(sr_NCHW, hr_NCHW)
        sr, hr = (stages_at_both_scales(self.network.encoder, x) for x in (sr_NCHW, hr_NCHW))
        distance = self.distance(terms_of(sr, hr, self.variances))
        return distance if self.reach == 0 else self.corrected(distance, self.network.opinion(sr[0][-1], hr[0][-1]))

    def forward(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        return torch.exp(-self.energy(sr_NCHW, hr_NCHW))
