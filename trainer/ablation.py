"""Ablations: the same recipe, steps, data and seed, with one thing left out or exchanged at a time."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from streamsr.report_file import write_report
from trainer.checkpoint import load_checkpoint
from trainer.data.pair_cache import PairCache
from trainer.data.pair_sources import Source
from trainer.nets import build_network
from trainer.recipes import Recipe
from trainer.trainer_error import TrainerError
from trainer.training_loop import LoopOptions, train

KINDS = ("memory", "loss", "colour")
PBAN_WEIGHT = 0.1
FEATURE_WEIGHT = 0.035  # of the plain feature distance: its slope on a trained network's crops is then as steep as that of PBAN_WEIGHT
COLUMNS = {"psnr": 3, "gain": 3, "ssim": 4, "ms_ssim": 4, "vmaf_neg": 2, "efficient_pban": 4}  # digits


def memory_variants(recipe: Recipe) -> dict[str, Recipe]:
    """With attention, without, and without a state. Raises TrainerError for a network without a state."""
    if not recipe.recurrent:
        raise TrainerError(f"Recipe {recipe.name!r} has no state, so none can be left out. Recipes that can: base_x2, base_x3, base_x4.")
    return {
        "attention": recipe,
        "no attention": dataclasses.replace(recipe, name=f"{recipe.name}_no_attention", radius=0),
        "no recurrence": dataclasses.replace(recipe, name=f"{recipe.name}_no_recurrence", radius=0, recurrent=False),
    }


def loss_variants(recipe: Recipe) -> dict[str, Recipe]:
    """With the metric, with the plain feature distance, with neither: the weight from the start, so that few steps show what it does."""
    plain = dataclasses.replace(recipe, pban_weight=0.0, feature_weight=0.0, perception_start=0.0, perception_ramp=0.0)
    weight = recipe.pban_weight or PBAN_WEIGHT
    return {
        "Efficient-PBAN": dataclasses.replace(plain, name=f"{recipe.name}_pban", pban_weight=weight),
        "feature distance": dataclasses.replace(
            plain, name=f"{recipe.name}_features", feature_weight=recipe.feature_weight or weight * FEATURE_WEIGHT / PBAN_WEIGHT
        ),
        "neither": dataclasses.replace(plain, name=f"{recipe.name}_fidelity"),
    }


def colour_variants(recipe: Recipe) -> dict[str, Recipe]:
    """Luma and RGB, of the same clean crops, both scored by luma. Raises TrainerError for networks that take luma alone."""
    if recipe.net != "lite":
        raise TrainerError(f"Recipe {recipe.name!r} has a network of luma alone. Recipes that can be compared with RGB: lite_x2, x3, x4.")
    # VIF and wavelet detail look at one plane
    plain = dataclasses.replace(recipe, degradation="colour", information_weight=0.0, detail_weight=0.0)
    plain = dataclasses.replace(plain, pban_weight=0.0, feature_weight=0.0)
    return {
        "luma": dataclasses.replace(plain, name=f"{recipe.name}_luma"),
        "RGB": dataclasses.replace(plain, name=f"{recipe.name}_rgb", planes=3),
    }


def variants(recipe: Recipe, of: Sequence[str] = ()) -> dict[str, Recipe]:
    """What is compared, by name. of: some of KINDS; by default `memory` for a recurrent recipe, `loss` for another."""
    makers = {"memory": memory_variants, "loss": loss_variants, "colour": colour_variants}
    wrong = [kind for kind in of if kind not in makers]
    if wrong:
        raise TrainerError(f"There is no ablation of {', '.join(map(repr, wrong))}. Kinds: {', '.join(KINDS)}.")
    found: dict[str, Recipe] = {}
    for kind in of or (["memory"] if recipe.recurrent else ["loss"]):
        found |= makers[kind](recipe)
    return found


def ablate(
    recipe: Recipe,
    open_pairs: Callable[[Recipe], AbstractContextManager[tuple[Source, PairCache]]],
    options: LoopOptions,
    *,
    of: Sequence[str] = (),
) -> list[dict[str, object]]:
    """Train every variant in a folder of its own under `options.out` and return a row for each; ablation.json keeps them.

    open_pairs: the pairs of training and validation of a variant, opened anew for each, so that all draw the same. With options.metric
    every variant is measured with it, and with VMAF-NEG and MS-SSIM.
    """
    rows: list[dict[str, object]] = []
    for label, variant in variants(recipe, of).items():
        macs = build_network(variant).macs_per_pixel
        print(f"{label}: {macs} multiply-adds a pixel", flush=True)
        folder = options.out / label.replace(" ", "_")
        with open_pairs(variant) as (training, validation):
            train(variant, training, validation, dataclasses.replace(options, out=folder))
        state = load_checkpoint(folder)
        rows.append({"variant": label, "macs_per_pixel": macs, "steps": state["step"], **state["metrics"]})
    write_report(options.out / "ablation.json", rows)
    return rows


def ablation_table(rows: Sequence[dict[str, object]]) -> str:
    """Aligned text, a variant a line; what was not measured is a dash."""
    lines = [f"{'variant':16s}  MAC a pixel   steps" + "".join(f"  {name:>14s}" for name in COLUMNS)]
    for row in rows:
        cells = "".join(f"  {f'{row[name]:.{digits}f}' if name in row else '-':>14s}" for name, digits in COLUMNS.items())
        lines.append(f"{row['variant']:16s}  {row['macs_per_pixel']:11d}  {row['steps']:6d}{cells}")
    return "\n".join(lines)
