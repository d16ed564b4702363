"""Model files: found by name or path, checked, and described when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_chroma import make_weights, write_chroma_model
from make_model import make_network, write_model

from streamsr.errors import EngineError, UsageError
from streamsr.models import find_model, find_models, list_models, load_spec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(make_network(channels=4, layers=3), tmp_path)


def change(path: Path, **entries: Any) -> Path:
    description = path.with_suffix(".json")
    description.write_text(json.dumps(json.loads(description.read_text()) | entries))
    return description


def test_description_becomes_a_spec(model: Path) -> None:
    spec = load_spec(model.with_suffix(".json"))
    assert (spec.name, spec.scale, spec.channels, spec.layers, spec.receptive_field) == ("tiny", 2, 4, 3, 3)
    assert spec.read() == model.read_bytes()
    assert spec.read(int8=True) == model.with_name("tiny_x2_int8.onnx").read_bytes()


@pytest.mark.parametrize("int8", [False, True])
def test_changed_file_is_refused_with_both_sums(model: Path, int8: bool) -> None:
    spec = load_spec(model.with_suffix(".json"))
    path = spec.int8_path if int8 else spec.path
    assert path is not None
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(EngineError) as caught:
        spec.read(int8=int8)
    expected = spec.int8_sha256 if int8 else spec.sha256
    assert path.name in str(caught.value)
    assert expected is not None
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"scale": "2"}, "'scale' is '2'; it must be a int"),
        ({"scale": 0}, "'scale' is 0; it must be 1 to 16"),
        ({"channels": -1}, "'channels' is -1"),
        ({"name": None}, "'name' is None"),
        ({"receptive_field": True}, "'receptive_field' is True"),
        ({"chroma_filter": "nearest"}, "'chroma_filter' is 'nearest'; it must be one of lanczos, linear"),
        ({"look": 3}, "'look' is 3; it must be one of natural, faithful"),
        ({"state_shapes": [[1, 16]]}, "'state_shapes' has the entry [1, 16]"),
        ({"state_shapes": [{"name": "a"}]}, "'channels' is None"),
        ({"state_shapes": [{"name": "a", "channels": 0}]}, "'channels' is 0; it must be 1 to 4096"),
        ({"int8": {"file": 3}}, "'file' is 3"),
        ({"int8": {"file": "a", "sha256": "b" * 64, "live_only": 1}}, "'live_only' is 1; it must be a bool"),
    ],
)
def test_wrong_entry_is_named(model: Path, entries: dict[str, Any], text: str) -> None:
    with pytest.raises(EngineError) as caught:
        load_spec(change(model, **entries))
    assert text in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_description_that_is_no_object_is_an_engine_error(model: Path, content: str) -> None:
    model.with_suffix(".json").write_text(content)
    with pytest.raises(EngineError, match=r"tiny_x2\.json"):
        load_spec(model.with_suffix(".json"))


def test_unknown_model_lists_what_there_is(tmp_path: Path) -> None:
    write_model(make_network(channels=4, layers=3), tmp_path, "lite", int8=False)
    with pytest.raises(UsageError, match=r"no model 'max'\. Available: lite, resize"):
        find_models("max", tmp_path)
    with pytest.raises(UsageError, match=r"no scale x4\. Available: x2"):
        find_model("lite", 4, tmp_path)


def test_models_are_listed_by_name_and_scale(tmp_path: Path) -> None:
    for name, scale in [("b", 2), ("a", 3), ("a", 2)]:
        write_model(make_network(scale=scale, channels=4, layers=3), tmp_path, name, int8=False)
    assert [(spec.name, spec.scale) for spec in list_models(tmp_path)] == [("a", 2), ("a", 3), ("b", 2)]
    assert [spec.scale for spec in find_models("a", tmp_path)] == [2, 3]


def test_missing_file_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no model file .*gone\.onnx"):
        find_models(tmp_path / "gone.onnx")


def test_shipped_models_are_whole() -> None:
    for spec in list_models():
        assert spec.read()
        if spec.int8_path is not None:
            assert spec.read(int8=True)


def test_a_model_has_looks(tmp_path: Path) -> None:
    write_chroma_model(make_weights(2), tmp_path, "two")
    other = write_chroma_model(make_weights(2, seed=9), tmp_path, "two-faithful", look="faithful")
    card = json.loads(other.with_suffix(".json").read_text())
    other.with_suffix(".json").write_text(json.dumps(card | {"name": "two"}))
    natural, faithful = find_models("two", tmp_path), find_models("two", tmp_path, look="faithful")
    assert [spec.look for spec in (*natural, *faithful)] == ["natural", "faithful"]
    assert natural[0].path != faithful[0].path
    card["look"] = "pretty"
    other.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(EngineError, match="'look' is 'pretty'"):
        list_models(tmp_path)


def test_a_look_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    write_chroma_model(make_weights(2), tmp_path, "one")
    with pytest.raises(UsageError, match=r"has no look 'faithful'. Available: natural"):
        find_models("one", tmp_path, look="faithful")
