"""The training loop for networks of luma and chroma. Reads top to bottom; everything that a step depends on is in the checkpoint."""

import copy
import dataclasses
import pathlib
import random
import signal
import time
from collections import defaultdict
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.checkpoint import read_state, write_state
from trainer.data.scene_crops import Batches, cut
from trainer.data.scene_pool import CLEAN, Scene
from trainer.devices import has_bfloat16
from trainer.losses.adversary import Adversary
from trainer.losses.picture_loss import Score, picture_loss, rgb_of
from trainer.losses.training_loss import charbonnier, sharpened
from trainer.nets.luma_chroma import CHROMA_GAIN, LumaChroma, split
from trainer.nets.quantised_luma_chroma import LumaChromaInt8
from trainer.nets.recurrent_luma_chroma import RecurrentLumaChroma, played, widened
from trainer.soap import Soap
from trainer.stages import Stage
from trainer.trainer_error import TrainerError

FORMAT = 4
LOG_EVERY, CHECK_EVERY = 100, 2000  # steps
NUM_CHECKED = 24  # validation scenes
NUM_SCORED = 3  # ways of each, where a metric looks at them, too
CHECKED_SIDE, CHECKED_SIDE_OF_RUNS = 112, 64  # pixels of their middle; runs have several times the frames
NUM_CENTRED = 100  # batches, by which the mean errors of int8 are measured
CPU = torch.device("cpu")


def learning_rate(step: int, stage: Stage) -> float:
    """A linear warm-up, a long plateau, and a linear fall: a longer run shares all but the fall with a shorter one."""
    left = (stage.steps - step) / max(1, round(stage.steps * stage.decay))
    return stage.lr * min(1.0, (step + 1) / max(1, stage.warmup), max(left, 0.01))


def build(stage: Stage) -> LumaChroma:
    """An untrained network as the stage wants it."""
    shape = stage.scale, stage.channels, stage.layers
    if stage.recurrent:
        return RecurrentLumaChroma(*shape, radius=stage.radius)
    kind = LumaChromaInt8 if stage.quantised else LumaChroma
    return kind(*shape, residual=stage.residual)


def seed(net: LumaChroma, weights: dict[str, Tensor], batches: Batches) -> None:
    """Start from another stage's weights where the shapes agree: all of them, but for steps of int8 and the phases of another scale.

    A narrower network is widened into one of residual pairs. Raises TrainerError where the body does not fit.
    """
    own = net.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if any(name.startswith(("head", "body")) and name not in fitting for name in own):
        try:
            fitting = widened(weights, net)
        except ValueError as error:
            raise TrainerError(f"The weights to start from do not fit: {error}") from error
    net.load_state_dict(fitting, strict=False)
    if isinstance(net, LumaChromaInt8):
        net.measure(batches.draw()[0].flatten(0, 1))


def aimed(target: Tensor, is_clean: Tensor, stage: Stage) -> Tensor:
    """What a network comes closest to: the original, its luma sharpened where the stage says so, but not that of clean sources.

    target (T, N, C, H, W), is_clean (N,).
    """
    if not stage.gain:
        return target
    luma, chroma = split(target.flatten(0, 1), stage.scale)
    phases = functional.pixel_unshuffle(sharpened(luma, stage.gain), stage.scale)
    sharp = torch.cat([phases, chroma], 1).view_as(target)
    return torch.where(is_clean.view(1, -1, 1, 1, 1), target, sharp)


def fidelity(made: Tensor, target: Tensor, stage: Stage) -> Tensor:
    """Charbonnier of luma and chroma, and of runs that of their changes from frame to frame: boiling costs, motion does not.

    Both (T, N, C, H, W).
    """
    loss = _charbonnier(made, target, stage)
    if stage.steadiness and len(made) > 1:
        loss = loss + stage.steadiness * _charbonnier(made.diff(dim=0), target.diff(dim=0), stage)
    return loss


def _charbonnier(made: Tensor, target: Tensor, stage: Stage) -> Tensor:
    """Of luma, and of chroma by its weight."""
    phases = stage.scale**2
    luma, chroma = (charbonnier(made[:, :, part], target[:, :, part], stage.eps) for part in (slice(phases), slice(phases, None)))
    return luma + stage.chroma_weight * chroma


@torch.no_grad()
def centre(net: LumaChroma, batches: Batches, stage: Stage) -> None:
    """Take the mean error of each output plane from the last biases.

    Averaged weights that are rounded to 8 bits shift each phase of luma a little, which draws a regular pattern. Source: Nagel et al.,
    arXiv:1906.04721, section 4.2.
    """
    device = next(net.parameters()).device
    errors = []
    for _ in range(NUM_CENTRED):
        x, y, is_clean = (part.to(device) for part in batches.draw())
        errors.append((played(net, x) - aimed(y, is_clean, stage)).mean((0, 1, 3, 4)))
    error = torch.stack(errors).mean(0)
    phases = stage.scale**2
    assert net.tail.bias is not None
    net.tail.bias -= error * torch.cat([torch.ones_like(error[:phases]), torch.full_like(error[phases:], CHROMA_GAIN)])


def train(
    stage: Stage, training: list[Scene], validation: list[Scene], run: pathlib.Path, *, seed_weights: dict[str, Tensor] | None = None,
    device: torch.device = CPU, score: Score | None = None,
) -> nn.Module:  # fmt: skip
    """Train to `stage.steps`, from the checkpoint in `run` where there is one, and return the averaged network, on the CPU.

    score: what a stage with a weight of Efficient-PBAN is steered by; on `device`. Raises TrainerError where it is missing.
    Ctrl-C and SIGTERM save, and raise KeyboardInterrupt.
    """
    if stage.pban_weight and score is None:
        raise TrainerError(f"{stage.name} is steered by a metric (weight {stage.pban_weight:g}): give one.")
    torch.manual_seed(stage.seed)
    net = build(stage).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(
        training, scale=stage.scale, batch=stage.batch, crop=stage.crop, seed=stage.seed, frames=stage.frames,
        chroma_filter=stage.chroma_filter,
    )  # fmt: skip
    if seed_weights is not None:
        seed(net, seed_weights, batches)
    net = net.to(device)
    average = copy.deepcopy(net)
    optimiser = Soap(net.parameters(), lr=stage.lr)
    adversary = Adversary(stage.scale, device) if stage.adversarial_weight else None
    step, seconds, last = 0, 0.0, run / "last.ckpt"
    if last.is_file():
        state = read_state(last, FORMAT, "this trainer")
        net.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        if adversary is not None and state.get("adversary"):
            adversary.load(state["adversary"])
        batches.rng.bit_generator.state = state["rng"]
        step, seconds = state["step"], state["seconds"]
        print(f"{stage.name}: goes on from step {step}", flush=True)
    told_at, is_half = step, stage.half and has_bfloat16(device)
    began, loss_sum, stopped = time.monotonic() - seconds, torch.zeros((), device=device), []
    handlers = {number: signal.signal(number, lambda *_: stopped.append(True)) for number in (signal.SIGINT, signal.SIGTERM)}

    def save() -> None:
        state: dict[str, Any] = {
            "format": FORMAT, "stage": dataclasses.asdict(stage), "step": step, "seconds": time.monotonic() - began,
            "model": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(),
            "rng": batches.rng.bit_generator.state, "adversary": None if adversary is None else adversary.state(),
        }  # fmt: skip
        write_state(last, state)

    try:
        while step < stage.steps and not stopped:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, stage)
            x, y, is_clean = (part.to(device) for part in batches.draw())
            with torch.autocast(device.type, torch.bfloat16) if is_half else nullcontext():
                made = played(net, x)
            loss = fidelity(made, aimed(y, is_clean, stage), stage)
            if score is not None and stage.pban_weight:
                views = random.Random(f"{stage.seed} {step}")
                some = made[-1, : stage.num_seen], y[-1, : stage.num_seen]  # a state has learned most at the end of a run
                loss = loss + stage.pban_weight * picture_loss(score, *some, stage.scale, views)
            if adversary is not None:
                flat = x.flatten(0, 1), made.flatten(0, 1), y.flatten(0, 1)
                loss = loss + stage.adversarial_weight * adversary.loss(*flat)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            if adversary is not None:
                adversary.learn(*flat)
            step += 1
            with torch.no_grad():
                keep = min(stage.ema, (1 + step) / (10 + step))  # a young average follows quickly
                torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - keep)
                loss_sum += loss  # read now and then: that waits for the device
            if step % LOG_EVERY == 0:
                mean, rate = float(loss_sum) / (step - told_at), step / (time.monotonic() - began)
                print(f"{stage.name} step {step}/{stage.steps} loss {mean:.5f} {rate:.1f} steps/s", flush=True)
                if not np.isfinite(mean):
                    raise TrainerError(f"{stage.name}: the loss is {mean} at step {step}; {str(last)!r} holds a good one. Lower lr.")
                loss_sum.zero_()
                told_at = step
            if stage.quantised and step == stage.steps:
                centre(average, batches, stage)
            if step % CHECK_EVERY == 0 or step == stage.steps:
                print(f"{stage.name} step {step} " + told(check(average, validation, stage, score)), flush=True)
                save()
        if stopped:
            save()
            print(f"{stage.name}: stopped at step {step}, saved", flush=True)
            raise KeyboardInterrupt
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return average.cpu().eval()


@torch.no_grad()
def check(net: LumaChroma, scenes: list[Scene], stage: Stage, score: Score | None = None) -> dict[str, float]:
    """Mean gain in dB of PSNR over bicubic luma and linear chroma, of clean ways and of the others, on the middle of scenes.

    Of runs: on their last frame, and of luma's change to it from the frame before. score: also its mean, of clean ways and of
    the others.
    """
    found: dict[str, list[float]] = defaultdict(list)
    device, is_run = next(net.parameters()).device, stage.frames > 1
    for scene in scenes[:NUM_CHECKED]:
        frames = range(scene.ly.shape[1]) if is_run else range(1)
        sizes = scene.ly.shape[2:]
        side = min(CHECKED_SIDE_OF_RUNS if is_run else CHECKED_SIDE, *sizes)  # at x4 scenes are smaller
        top, left = ((size - side) // 4 * 2 for size in sizes)
        for way in range(len(scene.ly)):
            pairs = [cut(scene, way, frame, stage.scale, top, left, side, stage.chroma_filter) for frame in frames]
            x, y = (torch.from_numpy(np.stack(part))[:, None].to(device) for part in zip(*pairs, strict=True))
            made = played(net, x).clamp(0, 1)[-2:]
            (x, y), kind = (x[-2:, 0], y[-2:, 0]), "clean" if way == CLEAN else "found"
            luma, chroma = split(made[:, 0], stage.scale)
            target_luma, target_chroma = split(y, stage.scale)
            plain = functional.interpolate(x[:, :1], scale_factor=stage.scale, mode="bicubic").clamp(0, 1)
            found[f"{kind}_y"].append(_psnr(luma[-1:], target_luma[-1:]) - _psnr(plain[-1:], target_luma[-1:]))
            found[f"{kind}_c"].append(_psnr(chroma[-1:], target_chroma[-1:]) - _psnr(x[-1:, 1:3], target_chroma[-1:]))
            if is_run:
                change = target_luma.diff(dim=0)
                found[f"{kind}_change"].append(_psnr(luma.diff(dim=0), change) - _psnr(plain.diff(dim=0), change))
            if score is not None and way < NUM_SCORED:
                rgb = (rgb_of(part[-1:], stage.scale).clamp(0, 1) for part in (made[:, 0], y))
                found[f"{kind}_score"].append(float(score(*rgb)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def told(gains: dict[str, float]) -> str:
    return "gain: " + "  ".join(f"{name} {value:+.3f}" for name, value in gains.items())


def _psnr(a: Tensor, b: Tensor) -> float:
    error = ((a.mul(255).round() - b.mul(255)) / 255)[..., 4:-4, 4:-4].square().mean()
    return float(-10 * torch.log10(error.clamp_min(1e-6)))
