"""How weights and activations are rounded in networks that learn with the arithmetic of their int8 file.

Source: Esser et al., Learned Step Size Quantization, arXiv:1902.08153.

Note [Sums in 16 bits]
    Processors without VNNI add two products of 8 bits in 16 bits, and clip what does not fit: base lost 1.5 VMAF and 0.2 dB of chroma on
    one clip. 2 * 255 * 63 fits, so weights have the codes -63 to 63, and every processor computes the same. (Activations of 7 bits and
    weights of 8 fit as well, but their rounding is seen on smooth ground: 0.02 Efficient-PBAN on that clip.)
"""

from torch import Tensor

QUANTILE = 0.9999  # of a tensor's values: where its range ends before training moves it
ACTIVATIONS, WEIGHTS = 255, 63  # largest codes


def snap(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """x to the nearest of the steps `low` to `high`. Gradients pass through the rounding."""
    codes = (x / step).clamp(low, high)
    return (codes + (codes.round() - codes).detach()) * step


def measured_step(x: Tensor) -> Tensor:
    """Of a tensor without negative values, from what it holds."""
    values = x.flatten()
    return values.kthvalue(max(1, int(QUANTILE * len(values)))).values.clamp_min(1e-3) / ACTIVATIONS


def weight_step(weight_OIKK: Tensor) -> Tensor:
    """(O, 1, 1, 1): one for each output channel."""
    return weight_OIKK.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8) / WEIGHTS


def snapped_weight(weight_OIKK: Tensor) -> Tensor:
    """As the int8 file holds it. Gradients pass through."""
    return snap(weight_OIKK, weight_step(weight_OIKK), -WEIGHTS, WEIGHTS)


def weight_codes(weight_OIKK: Tensor) -> tuple[Tensor, Tensor]:
    """What the int8 file holds: codes (O, I, K, K) and steps (O,)."""
    step = weight_step(weight_OIKK)
    return (weight_OIKK.detach() / step).round().clamp(-WEIGHTS, WEIGHTS), step.flatten()
