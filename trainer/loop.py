"""The training loop: draw, step, average, now and then validate and save. Reads top to bottom."""

import copy
import dataclasses
import math
import pathlib
import time

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from trainer.cache import PairCache
from trainer.checkpoint import load_checkpoint, recipe_of, save_checkpoint, seed_network
from trainer.crops import CropSampler, fixed_crops
from trainer.errors import TrainerError
from trainer.losses import ssim, training_loss
from trainer.nets import Lite
from trainer.recipes import Recipe
from trainer.soap import Soap


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How to run, as opposed to what to train."""

    out: pathlib.Path  # run folder: last.ckpt, TensorBoard events
    device: str = "auto"  # Lightning accelerator: auto, cpu, cuda, mps
    # Lightning precision. Not bf16-mixed: its gradients were 20 to 50 % off here, and left results a third of an 8-bit code too dark
    precision: str = "32-true"
    resume: bool = True  # continue from last.ckpt when the run folder has one
    init_from: pathlib.Path | None = None  # checkpoint that seeds the weights of a new run
    save_every: int = 2000  # steps
    validate_every: int = 5000  # steps
    stop_at: int | None = None  # stop after this step though the schedule is longer


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to one hundredth. `step` counts from 0."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    t = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, t))))


def train(recipe: Recipe, training: PairCache, validation: PairCache, options: LoopOptions) -> Lite:
    """Train to `recipe.steps` (or `options.stop_at`) and return the averaged network."""
    fabric = Fabric(accelerator=options.device, devices=1, precision=options.precision)  # type: ignore[arg-type]
    fabric.seed_everything(recipe.seed, verbose=False)
    net = Lite(recipe.scale, recipe.channels, recipe.layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = Soap(net.parameters(), lr=recipe.lr)
    sampler = CropSampler(training, crop=recipe.crop, batch=recipe.batch, seed=recipe.seed)
    step, seconds, metrics = 0, 0.0, dict[str, float]()

    last = options.out / "last.ckpt"
    state = load_checkpoint(last) if options.resume and last.is_file() else None
    if state is None and options.init_from is not None:
        kept = seed_network(net, options.init_from)
        print(f"seeded from {options.init_from}" + (f"; new: {', '.join(kept)}" if kept else ""), flush=True)
    ema = copy.deepcopy(net)
    if state is not None:
        _check_same_recipe(recipe_of(state), recipe, last)
        net.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
    ema = ema.to(fabric.device)
    model, optimiser = fabric.setup(net, optimiser)  # type: ignore[arg-type]
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
        sampler.rng.bit_generator.state = state["crop_rng"]
        torch.set_rng_state(state["torch_rng"])
        step, seconds, metrics = state["step"], state["seconds"], state["metrics"]
        print(f"resumed {last} at step {step}", flush=True)

    checks = fixed_crops(validation, crop=96, limit=160)
    final = min(recipe.steps, options.stop_at or recipe.steps)
    began, since, loss_sum = time.monotonic() - seconds, step, torch.zeros((), device=fabric.device)
    with SummaryWriter(str(options.out)) as board:
        while step < final:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, recipe)
            lr_NCHW, hr_NCHW = (fabric.to_device(t) for t in sampler.draw())
            sr_NCHW = model(lr_NCHW.contiguous(memory_format=torch.channels_last)).float()
            loss = training_loss(sr_NCHW, hr_NCHW, recipe)
            optimiser.zero_grad()
            fabric.backward(loss)
            optimiser.step()
            step += 1
            with torch.no_grad():
                # a young average follows quickly: otherwise the first thousand steps remember the initial weights
                keep = min(recipe.ema, (1 + step) / (10 + step))
                torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - keep)
                loss_sum += loss.detach()
            seconds = time.monotonic() - began
            if step % options.validate_every == 0 or step == final:
                metrics = validate(ema, checks, fabric.device)
                _report(board, step, final, float(loss_sum) / (step - since), metrics, seconds)
                loss_sum.zero_()
                since = step
            if step % options.save_every == 0 or step == final:
                save_checkpoint(
                    last, recipe=recipe, step=step, seconds=seconds, model=net, ema=ema, optimiser=optimiser.optimizer,
                    sampler=sampler, metrics=metrics,
                )  # fmt: skip
    return ema.cpu().eval()


@torch.no_grad()
def validate(net: Lite, crops: list[tuple[Tensor, Tensor]], device: torch.device) -> dict[str, float]:
    """Mean PSNR and SSIM over the fixed crops, and PSNR's gain over bicubic, all on rounded 8-bit luma, a border of 2 left out."""
    psnr = similarity = bicubic = 0.0
    for lr_NCHW, hr_NCHW in crops:
        lr_NCHW, hr_NCHW = lr_NCHW.to(device), hr_NCHW.to(device)
        sr = _codes(net(lr_NCHW))
        base = _codes(torch.nn.functional.interpolate(lr_NCHW, scale_factor=net.scale, mode="bicubic"))
        psnr += _psnr(sr, hr_NCHW)
        bicubic += _psnr(base, hr_NCHW)
        similarity += float(ssim(sr, hr_NCHW))
    n = max(1, len(crops))
    return {"psnr": psnr / n, "gain": (psnr - bicubic) / n, "ssim": similarity / n}


def _codes(x: Tensor) -> Tensor:
    return x.mul(255).round().clamp(0, 255).div(255)


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a - b)[..., 2:-2, 2:-2] ** 2).mean().clamp_min(1e-9)))


def _report(board: SummaryWriter, step: int, final: int, loss: float, metrics: dict[str, float], seconds: float) -> None:
    board.add_scalar("train/loss", loss, step)
    for name, value in metrics.items():
        board.add_scalar(f"validation/{name}", value, step)
    told = "  ".join(f"{name} {value:.4f}" if name == "ssim" else f"{name} {value:.3f}" for name, value in metrics.items())
    print(
        f"step {step}/{final}  loss {loss:.5f}  {told}  {seconds:.0f} s ({step / max(seconds, 1e-9):.1f} steps/s)",
        flush=True,
    )


def _check_same_recipe(there: Recipe, here: Recipe, path: pathlib.Path) -> None:
    """A resumed run must be the same run."""
    changed = [f.name for f in dataclasses.fields(Recipe) if getattr(there, f.name) != getattr(here, f.name)]
    if changed:
        told = ", ".join(f"{name} {getattr(there, name)!r} there, {getattr(here, name)!r} here" for name in changed)
        raise TrainerError(
            f"{str(path)!r} belongs to another run of recipe {there.name!r} ({told}). "
            "Use another --out, or the same settings, or seed a new run from it with --init-from."
        )
