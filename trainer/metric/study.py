"""`python -m trainer metric`: pretrain, fit to people leaving one content out at a time, report beside the baselines, ship.

RUN/variances.pt, RUN/pretrained.ckpt, RUN/impressions.pt   what a second run does not compute again
RUN/metric.pt                                               the metric fitted to all contents: what ships
RUN/report.json                                             every number of the table, and those of each fold
"""

import copy
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from trainer.checkpoint import write_state
from trainer.errors import TrainerError
from trainer.metric.agreement import Share, correlation, decided, half_of_people, majorities, one_person, predicted
from trainer.metric.baselines import baseline_scores
from trainer.metric.distort import Subject, read_set
from trainer.metric.encoder import EncoderName, Weights
from trainer.metric.fit import Pull, Seen, choose_pull, fit, leave_one_out, scores_of
from trainer.metric.looks import Group, Looks, look_at, measure_variances
from trainer.metric.metric import Metric
from trainer.metric.network import EfficientPban
from trainer.metric.opinions import Opinions, read_opinions
from trainer.metric.pretrain import PretrainRecipe, pretrain

NUM_VARIANCE_PHOTOS = 60
# The judge learns from people, from not at all to much; how much, the training contents decide. Weights of distances and channels, fitted
# to five contents, predicted the sixth worse (trainer/metric/README.md), so they stay even.
CANDIDATES = tuple(Pull(None, None, judge) for judge in (None, 1.0, 0.1, 0.03, 0.01, 0.003))


@dataclass(frozen=True)
class StudyOptions:
    """How to run a study."""

    out: pathlib.Path
    cache: pathlib.Path  # of looks; shared by runs
    encoder: EncoderName = "efficientnet_lite0"
    encoder_weights: Weights | pathlib.Path = "pretrained"
    reach: float = 0.4
    subjects: int = 10**9  # at most so many photographs of the pretraining set
    device: str = "cpu"
    folds: int | None = None  # by default every content is left out once


def groups_of(opinions: Opinions) -> list[Group]:
    """Every original of a table with the pictures that are judged against it."""
    by_original: dict[str, list[str]] = {}
    for picture, original in sorted(opinions.pictures.items()):
        by_original.setdefault(original, []).append(picture)
    return [Group(o, opinions.path(o), tuple(opinions.path(p) for p in pictures)) for o, pictures in by_original.items()]


def set_up(folder: pathlib.Path, options: StudyOptions) -> tuple[Metric, list[Subject], list[Looks]]:
    """An untrained metric whose variances and units are those of the pretraining set in `folder`, and that set as the encoder sees it."""
    torch.manual_seed(0)
    network = EfficientPban(encoder=options.encoder, encoder_weights=options.encoder_weights).eval()
    subjects = [subject for subject in read_set(folder) if not subject.validation][: options.subjects]
    if not subjects:
        raise TrainerError(f"The set in {str(folder)!r} has no photograph for training.")
    file = options.out / "variances.pt"
    if file.is_file():
        variances = torch.load(file, map_location="cpu", weights_only=True)
    else:
        variances = measure_variances(network.encoder, [folder / subject.original for subject in subjects[:NUM_VARIANCE_PHOTOS]])
        write_state(file, variances)
    looks = []
    for i, subject in enumerate(subjects, 1):
        group = Group(subject.photo, folder / subject.original, tuple(folder / version.file for version in subject.versions))
        looks.append(look_at(network.encoder, variances, group, options.cache))
        if i % 50 == 0:
            print(f"looked at {i}/{len(subjects)} photographs of the pretraining set", flush=True)
    metric = Metric(network, variances, reach=options.reach).eval()
    metric.measure_units(torch.cat([look.terms for look in looks]))
    return metric, subjects, looks


def see(metric: Metric, groups: Sequence[Group], looks: Sequence[Looks], cache: pathlib.Path) -> Seen:
    """What fits need of the judged pictures. The impressions (whole pictures through the network) are kept in `cache`."""
    row = {path.name: i for i, path in enumerate(path for group in groups for path in group.pictures)}
    key = [float(p.detach().double().sum()) for p in metric.network.streams.parameters()] + [len(row)]
    if cache.is_file():
        kept = torch.load(cache, map_location="cpu", weights_only=True)
        if kept["key"] == key:
            return Seen(torch.cat([look.terms for look in looks]), kept["impressions"], row)
    found = []
    with torch.no_grad():
        for look in looks:
            found += [metric.network.impression(sr[None].float(), look.hr.float()) for sr in look.sr]
    impressions = torch.cat(found)
    write_state(cache, {"key": key, "impressions": impressions})
    return Seen(torch.cat([look.terms for look in looks]), impressions, row)


def study(folder: pathlib.Path, table: pathlib.Path, images: pathlib.Path, recipe: PretrainRecipe, options: StudyOptions) -> dict[str, Any]:
    """Train and report; returns what goes into report.json."""
    opinions = read_opinions(table, images)
    metric, subjects, training = set_up(folder, options)
    groups = groups_of(opinions)
    looks = [look_at(metric.network.encoder, metric.variances, group, options.cache) for group in groups]
    untrained = scores_of(metric, Seen(torch.cat([look.terms for look in looks]), torch.zeros(sum(len(x.terms) for x in looks), 256),
                                       {path.name: i for i, path in enumerate(p for group in groups for p in group.pictures)}))  # fmt: skip
    metric = pretrain(metric.to(options.device), subjects, training, recipe, options.out).to("cpu")
    seen = see(metric, groups, looks, options.out / "impressions.pt")
    pretrained = scores_of(metric, seen)
    blank = copy.deepcopy(metric)
    torch.nn.init.zeros_(blank.network.judge.weight)
    torch.nn.init.zeros_(blank.network.judge.bias)
    left_out, chosen = leave_one_out(blank, seen, opinions, CANDIDATES, count=options.folds)
    pull = choose_pull(blank, seen, opinions, CANDIDATES)
    final, sharpness = fit(blank, seen, opinions, pull)
    measures = baseline_scores(groups, looks) | {
        "contrast-weighted distance, untrained": untrained,
        "with the network, pseudo-labels alone": pretrained,
        "Efficient-PBAN, content left out": left_out,
    }
    report = report_of(opinions, measures) | {
        "pull": {content: each.words() for content, each in chosen.items()} | {"shipped": pull.words()},
        "sharpness": sharpness, "pretraining": asdict(recipe), "photographs": len(subjects), "encoder": options.encoder,
        "reach": options.reach,
    }  # fmt: skip
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_state(options.out / "metric.pt", {"metric": final.state_dict(), "encoder": options.encoder, "reach": options.reach})
    return report


def load_metric(run: pathlib.Path) -> Metric:
    """The fitted metric of a run, or of a metric.pt file, ready to score and to be a loss. Raises TrainerError."""
    file = run / "metric.pt" if run.is_dir() else run
    if not file.is_file():
        raise TrainerError(f"There is no metric at {str(file)!r}: train one with python -m trainer metric.")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        weights = state["metric"]
        variances = [weights[name] for name in sorted(key for key in weights if key.startswith("variance"))]
        network = EfficientPban(encoder=state["encoder"], encoder_weights="random")
        metric = Metric(network, variances, reach=state["reach"])
        metric.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise TrainerError(f"{str(file)!r} is not a metric of this trainer: {error}") from error
    return metric.eval().requires_grad_(False)


def report_of(opinions: Opinions, measures: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Agreement of every measure with the opinions, overall and by content."""
    report: dict[str, Any] = {"table": opinions.name, "measures": {}}
    if opinions.choices:
        pairs = decided(opinions.choices)
        report["people"] = {"one against the majority": one_person(pairs), "half against half": half_of_people(pairs)}
    for name, scores in measures.items():
        entry: dict[str, Any] = {}
        if opinions.choices:
            every, without = majorities(opinions.choices, scores)
            entry |= {"all": asdict(every), "without_original": asdict(without)}
            entry["wrong_by_content"] = {
                content: int((1 - predicted([c for c in pairs if c.content_a == content], scores)).sum()) for content in opinions.contents
            }
        if opinions.ratings:
            entry["ratings"] = {scale: asdict(value) for scale, value in correlation(opinions.ratings, scores).items()}
        report["measures"][name] = entry
    return report


def table_of(report: Mapping[str, Any]) -> str:
    """The report's numbers as a Markdown table."""
    lines = ["| measure | all pairs | pairs without the original |", "| --- | --- | --- |"]
    for name, (every, without) in report.get("people", {}).items():
        lines.append(f"| people: {name} | {every:.1f} % | {without:.1f} % |")
    for name, entry in report["measures"].items():
        if "all" in entry:
            lines.append(f"| {name} | {Share(**entry['all']).words()} | {Share(**entry['without_original']).words()} |")
        for scale, value in entry.get("ratings", {}).items():
            numbers = ", ".join(f"{key} {value[key]:.3f}" for key in ("srcc", "plcc", "krcc", "rmse"))
            lines.append(f"| {name}, scores{' ' + scale if scale else ''} | {numbers} | |")
    return "\n".join(lines)
