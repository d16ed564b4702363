"""`python -m trainer metric --init-from`: teach a metric that is there one's own viewers' opinions, without pretraining.

Its networks and distances stay; only the judges on top are fitted, begun at and drawn to what they are. How hard is chosen inside the
training contents; every content is left out once, so what the report says is of pictures that the fit has not seen.
"""

import copy
import pathlib
from collections.abc import Sequence
from typing import Any

import torch

from streamsr.report_file import write_report
from trainer.checkpoint import write_state
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.experiment import CANDIDATES, groups_of, load_metric, report_of, see
from trainer.metric.feature_cache import look_at
from trainer.metric.fit import Fits, Juror, Pull, scores_of
from trainer.metric.learned_metric import Metric
from trainer.metric.opinions import read_opinions
from trainer.metric.shipped_metric import ENCODER, shipped_file

BEFORE, AFTER = "as it was", "refined, content left out"


def refine(
    init_from: str, table: pathlib.Path, images: pathlib.Path, out: pathlib.Path, cache: pathlib.Path, *, folds: int | None = None,
    candidates: Sequence[Pull] = CANDIDATES,
) -> dict[str, Any]:  # fmt: skip
    """Fit, report and write OUT/metric.pt and OUT/report.json.

    init_from: "shipped", or a metric of `load_metric`. candidates: how hard judges may be drawn to what they were. Raises TrainerError.
    """
    opinions = read_opinions(table, images)
    jury = load_metric(shipped_file() if init_from == "shipped" else pathlib.Path(init_from))
    metrics = seated_alone(jury)
    first = metrics[0]
    groups = groups_of(opinions)
    looks = [look_at(first.network.encoder, first.variances, group, cache) for group in groups]
    jurors = [Juror(metric, see(metric, groups, looks, out / str(i) / "impressions.pt"), True) for i, metric in enumerate(metrics)]
    row, fits = jurors[0].seen.row, Fits(jurors, opinions)
    before = torch.stack([juror.energies().log() for juror in jurors]).mean(0).exp()
    left_out, chosen = fits.leave_one_out(candidates, count=folds)
    pull = fits.choose_pull(opinions.contents, candidates)
    judges = [juror.judge(opinions, opinions.contents, pull) for juror in jurors]
    refined = MetricEnsemble([judge.seated(juror.metric) for judge, juror in zip(judges, jurors, strict=True)])
    report = report_of(opinions, {BEFORE: scores_of(before, row), AFTER: left_out}) | {
        "init_from": init_from, "pull": chosen | {"kept": pull}, "jurors": len(jurors), "reach": first.reach,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_report(out / "report.json", report)
    write_state(out / "metric.pt", {"jury": refined.state_dict(), "encoder": ENCODER, "reach": first.reach, "jurors": len(jurors)})
    return report


def seated_alone(jury: MetricEnsemble) -> list[Metric]:
    """Each network with the distances of the first, which is all that a jury reads of the others."""
    found = []
    for juror in jury.jurors:
        assert isinstance(juror, Metric)
        metric = copy.deepcopy(jury.first)
        metric.network = juror.network
        found.append(metric)
    return found
