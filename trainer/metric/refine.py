"""`python -m trainer metric --init-from`: teach a metric that is there one's own viewers' opinions, without pretraining.

Its networks and distances stay; only the judges on top are fitted, begun at and drawn to what they are. How hard is chosen inside the
training contents; every content is left out once, so what the report says is of pictures that the fit has not seen.

Note [Worse]
    Results of an attack (trainer.metric.attack) are worse than what they were made from, though the attacked metric says better. They are
    part of every fold. As a choice of all people they would be so sure that the judge has room for nothing else, and people's choices are
    predicted worse; as a small majority (SHARE) they take away what an attacker gained and cost nothing (README.md beside this).
"""

import copy
import pathlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from streamsr.report_file import write_report
from trainer.checkpoint import write_state
from trainer.metric.encoder import EncoderName, open_encoder
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.experiment import CANDIDATES, groups_of, metric_named, report_of, see
from trainer.metric.feature_cache import Group, look_at, measure_variances
from trainer.metric.fit import Fits, Juror, Pull, scores_of
from trainer.metric.learned_metric import Metric
from trainer.metric.opinions import Choice, Opinions, read_opinions
from trainer.trainer_error import TrainerError

BEFORE, AFTER = "as it was", "refined, content left out"
SHARE = (6, 4)  # of ten people, Note [Worse]
NUM_MEASURED = 60  # originals that another encoder's variances are measured on


def refine(
    init_from: str, table: pathlib.Path, images: pathlib.Path, out: pathlib.Path, cache: pathlib.Path, *, folds: int | None = None,
    candidates: Sequence[Pull] = CANDIDATES, worse: Sequence[pathlib.Path] = (), encoder: EncoderName | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fit, report and write OUT/metric.pt and OUT/report.json.

    init_from: "shipped", or a metric of `load_metric`. candidates: how hard judges may be drawn to what they were. worse: run folders of
    attacks, Note [Worse]. encoder: put the networks behind this one; judges then begin at zero, and the row `as it was` is the distance
    alone. Raises TrainerError.
    """
    if init_from == "distances":
        raise TrainerError("'distances' has no opinion to refine. Give shipped, a run folder, metric.pt or efficient_pban.onnx.")
    opinions = read_opinions(table, images)
    attacks = [read_opinions(run / "pairs.csv", run / "images") for run in worse]
    jury = metric_named(init_from)
    metrics = seated_alone(jury)
    exchanged = encoder is not None and encoder != jury.encoder_name
    if exchanged:
        if not attacks:
            raise TrainerError(f"Another encoder ({encoder}) needs --worse: its distances are measured on those pictures.")
        metrics = _behind(encoder or jury.encoder_name, metrics, attacks, opinions, cache)
    first = metrics[0]
    groups = [group for some in (opinions, *attacks) for group in groups_of(some)]
    looks = [look_at(first.network.encoder, first.variances, group, cache) for group in groups]
    jurors = [Juror(metric, see(metric, groups, looks, out / str(i) / "impressions.pt"), not exchanged) for i, metric in enumerate(metrics)]
    row, fits = jurors[0].seen.row, Fits(jurors, opinions, [_slight(choice) for attack in attacks for choice in attack.choices])
    before = torch.stack([juror.energies().log() for juror in jurors]).mean(0).exp()
    left_out, chosen = fits.leave_one_out(candidates, count=folds)
    pull = fits.choose_pull(opinions.contents, candidates)
    judges = [juror.judge(opinions, opinions.contents, pull, fits.worse) for juror in jurors]
    refined = MetricEnsemble([judge.seated(juror.metric) for judge, juror in zip(judges, jurors, strict=True)])
    report = report_of(opinions, {BEFORE: scores_of(before, row), AFTER: left_out}) | {
        "init_from": init_from, "pull": chosen | {"kept": pull}, "jurors": len(jurors), "reach": first.reach,
        "encoder": refined.encoder_name, "worse": sum(len(attack.choices) for attack in attacks),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_report(out / "report.json", report)
    state = {"jury": refined.state_dict(), "encoder": refined.encoder_name, "reach": first.reach, "jurors": len(jurors)}
    write_state(out / "metric.pt", state)
    return report


def _slight(choice: Choice) -> Choice:
    """The same choice by a small majority."""
    more, less = SHARE
    before_first = choice.prefer_a > choice.prefer_b
    return replace(choice, prefer_a=more if before_first else less, prefer_b=less if before_first else more)


def _behind(
    name: EncoderName, metrics: Sequence[Metric], attacks: Sequence[Opinions], judged: Opinions, cache: pathlib.Path
) -> list[Metric]:
    """The networks behind another encoder, and judges at zero. Variances: of originals of attacks. Units: of the judged pictures."""
    encoder = open_encoder(name).eval().requires_grad_(False)
    groups: list[Group] = [group for attack in attacks for group in groups_of(attack)]
    variances = measure_variances(encoder, [group.original for group in groups[:: max(1, len(groups) // NUM_MEASURED)]])
    terms = torch.cat([look_at(encoder, variances, group, cache).terms for group in groups_of(judged)])
    made = []
    for metric in metrics:
        network = copy.deepcopy(metric.network)
        network.encoder = encoder
        made.append(Metric(network, variances, reach=metric.reach).eval())  # its judge is zeroed there
        made[-1].measure_units(terms)
    return made


def seated_alone(jury: MetricEnsemble) -> list[Metric]:
    """Each network with the distances of the first, which is all that a jury reads of the others."""
    found = []
    for juror in jury.jurors:
        assert isinstance(juror, Metric)
        metric = copy.deepcopy(jury.first)
        metric.network = juror.network
        found.append(metric)
    return found
