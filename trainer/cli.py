"""`python -m trainer`: ship; sr (train), ablate, eval, warping, export; distort, metric, attack, score."""

import dataclasses
import json
import pathlib
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trainer.metric_commands import Attack, Distort, MetricCommand, Score
from trainer.trainer_error import TrainerError

if TYPE_CHECKING:
    from trainer.data.pair_cache import PairCache
    from trainer.data.pair_sources import Source
    from trainer.export.tensorrt_plan import PlanOptions
    from trainer.recipes import Recipe
    from trainer.training_loop import LoopOptions


@dataclasses.dataclass(frozen=True)
class Sr:
    """Train an upscaling network on a folder of photographs, videos or both."""

    recipe: str  # name of the recipe: lite_clean_x2; lite_picture_x2; lite_x2, _x3, _x4; lite_natural_x2 and so on
    data: pathlib.Path  # folder of photographs and videos
    out: pathlib.Path | None = None  # run folder; default runs/RECIPE
    # cache: pairs prepared once; stream: made meanwhile, few held, for folders that no cache can hold; dali: on the GPU (clean recipes)
    loader: Literal["cache", "stream", "dali"] = "cache"
    cache: pathlib.Path = pathlib.Path(".cache/trainer")  # prepared pairs, shared by runs
    cache_rounds: int = 4  # times each photograph is degraded anew (compressed recipes)
    cache_mb: int = 2000  # size at which the cache stops growing
    steps: int | None = None
    batch: int | None = None
    crop: int | None = None  # side in input pixels
    lr: float | None = None
    seed: int | None = None
    gradient_weight: float | None = None
    ssim_weight: float | None = None
    information_weight: float | None = None
    detail_weight: float | None = None
    gain: float | None = None
    charbonnier_eps: float | None = None  # in units of the [0, 1] range; 0.1 is nearly a squared error
    init_from: pathlib.Path | None = None  # run, checkpoint or exported float32 network that seeds the weights
    resume: bool = True  # continue when the run folder has a checkpoint
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    precision: str = "32-true"  # Lightning's; bf16-mixed leaves results slightly dark
    save_every: int = 2000
    validate_every: int = 5000
    threads: int | None = None  # torch threads; default torch's own
    devices: int = 1  # GPUs (or CPU processes) of this machine
    nodes: int = 1  # machines
    accumulate: int | None = None  # batches whose gradients make one step
    channels: int | None = None
    layers: int | None = None
    quantised: bool = False  # train what the int8 file computes; seed it with --init-from
    metric: pathlib.Path | None = None  # Efficient-PBAN (natural recipes): run folder, metric.pt, or the efficient_pban.onnx that ships
    pban_weight: float | None = None  # of the metric in the loss
    feature_weight: float | None = None  # of the plain feature distance, for comparison
    perception_crops: int | None = None  # of a batch that these two look at
    perception_start: float | None = None  # share of the steps before their weights rise
    perception_ramp: float | None = None  # share of the steps in which they rise

    def run(self) -> None:
        from trainer.training_loop import train

        recipe, options = self.prepare()
        with self.open_pairs(recipe) as (training, validation):
            train(recipe, training, validation, options)

    def open_pairs(self, recipe: "Recipe") -> "AbstractContextManager[tuple[Source, PairCache]]":
        """The pairs of training and validation."""
        from trainer.data.pair_sources import SourceOptions, open_sources

        return open_sources(recipe, self.loader, SourceOptions(self.data, self.cache, self.cache_rounds, self.cache_mb * 10**6))

    def prepare(self) -> "tuple[Recipe, LoopOptions]":
        """The recipe with the options that were given, and how to run."""
        import torch

        from trainer.recipes import recipe_named
        from trainer.training_loop import LoopOptions

        recipe = recipe_named(self.recipe)
        # every field of a recipe that is also an option replaces the recipe's when it is given
        given = {f.name: getattr(self, f.name, None) for f in dataclasses.fields(recipe)}
        recipe = dataclasses.replace(recipe, **{name: value for name, value in given.items() if value is not None})
        if self.threads:
            torch.set_num_threads(self.threads)
        options = LoopOptions(
            out=self.out or pathlib.Path("runs") / recipe.name,
            device=self.device,
            precision=self.precision,
            resume=self.resume,
            init_from=self.init_from,
            save_every=self.save_every,
            validate_every=self.validate_every,
            devices=self.devices,
            nodes=self.nodes,
            metric=self.metric,
        )
        return recipe, options


@dataclasses.dataclass(frozen=True)
class Ablate(Sr):
    """Train a recipe with one thing left out or exchanged at a time, at equal steps, and compare: loss, colour."""

    of: tuple[str, ...] = ("loss",)  # loss (Efficient-PBAN, plain feature distance, neither), colour (luma, RGB)

    def run(self) -> None:
        from trainer.ablation import ablate, ablation_table

        recipe, options = self.prepare()
        out = self.out or pathlib.Path("runs") / f"{recipe.name}_ablation"
        print(ablation_table(ablate(recipe, self.open_pairs, dataclasses.replace(options, out=out), of=self.of)))


@dataclasses.dataclass(frozen=True)
class Eval:
    """Networks beside bicubic and Lanczos: PSNR-Y, SSIM-Y, VMAF, VMAF-NEG and Efficient-PBAN; on clips also flicker and warping error."""

    weights: tuple[pathlib.Path, ...]  # .onnx files, run folders or checkpoints, of one scale
    data: tuple[pathlib.Path, ...] = ()  # folders of pictures, such as Set5 and Set14
    clips: tuple[pathlib.Path, ...] = ()  # folders of clips, run frame after frame
    frames: int = 32  # of each clip
    enlarge: float = 1.0  # pictures first, as soft as those of a camera or out of a video
    jpeg: int | None = None  # quality of the JPEG files that the small pictures come out of
    fast: bool = False  # PSNR-Y and SSIM-Y alone
    json: bool = False  # print JSON instead of the table
    sheet: pathlib.Path | None = None  # picture file for crops side by side, where the methods differ most

    def run(self) -> None:
        from streamsr.compare.pban import PbanScorer
        from trainer.evaluation.contact_sheet import Sheet
        from trainer.evaluation.evaluate import Found, evaluate_all
        from trainer.evaluation.score_report import as_dict, table

        if not (self.data or self.clips):
            raise TrainerError("Give --data, folders of pictures, or --clips, folders of clips, or both.")
        if self.enlarge <= 0 or not (self.jpeg is None or 1 <= self.jpeg <= 95):
            raise TrainerError(f"--enlarge {self.enlarge:g} must be above 0, --jpeg {self.jpeg} a quality of 1 to 95.")
        sheet = Sheet() if self.sheet is not None else None
        judge = None if self.fast else PbanScorer()
        found = Found(self.enlarge, self.jpeg)
        rows = evaluate_all(self.weights, data=self.data, clips=self.clips, count=self.frames, judge=judge, sheet=sheet, found=found)
        if sheet is not None and self.sheet is not None:
            sheet.save(self.sheet)
        print(json.dumps(as_dict(rows), indent=2) if self.json else table(rows))


@dataclasses.dataclass(frozen=True)
class Warping:
    """Warping error of what `streamsr run` makes beside Lanczos's, on clips halved and at their own size."""

    clips: tuple[pathlib.Path, ...]  # files, or folders of them
    models: tuple[str, ...] = ("lite", "base")  # of `streamsr run`
    scale: int = 2
    look: Literal["natural", "faithful"] = "natural"
    frames: int = 16  # of each clip
    threads: int = 0  # of the engine; 0: all
    json: bool = False  # print JSON instead of the table

    def run(self) -> None:
        from trainer.evaluation.warping import WarpingOptions, measure_warping, warping_table

        rows = list(measure_warping(self.clips, WarpingOptions(self.models, self.scale, self.look, self.frames, self.threads)))
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if self.json else warping_table(rows))


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a run's averaged network as ONNX (float32 and int8) with its JSON, and check both."""

    run_folder: Annotated[pathlib.Path, tyro.conf.arg(name="run")]  # run folder or checkpoint
    out: pathlib.Path = pathlib.Path("streamsr/weights")
    data: pathlib.Path | None = None  # training photographs, for int8 calibration; without it there is no int8 file
    calibration: int = 200  # crops
    name: str | None = None  # default: the recipe's model name
    trained_on: str = "photographs of the trainer's user"  # data sets and licences, for the JSON
    hardware: str = "CPU"
    seeded_from: str | None = None  # earlier runs that the weights passed through, for the JSON
    evaluate_on: tuple[pathlib.Path, ...] = ()  # picture folders whose scores go into the JSON
    metrics: pathlib.Path | None = None  # JSON file of further metrics, merged in
    quantised_run: pathlib.Path | None = None  # run of the same network with --quantised: the int8 file, without --data
    clean_form: str | None = None  # name of the model that takes its place for sources that have hardly been compressed
    picture_form: str | None = None  # name of the model that takes its place for single pictures
    overwrite: bool = False  # replace a model of that name in --out, such as one that ships
    tensorrt: bool = False  # also write TensorRT plans beside the model, for this machine's first GPU
    torch_tensorrt: tuple[str, ...] = ()  # or write them by torch-tensorrt, from PyTorch: sizes of the input, such as 1920x1080
    plan_sizes: tuple[str, ...] = ("1920x1080",)  # of the input, for the plans of --tensorrt
    plan_dynamic: bool = False  # the plans also take all smaller sizes
    plan_capabilities: tuple[str, ...] = ()  # of --tensorrt: compute capabilities, such as 8.9 12.0, of GPUs elsewhere, by TensorRT for RTX

    def run(self) -> None:
        from trainer.checkpoint import load_checkpoint, recipe_of
        from trainer.export.calibration import calibration_crops
        from trainer.export.export_run import ExportOptions, export
        from trainer.export.tensorrt_plan import export_plans

        plans = self._plans()
        recipe = recipe_of(load_checkpoint(self.run_folder))
        crops = None
        if self.data is not None and self.quantised_run is None:
            crops = calibration_crops(self.data, degradation=recipe.degradation, scale=recipe.scale, count=self.calibration)
        options = ExportOptions(
            self.name, self.trained_on, self.hardware, self.seeded_from, self.evaluate_on, self.metrics, self.quantised_run,
            self.clean_form, self.picture_form, self.overwrite,
        )  # fmt: skip
        card = export(self.run_folder, self.out, crops, options)
        if plans is not None:
            export_plans((self.out / card["file"]).with_suffix(".json"), plans)

    def _plans(self) -> "PlanOptions | None":
        """What plans to write. Finds what is missing for torch-tensorrt before the model is exported."""
        from trainer.export.tensorrt_plan import PlanOptions, parse_size
        from trainer.export.torch_tensorrt_plan import open_compiler

        if self.tensorrt and self.torch_tensorrt:
            raise TrainerError("--tensorrt and --torch-tensorrt write plans of the same names; give one of them.")
        if self.plan_capabilities and self.torch_tensorrt:
            raise TrainerError("--torch-tensorrt compiles for the GPU of this machine alone; --plan-capabilities goes with --tensorrt.")
        if self.tensorrt:
            return PlanOptions(tuple(map(parse_size, self.plan_sizes)), self.plan_dynamic, self.plan_capabilities)
        if self.torch_tensorrt:
            return PlanOptions(tuple(map(parse_size, self.torch_tensorrt)), self.plan_dynamic, compiler=open_compiler())
        return None


@dataclasses.dataclass(frozen=True)
class Ship:
    """Train what ships, stage by stage, on scenes as people find them, and export it. Ctrl-C saves; the same command goes on."""

    data: pathlib.Path  # folder of photographs, and of videos if there are
    stages: tuple[str, ...] = ()  # names, such as lite_x2 lite_int8_x2; default: all, in their order
    out: pathlib.Path = pathlib.Path("runs/ship/weights")  # where the models go; streamsr/weights is the package's own
    runs: pathlib.Path = pathlib.Path("runs/ship")
    scenes: pathlib.Path = pathlib.Path(".cache/trainer/scenes")  # prepared scenes, shared by runs
    rounds: int = 2  # scenes of each photograph; of each video twelve times as many
    threads: int = 1  # torch threads
    device: str = "cpu"  # or cuda, cuda:1, auto
    extend: float = 1.0  # factor on the steps of every stage
    pban_weight: float = 0.0  # of 1 - Efficient-PBAN in the loss of natural stages, such as 0.15; a step then takes eight times as long
    adversarial_weight: float = 0.0  # of a critic that learns beside the network, in the loss of natural stages, such as 0.003
    steadiness: float = 0.0  # weight of changes from frame to frame, such as 0.5: less boiling; learns from runs of frames
    metric: str = "shipped"  # whose score that is: "distances" of its distances alone, in half the time; or a run folder of `metric`,
    # metric.pt or efficient_pban.onnx
    seed_from: pathlib.Path | None = pathlib.Path("streamsr/weights")  # exported models that a stage without a run starts from
    attention: bool = False  # of the stages named: the same network with it, in a run of its own, to compare; give another --out
    trained_on: str = "photographs of the trainer's user"  # data sets and licences, for the descriptions
    hardware: str = "CPU"

    def run(self) -> None:
        from trainer.ship import ShipOptions, ship

        facts = (("trained_on", self.trained_on), ("hardware", self.hardware))
        options = ShipOptions(
            self.data, self.runs, self.scenes, self.out, self.rounds, self.threads, self.device, self.extend,
            self.metric, self.pban_weight, self.adversarial_weight, self.steadiness, self.seed_from, self.attention, facts,
        )  # fmt: skip
        self.out.mkdir(parents=True, exist_ok=True)
        ship(self.stages, options)


Command = (
    Annotated[Sr, tyro.conf.subcommand("sr")]
    | Annotated[Ablate, tyro.conf.subcommand("ablate")]
    | Annotated[Eval, tyro.conf.subcommand("eval")]
    | Annotated[Warping, tyro.conf.subcommand("warping")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Ship, tyro.conf.subcommand("ship")]
    | Annotated[Distort, tyro.conf.subcommand("distort")]
    | Annotated[MetricCommand, tyro.conf.subcommand("metric")]
    | Annotated[Attack, tyro.conf.subcommand("attack")]
    | Annotated[Score, tyro.conf.subcommand("score")]
)


def main() -> None:
    command: Sr | Ablate | Eval | Warping | Export | Ship | Distort | MetricCommand | Attack | Score = tyro.cli(  # type: ignore[assignment]
        Command, prog="python -m trainer", description=__doc__  # type: ignore[arg-type]
    )
    try:
        command.run()
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
