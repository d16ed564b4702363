"""Real plans by TensorRT for RTX on a machine without a GPU. What can be checked without one is: that TensorRT reads the ends
of the model as they are (it raises otherwise), that its own header check finds the plan well-formed, and which names it holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from attentive import attentive_model
from make_model import make_network, write_model
from make_recurrent import write_recurrent
from onnx import helper

from streamsr.engines.distributions import Flavour, import_flavour, load_flavour
from streamsr.engines.gpus import Gpu
from streamsr.engines.plan_builder import Wish, build_plan, is_typed, network_flags, share_profiles
from streamsr.engines.plan_cache import ANY_GPU, ENVIRONMENT, Plan, PlanCache, PlanPart
from streamsr.engines.plan_process import Order, build_in_process
from streamsr.engines.step_lane import Attention, Tensor
from streamsr.errors import EngineError, Interrupted, UsageError
from streamsr.models import ModelSpec, list_models, load_spec

if "tensorrt_rtx" in os.environ.get("STREAMSR_REQUIRE", "").split(","):
    import tensorrt_rtx  # noqa: F401
else:
    pytest.importorskip("tensorrt_rtx")
CAPABILITIES = ["8.6", "8.9", "12.0"]
GPU = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 24 << 30)


@pytest.fixture(scope="module")
def flavour() -> Flavour:
    return import_flavour("tensorrt_rtx")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    return PlanCache()


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSpec:
    return load_spec(write_model(make_network(channels=16, layers=3), tmp_path, int8=False).with_suffix(".json"))


SIZE = Wish((1, 90, 160))


def build(
    spec: ModelSpec, flavour: Flavour, cache: PlanCache, wish: Wish = SIZE, capability: str = "8.9", **options: Any
) -> Plan:
    return build_plan(spec, wish.key(spec, flavour, "a GPU", capability), flavour, cache=cache, **options)


def assert_well_formed(part: PlanPart, flavour: Flavour) -> None:
    """By TensorRT's own check of a plan: without a GPU no plan is valid, but one that is damaged is named so."""
    trt = flavour.trt
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    malformed = int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
    assert not runtime.get_engine_validity(part.data)[1] & malformed
    assert runtime.get_engine_validity(b"x" * len(part.data))[1] & malformed
    for tensor in (*part.inputs, *part.outputs):
        assert part.bindings[tensor.name].encode() in part.data


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: f"{spec.name}_x{spec.scale}")
def test_shipped_models_become_plans(spec: ModelSpec, capability: str, flavour: Flavour, cache: PlanCache) -> None:
    plan = build(spec, flavour, cache, capability=capability)
    parts = [step for step in plan.steps if isinstance(step, PlanPart)]
    for part in parts:
        assert_well_formed(part, flavour)
    assert {tensor.name for tensor in parts[0].inputs} >= {spec.input}
    assert Tensor(spec.output, 1, spec.scale) in parts[-1].outputs
    assert (plan.key.capability, plan.key.gpu, plan.key.sha256) == (capability, ANY_GPU, spec.sha256)
    assert cache.find(plan.key) == plan


@pytest.mark.parametrize("precision", ["f16", "f32"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_recurrent_model_with_attention_becomes_two_plans(
    tmp_path: Path, flavour: Flavour, cache: PlanCache, precision: str, dynamic: bool
) -> None:
    spec = load_spec(attentive_model(tmp_path).with_suffix(".json"))
    plan = build(spec, flavour, cache, Wish((2, 48, 64), precision, dynamic))
    assert [type(step) for step in plan.steps] == [PlanPart, Attention, Attention, PlanPart]
    for step in plan.steps:
        if isinstance(step, PlanPart):
            assert_well_formed(step, flavour)
    assert plan.key.takes((1, 30, 40)) == dynamic
    assert cache.find(plan.key) == plan


def test_recurrent_model_without_attention_becomes_one(tmp_path: Path, flavour: Flavour, cache: PlanCache) -> None:
    spec = load_spec(write_recurrent(tmp_path).with_suffix(".json"))
    (part,) = build(spec, flavour, cache).steps
    assert {tensor.name for tensor in part.outputs} == {"luma_hr", "state_a_next", "state_b_next"}


def test_progress_is_said_and_a_stop_ends_the_build(tiny: ModelSpec, flavour: Flavour, cache: PlanCache) -> None:
    words: list[str] = []
    build(tiny, flavour, cache, say=words.append)
    assert "tiny_x2" in words[0]
    assert "160x90" in words[0]
    assert "done in" in words[-1]
    cache.clear()
    with pytest.raises(Interrupted, match="nothing was kept"):
        build(tiny, flavour, cache, stop=lambda: True)
    assert list(cache.entries()) == []


def test_model_that_tensorrt_refuses_is_said_with_its_words(tmp_path: Path, flavour: Flavour, cache: PlanCache) -> None:
    path = write_model(make_network(layers=3), tmp_path, int8=False)
    model = onnx.load(path)
    model.graph.node[1].CopyFrom(helper.make_node("Bernoulli", list(model.graph.node[1].input), list(model.graph.node[1].output)))
    onnx.save(model, path)
    spec = ModelSpec("odd", 2, path, None)
    with pytest.raises(EngineError, match=r"(?s)TensorRT cannot read odd_x2.*Bernoulli"):
        build(spec, flavour, cache)


def test_flavour_for_another_gpu_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsr.engines.distributions.installed_flavours", lambda: ["tensorrt_rtx"])
    with pytest.raises(EngineError, match=r"does not run on compute capability 9\.0\. .*streamsr\[cuda13\]"):
        load_flavour("9.0")
    with pytest.raises(EngineError, match=r"9\.0 can only be built on such a GPU"):
        load_flavour("9.0", without_gpu=True)
    assert load_flavour("12.0").is_rtx
    monkeypatch.setattr("streamsr.engines.distributions.installed_flavours", lambda: [])
    with pytest.raises(EngineError, match=r"streamsr\[cuda12\].*streamsr\[rtx\]"):
        load_flavour("8.9")


def test_wishes_that_cannot_be_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="cannot run 'int8' here"):
        Wish((1, 10, 10), "int8")
    with pytest.raises(UsageError, match="cannot be"):
        Wish((0, 10, 10))


def test_process_builds_into_the_cache_and_says_how_far_it_is(tiny: ModelSpec, cache: PlanCache, flavour: Flavour) -> None:
    words: list[str] = []
    build_in_process(Order.of(tiny, (1, 32, 48), "f16", GPU), stop=threading.Event(), say=words.append)
    assert "done in" in words[-1]
    ((_, key),) = cache.entries()
    assert key == Wish((1, 32, 48)).key(tiny, flavour, GPU.name, GPU.capability)


def test_process_gives_back_its_error(tiny: ModelSpec, cache: PlanCache) -> None:
    tiny.path.write_bytes(b"changed")
    with pytest.raises(EngineError, match="sha256"):
        build_in_process(Order.of(tiny, (1, 32, 48), "f16", GPU), stop=threading.Event(), say=print)
    assert list(cache.entries()) == []


def test_process_that_crashes_is_an_error(tiny: ModelSpec, cache: PlanCache) -> None:
    crash = [sys.executable, "-c", "import os, sys; print('it hurts', file=sys.stderr, flush=True); os.abort()"]
    with pytest.raises(EngineError, match=rf"code -{signal.SIGABRT.value}: it hurts"):
        build_in_process(Order.of(tiny, (1, 32, 48), "f16", GPU), stop=threading.Event(), say=print, command=crash)


def test_process_is_ended_by_a_stop(tiny: ModelSpec, cache: PlanCache) -> None:
    stop = threading.Event()
    endless = [sys.executable, "-c", "import json, time; print(json.dumps({'say': 'begun'}), flush=True); time.sleep(600)"]
    words: list[str] = []

    def say(line: str) -> None:
        words.append(line)
        stop.set()

    with pytest.raises(Interrupted):
        build_in_process(Order.of(tiny, (1, 32, 48), "f16", GPU), stop=stop, say=say, command=endless)
    assert words == ["begun"]


def test_process_ends_with_the_one_that_started_it(tiny: ModelSpec, cache: PlanCache) -> None:
    order = Order.of(tiny, (1, 32, 48), "f16", GPU)
    with cache.locked(Wish((1, 32, 48)).key(tiny, import_flavour("tensorrt_rtx"), GPU.name, GPU.capability)):  # so it waits
        process = subprocess.Popen([sys.executable, "-m", "streamsr.engines.plan_process"], stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(json.dumps(vars(order)) + "\n")
        process.stdin.close()
        assert process.wait(30) == 1
    assert list(cache.entries()) == []


def test_states_survive_the_order(tmp_path: Path) -> None:
    spec = load_spec(write_recurrent(tmp_path).with_suffix(".json"))
    order = Order(**json.loads(json.dumps(vars(Order.of(spec, (1, 32, 48), "f16", GPU)))))
    again = order.spec()
    assert (again.path, again.sha256, again.states, again.scale) == (spec.path, spec.sha256, spec.states, spec.scale)
    assert np.prod(order.shape) == 32 * 48


def fake_trt(version: str, flags: dict[str, int], *, has_half: bool, previews: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(
        __version__=version, NetworkDefinitionCreationFlag=SimpleNamespace(**flags),
        BuilderFlag=SimpleNamespace(**{"FP16": 0} if has_half else {}),
        PreviewFeature=SimpleNamespace(**{name: name for name in previews}),
    )  # fmt: skip


SHARING = "PROFILE_SHARING_0806"
BOTH = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
VERSIONS = [  # flags of a network, whether types count, whether contexts have to be told to share a profile
    ("8.6.1", {"EXPLICIT_BATCH": 0}, True, (SHARING,), 0b01, False, True),
    ("9.3.0", BOTH, True, (SHARING,), 0b11, True, True),
    ("10.13.0", BOTH, True, (SHARING,), 0b11, True, False),
    ("11.2.1", {}, False, (), 0, True, False),
]


@pytest.mark.parametrize(("version", "flags", "has_half", "previews", "bits", "typed", "told"), VERSIONS)
def test_each_version_is_told_what_it_wants(
    version: str, flags: dict[str, int], has_half: bool, previews: tuple[str, ...], bits: int, typed: bool, told: bool
) -> None:
    trt = fake_trt(version, flags, has_half=has_half, previews=previews)
    assert network_flags(trt) == bits
    assert is_typed(trt) == typed
    said: list[tuple[str, bool]] = []
    share_profiles(SimpleNamespace(set_preview_feature=lambda feature, on: said.append((feature, on))), trt)
    assert said == ([(SHARING, True)] if told else [])
