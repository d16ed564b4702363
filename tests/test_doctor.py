"""doctor: every finding is about something, what is missing comes with a command, and JSON says the same."""

from __future__ import annotations

import importlib.util
import json

import pytest
from media import streamsr

from streamsr import doctor
from streamsr.doctor import Finding, examine


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return examine()


def named(findings: list[Finding], kind: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings if finding.kind == kind}


def test_engines_that_are_installed_are_found(findings: list[Finding]) -> None:
    engines = named(findings, "engine")
    assert engines["resize"].ok
    for name in ("openvino", "onnxruntime"):
        assert engines[name].ok == (importlib.util.find_spec(name) is not None)


def test_shipped_models_can_be_read(findings: list[Finding]) -> None:
    models = named(findings, "model")
    assert "lite" in models
    assert all(model.ok for model in models.values())


def test_encoders_of_this_ffmpeg_are_named(findings: list[Finding]) -> None:
    encoders = named(findings, "codec")["encoders"]
    assert "libx264" in encoders.words


def test_openvino_names_its_devices_and_precisions(findings: list[Finding]) -> None:
    words = named(findings, "engine")["openvino"].words
    assert "CPU" in words
    assert "FP32" in words


def test_missing_engine_comes_with_the_command_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_installed", lambda name: name == "resize")
    engines = named(examine(), "engine")
    assert not engines["openvino"].ok
    assert (engines["openvino"].command or "").startswith("pip install")


def test_without_a_network_engine_the_exit_code_is_5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_installed", lambda name: name == "resize")
    outcome = streamsr("doctor")
    assert outcome.code == 5
    assert "missing" in outcome.out


def test_broken_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.errors import EngineError
    from streamsr.models import ModelSpec

    def broken(self: ModelSpec) -> bytes:
        raise EngineError("the checksum is wrong")

    monkeypatch.setattr(ModelSpec, "read", broken)
    models = named(examine(), "model")
    assert not any(model.ok for model in models.values())
    assert "checksum" in models["lite"].words


def test_json_holds_every_finding() -> None:
    outcome = streamsr("doctor", "--json")
    assert outcome.code == 0
    rows = json.loads(outcome.out)
    assert {"machine", "engine", "model", "codec", "extra"} == {row["kind"] for row in rows}
    assert all(row["words"] for row in rows)


def test_lines_for_people_hold_every_finding(findings: list[Finding]) -> None:
    outcome = streamsr("doctor")
    for finding in findings:
        assert finding.name in outcome.out
