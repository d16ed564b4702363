"""Ablations: the same recipe, steps, data and seed, with one thing left out at a time."""

import dataclasses
import json

from trainer.cache import PairCache
from trainer.checkpoint import load_checkpoint
from trainer.errors import TrainerError
from trainer.loop import LoopOptions, train
from trainer.nets import build_network
from trainer.recipes import Recipe


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """What is compared, by name; the first is the recipe itself. Raises TrainerError for a network without a state."""
    if not recipe.recurrent:
        raise TrainerError(f"Recipe {recipe.name!r} has no state, so nothing can be left out. Recipes that can: base_x2, base_x3, base_x4.")
    return {
        "attention": recipe,
        "no attention": dataclasses.replace(recipe, name=f"{recipe.name}_no_attention", radius=0),
        "no recurrence": dataclasses.replace(recipe, name=f"{recipe.name}_no_recurrence", radius=0, recurrent=False),
    }


def ablate(recipe: Recipe, training: PairCache, validation: PairCache, options: LoopOptions) -> list[dict[str, object]]:
    """Train every variant in a folder of its own under `options.out` and return a row for each; ablation.json keeps them."""
    rows: list[dict[str, object]] = []
    for label, variant in variants(recipe).items():
        print(f"{label}: {build_network(variant).macs_per_pixel} multiply-adds a pixel", flush=True)
        folder = options.out / label.replace(" ", "_")
        train(variant, training, validation, dataclasses.replace(options, out=folder))
        state = load_checkpoint(folder)
        rows.append({"variant": label, "macs_per_pixel": build_network(variant).macs_per_pixel, "steps": state["step"], **state["metrics"]})
    (options.out / "ablation.json").write_text(json.dumps(rows, indent=2) + "\n")
    return rows


def ablation_table(rows: list[dict[str, object]]) -> str:
    """Aligned text, a variant a line."""
    lines = [f"{'variant':14s}  MAC a pixel  steps   PSNR-Y   gain over bicubic    SSIM"]
    for row in rows:
        cost = f"{row['variant']:14s}  {row['macs_per_pixel']:11d}  {row['steps']:5d}"
        lines.append(f"{cost}  {row['psnr']:7.3f}  {row['gain']:+18.3f}  {row['ssim']:.4f}")
    return "\n".join(lines)
