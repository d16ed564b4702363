"""The commands of `python -m trainer` about the metric: distort, metric, attack, score."""

import dataclasses
import json
import pathlib
from typing import Any

import tyro


@dataclasses.dataclass(frozen=True)
class Distort:
    """Build the metric's pretraining set: distorted photographs in order of severity, with pseudo-labels."""

    data: pathlib.Path  # folder of photographs
    out: pathlib.Path = pathlib.Path(".cache/trainer/distorted")  # goes on where an earlier build stopped
    photos: int = 150  # at most so many photographs
    families: int = 4  # of distortions, drawn for each photograph; three severities each
    side: int = 384  # of the crops, in pixels
    seed: int = 0
    models: tuple[str, ...] = ()  # ONNX files of further networks
    max_mb: int = 2000  # size at which the build stops

    def run(self) -> None:
        from trainer.metric.distorted_set import DistortOptions, build_set

        options = DistortOptions(self.photos, self.families, self.side, self.seed, self.models, self.max_mb)
        build_set(self.data, self.out, options)


@dataclasses.dataclass(frozen=True)
class MetricCommand:
    """Train Efficient-PBAN: pretrain on a distorted set, fit people's opinions leaving one content out at a time, report, ship."""

    distorted: pathlib.Path = pathlib.Path(".cache/trainer/distorted")  # made by `distort`
    opinions: pathlib.Path = pathlib.Path("opinions/pairs.csv")  # table of pairs or scores
    images: pathlib.Path | None = None  # folder of its pictures; default: images beside the table
    out: pathlib.Path = pathlib.Path("runs/metric")  # goes on where an earlier run stopped
    cache: pathlib.Path = pathlib.Path(".cache/trainer/looks")  # what the frozen encoder sees, shared by runs
    init_from: str | None = None  # refine this metric instead, without pretraining: shipped, a run folder, metric.pt or efficient_pban.onnx
    steps: int = 300  # of pretraining
    window: int = 8  # positions a side of the last stage that the network sees in a pretraining step
    photos: int = 10**9  # at most so many photographs of the distorted set
    lr: float = 1e-3
    reach: float = 0.4  # of the networks' correction of a distance, as a logarithm
    jurors: int = 4  # networks whose opinions are averaged, each pretrained from a seed of its own
    encoder: str | None = None  # efficientnet_lite0 (default), antialiased_lite0 or resnet34; with --init-from: put the networks behind it
    encoder_weights: str = "pretrained"  # or random, or a weight file
    device: str = "cpu"  # of the pretraining: cuda, cuda:1, auto
    worse: tuple[pathlib.Path, ...] = ()  # with --init-from: run folders of `attack`, whose pairs are learned from in every fold
    folds: int | None = None  # by default every content is left out once
    threads: int | None = None  # torch threads; default torch's own
    ship: pathlib.Path | None = None  # folder for the ONNX file and its description
    trained_on: str = "opinions and photographs of the trainer's user"  # for the description

    def run(self) -> None:
        import torch

        from trainer.devices import find_device
        from trainer.metric.experiment import StudyOptions, study
        from trainer.metric.pretrain import PretrainRecipe
        from trainer.metric.refine import refine

        if self.threads:
            torch.set_num_threads(self.threads)
        images = self.images or self.opinions.parent / "images"
        if self.init_from is not None:
            report = refine(
                self.init_from, self.opinions, images, self.out, self.cache, folds=self.folds, worse=self.worse,
                encoder=self.encoder,  # type: ignore[arg-type]
            )  # fmt: skip
            return self._finish(report)
        weights = self.encoder_weights if self.encoder_weights in ("pretrained", "random") else pathlib.Path(self.encoder_weights)
        options = StudyOptions(
            self.out, self.cache, self.encoder or "efficientnet_lite0", weights, self.reach, self.jurors,  # type: ignore[arg-type]
            self.photos, str(find_device(self.device)), self.folds,
        )  # fmt: skip
        recipe = PretrainRecipe(steps=self.steps, window=self.window, lr=self.lr)
        return self._finish(study(self.distorted, self.opinions, images, recipe, options))

    def _finish(self, report: dict[str, Any]) -> None:
        """Print the table, and ship."""
        from trainer.metric.experiment import load_metric, table_of
        from trainer.metric.metric_export import ship

        print(table_of(report))
        if self.ship is not None:
            ship(load_metric(self.out), self.ship, {"trained_on": self.trained_on, "license": "Apache-2.0", "report": report})


@dataclasses.dataclass(frozen=True)
class Attack:
    """Train a small network against a metric, to see whether it can be gamed, and keep the results as worse than what it began with."""

    out: pathlib.Path  # run folder: pairs.csv and images, for `metric --worse`, and report.json
    metric: str = "shipped"  # or a run folder, metric.pt or efficient_pban.onnx
    scenes: pathlib.Path = pathlib.Path(".cache/trainer/scenes/x2")  # prepared by `ship`
    seed_from: pathlib.Path = pathlib.Path("streamsr/weights/lite_x2.onnx")
    steps: int = 600
    weight: float = 0.15  # of 1 - score beside the fidelity loss
    seed: int = 7
    threads: int = 1  # torch threads

    def run(self) -> None:
        import torch

        from trainer.data.scene_pool import load_pool
        from trainer.export.onnx_luma_chroma import weights_of_onnx
        from trainer.metric.attack import AttackOptions, attack
        from trainer.metric.experiment import metric_named

        torch.set_num_threads(self.threads)
        options = AttackOptions(steps=self.steps, weight=self.weight, seed=self.seed)
        before, after = attack(metric_named(self.metric), weights_of_onnx(self.seed_from), *load_pool(self.scenes), self.out, options)
        for label, means in (("before", before), ("after", after)):
            print(f"{label:6s} " + "  ".join(f"{name} {value:.4f}" for name, value in dataclasses.asdict(means).items()))


@dataclasses.dataclass(frozen=True)
class Score:
    """How well a metric agrees with a table of opinions, without training: SRCC, PLCC, KRCC and RMSE, or the share of majorities."""

    table: tyro.conf.Positional[pathlib.Path]  # SR#MOS#HR, CSV of scores or of pairs
    images: pathlib.Path | None = None  # folder of its pictures; default: images beside the table, or else the table's folder
    metric: str = "shipped"  # or a run folder, metric.pt or efficient_pban.onnx
    json: bool = False  # print JSON instead of the table

    def run(self) -> None:
        from trainer.metric.experiment import table_of
        from trainer.metric.table_score import score_table

        beside = self.table.parent / "images"
        report = score_table(self.table, self.images or (beside if beside.is_dir() else self.table.parent), self.metric)
        print(json.dumps(report, indent=2) if self.json else table_of(report))
