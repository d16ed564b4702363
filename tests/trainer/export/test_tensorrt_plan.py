"""Plans beside an exported model: real ones by TensorRT for RTX, which needs no GPU; the engine finds them for the sizes that they take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attentive import attentive_model
from make_chroma import make_weights, write_chroma_model
from make_model import make_network, write_model
from make_recurrent import write_recurrent

from streamsr.engines.distributions import import_flavour
from streamsr.engines.plan_builder import Wish
from streamsr.engines.plan_cache import ENVIRONMENT, Plan, PlanPart
from streamsr.engines.step_lane import Attention, Tensor
from streamsr.engines.tensorrt_engine import read_exported
from streamsr.models import load_spec
from trainer.export.tensorrt_plan import PlanOptions, export_plans, parse_size
from trainer.trainer_error import TrainerError

CAPABILITY, HERE = "8.9", "NVIDIA GeForce RTX 4090"
LUMA, LUMA_HR = Tensor("luma", 1), Tensor("luma_hr", 1, 2)
CHROMA, CONDITION, CHROMA_HR = Tensor("chroma", 2), Tensor("condition", 2, 0), Tensor("chroma_hr", 2)
STATES = {Tensor("state_a", 4), Tensor("state_b", 1, 2)}
NEXT = {Tensor("state_a_next", 4), Tensor("state_b_next", 1, 2)}
KINDS = {
    "luma": (lambda folder: write_model(make_network(channels=16, layers=3), folder, int8=False), {LUMA}, {LUMA_HR}),
    "chroma": (lambda folder: write_chroma_model(make_weights(2), folder), {LUMA, CHROMA, CONDITION}, {LUMA_HR, CHROMA_HR}),
    "recurrent": (write_recurrent, {LUMA} | STATES, {LUMA_HR} | NEXT),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))


def found(description: Path, shape: tuple[int, int, int]) -> Plan | None:
    """What the engine finds beside the model for such planes on a GPU of that compute capability."""
    spec = load_spec(description)
    wanted = Wish(shape).key(spec, import_flavour("tensorrt_rtx"), HERE, CAPABILITY)
    return read_exported(spec, wanted, pytest.fail)


@pytest.mark.parametrize("is_dynamic", [False, True], ids=["one-size", "dynamic"])
@pytest.mark.parametrize(("write", "inputs", "outputs"), KINDS.values(), ids=KINDS)
def test_plan_beside_a_model_is_what_the_engine_takes(
    tmp_path: Path, write: Callable[[Path], Path], inputs: set[Tensor], outputs: set[Tensor], is_dynamic: bool
) -> None:
    pytest.importorskip("tensorrt_rtx")
    description = write(tmp_path).with_suffix(".json")
    (file,) = export_plans(description, PlanOptions(((40, 24),), is_dynamic, (CAPABILITY,)))
    assert json.loads(description.read_text())["tensorrt"] == [file.name]
    plan = found(description, (1, 24, 40))
    assert plan is not None
    (part,) = plan.steps
    assert isinstance(part, PlanPart)
    assert (set(part.inputs), set(part.outputs)) == (inputs, outputs)
    assert set(part.bindings) == {tensor.name for tensor in inputs | outputs}
    assert (found(description, (1, 20, 32)) is not None) == is_dynamic
    assert found(description, (1, 24, 42)) is None


def test_attention_is_left_to_the_kernel(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    description = attentive_model(tmp_path).with_suffix(".json")
    export_plans(description, PlanOptions(((64, 48),), capabilities=(CAPABILITY,)))
    plan = found(description, (1, 48, 64))
    assert plan is not None
    assert [type(step) for step in plan.steps] == [PlanPart, Attention, Attention, PlanPart]


def test_sizes_and_gpus_each_get_a_plan(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    description = write_model(make_network(layers=3), tmp_path, int8=False).with_suffix(".json")
    files = export_plans(description, PlanOptions(((40, 24), (32, 32)), capabilities=(CAPABILITY, "12.0")))
    assert sorted(path.name for path in tmp_path.glob("*.plan")) == sorted(file.name for file in files)
    assert len(files) == 4


def test_failure_leaves_neither_plans_nor_names(tmp_path: Path) -> None:
    """The second GPU is one that TensorRT for RTX does not know: the plan for the first is gone, too."""
    pytest.importorskip("tensorrt_rtx")
    description = write_model(make_network(layers=3), tmp_path, int8=False).with_suffix(".json")
    before = description.read_text()
    with pytest.raises(TrainerError, match=r"9\.0 can only be built on such a GPU"):
        export_plans(description, PlanOptions(((40, 24),), capabilities=(CAPABILITY, "9.0")))
    assert description.read_text() == before
    assert not list(tmp_path.glob("*.plan"))


def test_without_a_gpu_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsr.engines.gpus.list_gpus", lambda: ())
    description = write_recurrent(tmp_path).with_suffix(".json")
    with pytest.raises(TrainerError, match=r"no device 'cuda:0' here"):
        export_plans(description, PlanOptions(((40, 24),)))
    with pytest.raises(TrainerError, match="'ada' is no compute capability"):
        export_plans(description, PlanOptions(((40, 24),), capabilities=("ada",)))


def test_sizes_are_width_and_height() -> None:
    assert parse_size("1920x1080") == (1920, 1080)
    with pytest.raises(TrainerError, match="'1080p' is not a size"):
        parse_size("1080p")
