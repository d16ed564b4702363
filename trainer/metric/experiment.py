"""`python -m trainer metric`: pretrain, fit to people leaving one content out at a time, report beside the baselines, ship.

RUN/variances.pt, RUN/I/pretrained.ckpt, RUN/I/impressions.pt   what a second run does not compute again; I: of each juror, its seed
RUN/metric.pt                                                   the jury fitted to all contents: what ships
RUN/report.json                                                 every number of the table, and those of each fold
"""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from streamsr.report_file import write_report
from trainer.checkpoint import write_state
from trainer.metric.agreement import Share, correlation, decided, half_of_people, majorities, one_person, predicted
from trainer.metric.baselines import baseline_scores
from trainer.metric.distorted_set import Subject, read_set
from trainer.metric.encoder import EncoderName, Weights
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.feature_cache import Group, Looks, look_at, measure_variances
from trainer.metric.fit import Fits, Juror, Pull, Seen, scores_of
from trainer.metric.learned_metric import Metric
from trainer.metric.opinions import Opinions, read_opinions
from trainer.metric.pban_network import EfficientPban
from trainer.metric.pretrain import PretrainRecipe, pretrain
from trainer.metric.shipped_metric import open_shipped, shipped_file
from trainer.trainer_error import TrainerError

NUM_VARIANCE_PHOTOS = 60
# How hard judges are drawn to zero, from wholly to hardly; the training contents decide. Weights of distances and channels, fitted to five
# contents, predicted the sixth worse (trainer/metric/README.md), so they stay even.
CANDIDATES: tuple[Pull, ...] = (None, 1.0, 0.1, 0.03, 0.01, 0.003)


@dataclass(frozen=True)
class StudyOptions:
    """How to run a study."""

    out: pathlib.Path
    cache: pathlib.Path  # of looks; shared by runs
    encoder: EncoderName = "efficientnet_lite0"
    encoder_weights: Weights | pathlib.Path = "pretrained"
    reach: float = 0.4
    jurors: int = 4  # networks, pretrained from the seeds 0, 1, ...
    subjects: int = 10**9  # at most so many photographs of the pretraining set
    device: str = "cpu"
    folds: int | None = None  # by default every content is left out once


def groups_of(opinions: Opinions) -> list[Group]:
    """Every original of a table with the pictures that are judged against it."""
    by_original: dict[str, list[str]] = {}
    for picture, original in sorted(opinions.pictures.items()):
        by_original.setdefault(original, []).append(picture)
    return [Group(o, opinions.path(o), tuple(opinions.path(p) for p in pictures)) for o, pictures in by_original.items()]


def set_up(folder: pathlib.Path, options: StudyOptions) -> tuple[list[Metric], list[Subject], list[Looks]]:
    """Untrained metrics whose variances and units are those of the pretraining set in `folder`, and that set as the encoder sees it."""
    networks = []
    for seed in range(options.jurors):
        torch.manual_seed(seed)
        networks.append(EfficientPban(encoder=options.encoder, encoder_weights=options.encoder_weights).eval())
    encoder = networks[0].encoder
    subjects = [subject for subject in read_set(folder) if not subject.validation][: options.subjects]
    if not subjects:
        raise TrainerError(f"The set in {str(folder)!r} has no photograph for training.")
    file = options.out / "variances.pt"
    if file.is_file():
        variances = torch.load(file, map_location="cpu", weights_only=True)
    else:
        variances = measure_variances(encoder, [folder / subject.original for subject in subjects[:NUM_VARIANCE_PHOTOS]])
        write_state(file, variances)
    looks = []
    for i, subject in enumerate(subjects, 1):
        group = Group(subject.photo, folder / subject.original, tuple(folder / version.file for version in subject.versions))
        looks.append(look_at(encoder, variances, group, options.cache))
        if i % 50 == 0:
            print(f"looked at {i}/{len(subjects)} photographs of the pretraining set", flush=True)
    metrics = [Metric(network, variances, reach=options.reach).eval() for network in networks]
    for metric in metrics:
        metric.measure_units(torch.cat([look.terms for look in looks]))
    return metrics, subjects, looks


def see(metric: Metric, groups: Sequence[Group], looks: Sequence[Looks], cache: pathlib.Path) -> Seen:
    """What fits need of the judged pictures. The impressions (whole pictures through the network) are kept in `cache`."""
    row = {path.name: i for i, path in enumerate(path for group in groups for path in group.pictures)}
    key = [float(p.detach().double().sum()) for p in metric.network.streams.parameters()] + [len(row)]
    key += [float(look.terms.double().sum()) for look in looks]  # of other pictures they are others
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
    metrics, subjects, training = set_up(folder, options)
    first = metrics[0]
    groups = groups_of(opinions)
    looks = [look_at(first.network.encoder, first.variances, group, options.cache) for group in groups]
    untrained = first.distance(torch.cat([look.terms for look in looks]))
    jurors = []
    for seed, metric in enumerate(metrics):
        out = options.out / str(seed)
        pretrained = pretrain(metric.to(options.device), subjects, training, replace(recipe, seed=seed), out).to("cpu")
        jurors.append(Juror(pretrained, see(pretrained, groups, looks, out / "impressions.pt")))
    row, fits = jurors[0].seen.row, Fits(jurors, opinions)
    before = torch.stack([juror.energies().log() for juror in jurors]).mean(0).exp()
    left_out, chosen = fits.leave_one_out(CANDIDATES, count=options.folds)
    measures = baseline_scores(groups, looks) | {
        "contrast-weighted distance, untrained": scores_of(untrained, row),
        "with the networks, pseudo-labels alone": scores_of(before, row),
    }
    if len(jurors) > 1:
        for seed, juror in enumerate(jurors):
            alone, _ = Fits([juror], opinions).leave_one_out(CANDIDATES, count=options.folds)
            measures[f"one network of them (seed {seed}), content left out"] = alone
    measures["Efficient-PBAN, content left out"] = left_out
    pull = fits.choose_pull(opinions.contents, CANDIDATES)
    judges = [juror.judge(opinions, opinions.contents, pull) for juror in jurors]
    jury = MetricEnsemble([judge.seated(juror.metric) for judge, juror in zip(judges, jurors, strict=True)])
    report = report_of(opinions, measures) | {
        "pull": chosen | {"shipped": pull}, "sharpness": [judge.sharpness for judge in judges], "pretraining": asdict(recipe),
        "jurors": len(jurors), "photographs": len(subjects), "encoder": options.encoder, "reach": options.reach,
    }  # fmt: skip
    write_report(options.out / "report.json", report)
    state = {"jury": jury.state_dict(), "encoder": options.encoder, "reach": options.reach, "jurors": len(jurors)}
    write_state(options.out / "metric.pt", state)
    return report


def metric_named(name: str) -> MetricEnsemble:
    """"shipped", "distances" for its distances without the networks' opinion, or a path of `load_metric`. Raises TrainerError."""
    jury = load_metric(shipped_file() if name in ("shipped", "distances") else pathlib.Path(name))
    if name == "distances":
        for juror in jury.jurors:
            juror.reach = 0.0  # type: ignore[assignment]
    return jury


def load_metric(run: pathlib.Path) -> MetricEnsemble:
    """The fitted metric of a run, of a metric.pt file, or in its shipped form, ready to score and to be a loss. Raises TrainerError."""
    file = run / "metric.pt" if run.is_dir() else run
    if not file.is_file():
        raise TrainerError(f"There is no metric at {str(file)!r}: train one with python -m trainer metric.")
    if file.suffix == ".onnx":
        return open_shipped(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        weights, jurors = state["jury"], []
        variances = [weights[name] for name in sorted(key for key in weights if key.startswith("jurors.0.variance"))]
        for _ in range(state["jurors"]):
            network = EfficientPban(encoder=state["encoder"], encoder_weights="random")
            jurors.append(Metric(network, variances, reach=state["reach"]))
        jury = MetricEnsemble(jurors)
        jury.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise TrainerError(f"{str(file)!r} is not a metric of this trainer: {error}") from error
    return jury.eval().requires_grad_(False)


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
