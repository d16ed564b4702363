"""A recipe is a function that returns a frozen `Recipe`; the command line may replace single fields."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from trainer.trainer_error import TrainerError

# "clean": as soft as video; "picture": as pictures are found; "colour": clean RGB, for the ablation of luma against RGB
Degradation = Literal["clean", "picture", "compressed", "colour"]
Flavour = Literal["faithful", "natural"]  # fidelity losses alone, or with the metric that learned from people


@dataclass(frozen=True)
class Recipe:
    """Everything a training run depends on, apart from the photographs and the length."""

    name: str
    model: str  # name of the exported model
    description: str
    scale: int  # output pixels per input pixel and axis
    degradation: Degradation
    channels: int = 16
    layers: int = 5  # 3x3 convolutions after the first
    tail: int = 1  # side of the last convolution
    steps: int = 120_000
    batch: int = 16  # crops a step
    crop: int = 48  # side of a crop in input pixels
    lr: float = 4e-3  # peak of the cosine schedule
    warmup: int = 200  # steps
    ema: float = 0.999
    charbonnier_eps: float = 1e-3  # in units of the [0, 1] range
    gradient_weight: float = 0.0  # L1 of the horizontal and vertical differences
    ssim_weight: float = 0.0  # 1 - SSIM (Gaussian window, sigma 1.5)
    information_weight: float = 0.0  # 1 - VIF, enhancement not rewarded
    detail_weight: float = 0.0  # 1 - visible wavelet detail kept, enhancement not rewarded
    gain: float = 0.0  # unsharp gain put on the targets (0 = the photograph itself)
    seed: int = 0
    quantised: bool = False  # trains with the arithmetic of the int8 file
    accumulate: int = 1  # batches whose gradients make one step
    flavour: Flavour = "faithful"
    pban_weight: float = 0.0  # 1 - Efficient-PBAN, at the end of the ramp
    feature_weight: float = 0.0  # plain feature distance (untrained, LPIPS form), at the end of the ramp; for comparison
    perception_start: float = 0.1  # share of the steps before the two weights above rise from 0
    perception_ramp: float = 0.4  # share of the steps in which they rise
    perception_crops: int = 2  # of a batch that these two look at
    neg_tolerance: float = 0.5  # VMAF-NEG that may be lost before the guard acts (trainer/metric_guard.py)
    ms_ssim_tolerance: float = 0.002  # the same of MS-SSIM
    planes: int = 1  # 1: luma; 3: RGB (degradation colour)


def lite_clean(scale: int) -> Recipe:
    """Clean downscales of photographs, most as soft as video."""
    return Recipe(
        name=f"lite_clean_x{scale}",
        model="lite-clean",
        description="Small network, for sources without compression artefacts.",
        scale=scale,
        degradation="clean",
        layers=7,  # two more than lite: a clean source is no stream that has to keep up
        steps=60_000,
    )


def lite_picture(scale: int) -> Recipe:
    """Single pictures, most as sharp as they come, some JPEG files: the published protocols, and what people have lying about."""
    return replace(
        lite_clean(scale),
        name=f"lite_picture_x{scale}",
        model="lite-picture",
        description="Small network, for single pictures.",
        degradation="picture",
        charbonnier_eps=0.02,
    )


def lite(scale: int) -> Recipe:
    """Short sequences through x264 and x265, P and B frames as well as I frames: what video looks like when it arrives."""
    return Recipe(
        name=f"lite_x{scale}",
        model="lite",
        description="Smallest network, for compressed video: runs in real time on a CPU.",
        scale=scale,
        degradation="compressed",
        layers=4,
        tail=3,
        steps=30_000,
        crop=48 if scale == 2 else 32,
        information_weight=0.2,
        detail_weight=0.2,
    )


def natural(recipe: Recipe) -> Recipe:
    """The same network on the same pairs, with the metric in its loss.

    The fidelity terms stay: without them the metric alone does not keep contrast (docs/training-log.md, "Flavours").
    """
    stem, size = recipe.name.rsplit("_", 1)
    return replace(
        recipe,
        name=f"{stem}_natural_{size}",
        description=f"{recipe.description} Trained with a metric that learned from people.",
        flavour="natural",
        pban_weight=0.1,
    )


_FAITHFUL: dict[str, Callable[[], Recipe]] = {
    "lite_clean_x2": lambda: lite_clean(2),
    "lite_picture_x2": lambda: lite_picture(2),
    "lite_x2": lambda: lite(2),
    "lite_x3": lambda: lite(3),
    "lite_x4": lambda: lite(4),
}
RECIPES: dict[str, Callable[[], Recipe]] = {
    **_FAITHFUL,
    **{natural(make()).name: lambda make=make: natural(make()) for make in _FAITHFUL.values()},  # type: ignore[misc]
}


def recipe_named(name: str) -> Recipe:
    """Raises TrainerError for an unknown name, with the known ones."""
    if name not in RECIPES:
        raise TrainerError(f"Unknown recipe {name!r}. Available: {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]()
