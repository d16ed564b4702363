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

PBAN_WEIGHT = 0.1
FEATURE_WEIGHT = 0.035  # of the plain feature distance: its slope on a trained network's crops is then as steep as that of PBAN_WEIGHT
COLUMNS = {"psnr": 3, "gain": 3, "ssim": 4, "ms_ssim": 4, "vmaf_neg": 2, "efficient_pban": 4}  # digits


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
    """Luma and RGB, of the same clean crops, both scored by luma."""
    # VIF and wavelet detail look at one plane
    plain = dataclasses.replace(recipe, degradation="colour", information_weight=0.0, detail_weight=0.0)
    plain = dataclasses.replace(plain, pban_weight=0.0, feature_weight=0.0)
    return {
        "luma": dataclasses.replace(plain, name=f"{recipe.name}_luma"),
        "RGB": dataclasses.replace(plain, name=f"{recipe.name}_rgb", planes=3),
    }


def variants(recipe: Recipe, of: Sequence[str]) -> dict[str, Recipe]:
    """What is compared, by name. of: some of loss, colour. Raises TrainerError for another."""
    makers = {"loss": loss_variants, "colour": colour_variants}
    wrong = [kind for kind in of if kind not in makers]
    if wrong:
        raise TrainerError(f"There is no ablation of {', '.join(map(repr, wrong))}. Kinds: {', '.join(makers)}.")
    found: dict[str, Recipe] = {}
    for kind in of:
        found |= makers[kind](recipe)
    return found


def ablate(
    recipe: Recipe,
    open_pairs: Callable[[Recipe], AbstractContextManager[tuple[Source, PairCache]]],
    options: LoopOptions,
    *,
    of: Sequence[str],
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
