"""The training loop: draw, step, average, now and then validate and save. Reads top to bottom."""

import contextlib
import copy
import dataclasses
import math
import pathlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from streamsr.compare.vmaf import find_ffmpeg
from trainer.checkpoint import load_checkpoint, recipe_of, save_checkpoint, seed_network
from trainer.data.crops import CropSampler, Sampler
from trainer.data.dali_loader import DaliSampler, Photographs
from trainer.data.pair_cache import PairCache
from trainer.data.pair_sources import Source
from trainer.data.rgb_pairs import ColourSampler
from trainer.devices import lightning_device
from trainer.losses.fidelity import SMALLEST
from trainer.losses.perception import open_perception, scheduled_share
from trainer.losses.training_loss import training_loss
from trainer.metric_guard import Guard, open_guard
from trainer.nets import Lite, QuantisedLite, build_network
from trainer.recipes import Recipe
from trainer.soap import Soap
from trainer.trainer_error import TrainerError
from trainer.validation import open_checks, validate

FINE = ("ssim", "ms_ssim", "efficient_pban")  # shown with four digits
LOOK_EVERY = 100  # steps between two looks at whether a loss was no number


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How to run, as opposed to what to train."""

    out: pathlib.Path  # run folder: last.ckpt, TensorBoard events
    device: str = "auto"  # see trainer.devices
    # Lightning precision. Not bf16-mixed: its gradients were 20 to 50 % off here, and left results a third of an 8-bit code too dark
    precision: str = "32-true"
    resume: bool = True  # continue from last.ckpt when the run folder has one
    init_from: pathlib.Path | None = None  # run, checkpoint or exported float32 network that seeds the weights of a new run
    save_every: int = 2000  # steps
    validate_every: int = 5000  # steps
    stop_at: int | None = None  # stop after this step though the schedule is longer
    devices: int = 1  # of this machine
    nodes: int = 1  # machines; start the same command on each, or use torchrun
    metric: pathlib.Path | None = None  # Efficient-PBAN (run folder, metric.pt, or its shipped form): for the loss, and to measure with


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to one hundredth. `step` counts from 0."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    t = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, t))))


def train(recipe: Recipe, training: Source, validation: PairCache, options: LoopOptions) -> Lite:
    """Train to `recipe.steps` (or `options.stop_at`) and return the averaged network."""
    if (recipe.information_weight or recipe.detail_weight) and recipe.crop * recipe.scale < SMALLEST:
        raise TrainerError(
            f"crop is {recipe.crop}: targets of {recipe.crop * recipe.scale} pixels are too small for the fidelity terms, which take "
            f"{SMALLEST}. Give a larger --crop, or --information-weight 0 --detail-weight 0."
        )
    accelerator, devices = lightning_device(options.device, options.devices)
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=options.nodes, precision=options.precision)  # type: ignore[arg-type]
    fabric.launch()
    # before the seed is set: a network starts from the same weights with and without a metric
    perception, guard = open_perception(recipe, options.metric, fabric.device), open_guard(recipe)
    fingerprint = perception.fingerprint if perception is not None and recipe.pban_weight else ""
    fabric.seed_everything(recipe.seed, verbose=False)
    net = build_network(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = Soap(net.parameters(), lr=recipe.lr)
    if isinstance(training, Photographs):
        training = dataclasses.replace(training, shard=fabric.global_rank, num_shards=fabric.world_size)
    sampler = open_sampler(training, recipe, seed=recipe.seed + 1_000_003 * fabric.global_rank, device=fabric.device)
    step, seconds, metrics = 0, 0.0, dict[str, float]()

    last = options.out / "last.ckpt"
    state = load_checkpoint(last) if options.resume and last.is_file() else None
    if state is None and options.init_from is not None:
        kept = seed_network(net, options.init_from)
        fabric.print(f"seeded from {options.init_from}" + (f"; new: {', '.join(kept)}" if kept else ""), flush=True)
    if state is None and isinstance(net, QuantisedLite):
        net.measure(sampler.draw()[0].cpu())
    ema = copy.deepcopy(net)
    if state is not None:
        _check_same_recipe(recipe_of(state), recipe, last)
        if state.get("metric", "") != fingerprint:
            raise TrainerError(f"{str(last)!r} was trained with another metric. Give the same --metric, or another --out.")
        net.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
    ema = ema.to(fabric.device)
    model, optimiser = fabric.setup(net, optimiser)  # type: ignore[arg-type]
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
        sampler.restore(_own_state(state["crop_rng"], fabric, last))
        torch.set_rng_state(state["torch_rng"])
        step, seconds, metrics = state["step"], state["seconds"], state["metrics"]
        guard = Guard.of_state(state["guard"]) if guard is not None else None
        fabric.print(f"resumed {last} at step {step}", flush=True)

    checks = open_checks(validation, recipe)

    guarded = guard is not None or (perception is not None and find_ffmpeg() is not None)

    def measure() -> dict[str, float]:
        """By one process, for all of them: what the guard does must be the same everywhere."""
        score = None if perception is None else perception.metric
        return fabric.broadcast(validate(ema, checks, fabric.device, guarded=guarded, score=score) if fabric.is_global_zero else {})

    if guard is not None and step == 0:
        metrics = measure()
        guard.look(metrics, 0.0, recipe)  # what the weights that it starts from can do
        fabric.print(f"step 0: {_told(metrics)}", flush=True)
    final = min(recipe.steps, options.stop_at or recipe.steps)
    began, since, loss_sum = time.monotonic() - seconds, step, torch.zeros((), device=fabric.device)
    # the first step whose loss is no number; looked at now and then, because looking waits for the device
    first_bad = torch.full((), final + 1, device=fabric.device)
    with (
        SummaryWriter(str(options.out)) if fabric.is_global_zero else contextlib.nullcontext() as board,
        noted_signals(fabric.world_size == 1) as stopped,  # several processes would stop at several steps
    ):
        while step < final and not stopped:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, recipe)
            if perception is not None and guard is not None:
                perception.share = guard.limit(scheduled_share(step, recipe))
            optimiser.zero_grad()
            loss = torch.zeros((), device=fabric.device)
            for part in range(recipe.accumulate):
                lr_NCHW, hr_NCHW = (fabric.to_device(t) for t in sampler.draw())
                with fabric.no_backward_sync(model, enabled=part < recipe.accumulate - 1):  # type: ignore[arg-type]
                    sr_NCHW = model(lr_NCHW.contiguous(memory_format=torch.channels_last)).float()
                    part_loss = training_loss(sr_NCHW, hr_NCHW, recipe, perception) / recipe.accumulate
                    fabric.backward(part_loss)
                loss += part_loss.detach()
            optimiser.step()
            step += 1
            with torch.no_grad():
                # a young average follows quickly: otherwise the first thousand steps remember the initial weights
                keep = min(recipe.ema, (1 + step) / (10 + step))
                torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - keep)
                loss_sum += loss
                first_bad = torch.where(torch.isfinite(loss), first_bad, first_bad.clamp_max(step))
            seconds = time.monotonic() - began
            if step % LOOK_EVERY == 0 or step % options.save_every == 0 or step % options.validate_every == 0 or step == final or stopped:
                _check_finite(int(first_bad), final, last)
            if step % options.validate_every == 0 or step == final:
                metrics = measure()
                if guard is not None and perception is not None:
                    metrics["perceptual_share"] = perception.share
                    # not at a final step in between: a run that is stopped there and resumed must be the run that is not
                    acted = guard.look(metrics, perception.share, recipe) if step % options.validate_every == 0 else None
                    if acted:
                        fabric.print(f"step {step}: {acted}", flush=True)
                if board is not None:
                    _report(board, step, final, float(loss_sum) / (step - since), metrics, seconds)
                loss_sum.zero_()
                since = step
            if step % options.save_every == 0 or step == final or stopped:
                sampler_state = _all_states(sampler, fabric)
                if fabric.is_global_zero:
                    save_checkpoint(
                        last, recipe=recipe, step=step, seconds=seconds, model=net, ema=ema, optimiser=optimiser.optimizer,
                        sampler_state=sampler_state, metrics=metrics, guard=None if guard is None else guard.state(), metric=fingerprint,
                    )  # fmt: skip
                fabric.barrier()
        if stopped:
            fabric.print(f"stopped at step {step}, saved in {last}; the same command goes on", flush=True)
            raise KeyboardInterrupt
    return ema.cpu().eval()


@contextlib.contextmanager
def noted_signals(wanted: bool) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM in the block are kept in a list, so that a step ends and is saved first."""
    seen: list[int] = []
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_sampler(source: Source, recipe: Recipe, *, seed: int, device: torch.device) -> Sampler | DaliSampler:
    """What draws (lr, hr), (N, planes, H, W) each, for this recipe."""
    if isinstance(source, Photographs):
        return DaliSampler(source, recipe, seed=seed, device=device)
    if recipe.degradation == "colour":
        return ColourSampler(source, crop=recipe.crop, batch=recipe.batch, planes=recipe.planes, seed=seed)
    return CropSampler(source, crop=recipe.crop, batch=recipe.batch, seed=seed)


def _check_finite(first_bad: int, final: int, last: pathlib.Path) -> None:
    """Raises TrainerError where a loss was no number. Checkpoints are written after this check."""
    if first_bad <= final:
        good = "there is no checkpoint yet"
        if last.is_file():
            good = f"{str(last)!r} holds step {load_checkpoint(last)['step']}, the last good one"
        raise TrainerError(f"The loss was not finite at step {first_bad}; {good}. Lower --lr, or look for damaged data; then run it again.")


def _all_states(sampler: Sampler | DaliSampler, fabric: Fabric) -> Any:
    """The sampler's state; of every process where there are several."""
    own = sampler.state()
    if fabric.world_size == 1:
        return own
    states: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(states, own)
    return states


def _own_state(states: Any, fabric: Fabric, last: pathlib.Path) -> Any:
    """This process's part of `_all_states`."""
    there = len(states) if isinstance(states, list) else 1
    if there != fabric.world_size:
        raise TrainerError(f"{str(last)!r} was written by {there} processes and only as many go on from it, not {fabric.world_size}.")
    return states[fabric.global_rank] if isinstance(states, list) else states


def _report(board: SummaryWriter, step: int, final: int, loss: float, metrics: dict[str, float], seconds: float) -> None:
    board.add_scalar("train/loss", loss, step)
    for name, value in metrics.items():
        board.add_scalar(f"validation/{name}", value, step)
    print(
        f"step {step}/{final}  loss {loss:.5f}  {_told(metrics)}  {seconds:.0f} s ({step / max(seconds, 1e-9):.1f} steps/s)",
        flush=True,
    )


def _told(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" if name in FINE else f"{name} {value:.3f}" for name, value in metrics.items())


def _check_same_recipe(there: Recipe, here: Recipe, path: pathlib.Path) -> None:
    """A resumed run must be the same run."""
    changed = [f.name for f in dataclasses.fields(Recipe) if getattr(there, f.name) != getattr(here, f.name)]
    if changed:
        told = ", ".join(f"{name} {getattr(there, name)!r} there, {getattr(here, name)!r} here" for name in changed)
        raise TrainerError(
            f"{str(path)!r} belongs to another run of recipe {there.name!r} ({told}). "
            "Use another --out, or the same settings, or seed a new run from it with --init-from."
        )
