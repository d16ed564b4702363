"""Guard against gaming the metric: two measures that are never trained on may stop the metric's weight, and take it back.

VMAF-NEG and MS-SSIM are measured at every validation. Where one lies below the best that it had since the weight began to rise (the last
look before that included) by more than the recipe tolerates, the weight goes back by STEP of its full value and rises no more; this repeats
at every validation that finds it so. What came earlier does not count: a learning rate that starts anew shakes both.
"""

from dataclasses import dataclass, field
from typing import Any

from streamsr.compare.vmaf import INSTALL, find_ffmpeg
from trainer.recipes import Recipe
from trainer.trainer_error import TrainerError

STEP = 0.1  # of the full weight


@dataclass
class Guard:
    """State of a run's guard; all of it goes into the checkpoint."""

    ceiling: float = 1.0  # share of the perceptual weights that may count
    best: dict[str, float] = field(default_factory=dict)  # of each measure, since the weight began to rise

    def limit(self, scheduled: float) -> float:
        """The share that counts, of the one that the schedule asks for."""
        return min(scheduled, self.ceiling)

    def look(self, metrics: dict[str, float], share: float, recipe: Recipe) -> str | None:
        """Take note of a validation made while `share` counted. Returns what was done, in words, where something was."""
        down = []
        for name, tolerance in (("vmaf_neg", recipe.neg_tolerance), ("ms_ssim", recipe.ms_ssim_tolerance)):
            value = metrics[name]
            best = self.best[name] = max(value, self.best.get(name, value)) if share > 0 else value
            if best - value > tolerance:
                down.append(f"{name} {value:.4f} is {best - value:.4f} below its best (tolerated: {tolerance:g})")
        if not down:
            return None
        self.ceiling = round(max(0.0, share - STEP), 6)
        return f"guard: {' and '.join(down)}; the metric's weight goes back from {share:.2f} to {self.ceiling:.2f} of its full value"

    def state(self) -> dict[str, Any]:
        return {"ceiling": self.ceiling, "best": dict(self.best)}

    @staticmethod
    def of_state(state: dict[str, Any]) -> "Guard":
        return Guard(state["ceiling"], dict(state["best"]))


def open_guard(recipe: Recipe) -> Guard | None:
    """A guard for a recipe with a perceptual weight, None for others. Raises TrainerError where VMAF-NEG cannot be measured."""
    if not (recipe.pban_weight or recipe.feature_weight):
        return None
    if find_ffmpeg() is None:
        raise TrainerError(f"Recipe {recipe.name!r} is guarded by VMAF-NEG, which needs an ffmpeg with libvmaf: {INSTALL}.")
    return Guard()
