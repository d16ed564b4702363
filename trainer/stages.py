"""What is trained: a stage is one network at one scale with one loss. `python -m trainer ship` trains them all, one after another."""

from dataclasses import dataclass, replace
from typing import Literal

from streamsr_kernels import Filter

from trainer.trainer_error import TrainerError

Look = Literal["natural", "faithful"]
GAIN = 0.4  # of natural networks: sharpened further, results score lower in Efficient-PBAN on held-out scenes
STEADY_FRAMES = 3  # in a row, of a network without a state: two changes
INT8_LR = 1.2e-4  # lite lost 0.06 dB of luma at 4e-4, in 4,800 steps from its float32 weights, and nothing at this rate, in 2,100
REACH = 6  # input pixels along a row or column, of attention


@dataclass(frozen=True)
class Stage:
    """Everything that a run depends on, apart from the pairs."""

    name: str
    model: str
    scale: int
    look: Look
    steps: int
    channels: int = 16
    layers: int = 4
    residual: bool = False  # body layers in residual pairs
    recurrent: bool = False  # carries a state from frame to frame (trainer.nets.recurrent_luma_chroma)
    radius: int = 0  # of the attention between frame and state, in input pixels; 0: none
    frames: int = 1  # in a row, as one example; gradients flow back through all of them
    steadiness: float = 0.0  # weight of the same loss on the changes from frame to frame
    seed_from: str = ""  # stage whose averaged weights it starts from
    batch: int = 8  # crops a step
    crop: int = 48  # side of a crop in input pixels
    lr: float = 4e-3
    warmup: int = 200  # steps
    decay: float = 0.25  # share of the steps, at the end, in which the learning rate falls to a hundredth
    ema: float = 0.999
    eps: float = 1e-3  # of the Charbonnier loss, in units of the [0, 1] range
    chroma_filter: Filter = "lanczos"  # by which chroma comes to the network's grid
    chroma_weight: float = 2.0
    gain: float = 0.0  # unsharp gain on the luma of the targets (trainer.losses.training_loss.sharpened)
    pban_weight: float = 0.0  # of 1 - Efficient-PBAN, on `num_seen` crops of the batch
    num_seen: int = 2
    adversarial_weight: float = 0.0  # of a critic that learns beside the network (trainer.losses.adversary)
    half: bool = False  # convolutions in bfloat16 where the device has it, with sums and weights in float32
    quantised: bool = False  # with the arithmetic of the int8 file
    seed: int = 1


def _quantised(stage: Stage, *, steps: int) -> Stage:
    """The same network with the arithmetic of its int8 file, from the float32 one."""
    stem, size = stage.name.rsplit("_", 1)
    return replace(stage, name=f"{stem}_int8_{size}", seed_from=stage.name, quantised=True, steps=steps, lr=INT8_LR, decay=0.6)


def _larger(stage: Stage, scale: int) -> Stage:
    """The same network for a larger scale, from that for x2: all but its last convolution fits."""
    return replace(
        of_single_frames(stage), name=f"{stage.model}_x{scale}", scale=scale, seed_from=stage.name, crop=32, steps=stage.steps // 4,
        chroma_filter="linear",
    )  # fmt: skip


def _faithful(stage: Stage, *, steps: int) -> Stage:
    """The same network with a loss that is nearly a squared error: as close to the original as can be known."""
    stem, size = stage.name.rsplit("_", 1)
    return replace(
        of_single_frames(stage), name=f"{stem}_faithful_{size}", look="faithful", seed_from=stage.name, steps=steps, lr=stage.lr / 2,
        decay=0.6, eps=0.02, gain=0.0,
    )


def of_single_frames(stage: Stage) -> Stage:
    """The same without steadiness, which does not come for nothing: for looks and scales that have no sharpness to spare."""
    return replace(stage, steadiness=0.0, frames=1, batch=Stage.batch)


_LITE = Stage(
    "lite_x2", "lite", 2, "natural", steps=300_000, chroma_filter="linear", chroma_weight=4.0, steadiness=0.3, frames=STEADY_FRAMES,
    batch=4, gain=GAIN,
)  # fmt: skip
_BASE = Stage("base_x2", "base", 2, "natural", steps=120_000, channels=32, layers=6, residual=True, lr=2e-3, gain=GAIN)
_MAX = Stage(
    "max_x2", "max", 2, "natural", steps=120_000, channels=48, layers=12, residual=True, recurrent=True, seed_from="base_x2",
    frames=5, steadiness=0.5, batch=4, crop=32, lr=4e-4, half=True, gain=GAIN,
)  # fmt: skip
_WHOLE = (
    _LITE, _faithful(_LITE, steps=60_000), _BASE, _faithful(_BASE, steps=30_000), _larger(_LITE, 3), _larger(_LITE, 4), _larger(_BASE, 3),
    _larger(_BASE, 4),
)  # fmt: skip
# each with its int8 form behind it; `max` is for GPUs, which run float16
STAGES: dict[str, Stage] = {
    stage.name: stage for whole in _WHOLE for stage in (whole, _quantised(whole, steps=20_000 if whole.model == "lite" else 12_000))
} | {_MAX.name: _MAX}


def with_attention(stage: Stage) -> Stage:
    """The same with attention between frame and state, in a run of its own: what it is worth.

    Raises TrainerError for a stage without a state.
    """
    if not stage.recurrent:
        remembering = ", ".join(other.name for other in STAGES.values() if other.recurrent)
        raise TrainerError(f"{stage.name} has no state to attend to. Stages that have: {remembering}.")
    return replace(stage, name=f"{stage.name}_attention", radius=REACH)


def steadied(stage: Stage, weight: float) -> Stage:
    """The same with this weight on changes from frame to frame: single frames become runs, of as many frames a step."""
    frames = max(stage.frames, STEADY_FRAMES)
    return replace(stage, steadiness=weight, frames=frames, batch=max(1, stage.batch * stage.frames // frames))


def stage_named(name: str) -> Stage:
    """Raises TrainerError for an unknown name, with the known ones."""
    if name not in STAGES:
        raise TrainerError(f"Unknown stage {name!r}. Stages, in their order: {', '.join(STAGES)}.")
    return STAGES[name]
