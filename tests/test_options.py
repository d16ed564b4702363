"""Options: keywords reach the fields that they name, values are checked where they are made, and the table knows every field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import streamsr
from streamsr.commands.option_table import DEFAULTS, OPTIONS, STAGES, run_options
from streamsr.errors import UsageError
from streamsr.options import (
    EncoderOptions,
    JobOptions,
    RunKeywords,
    RunOptions,
    SinkOptions,
    SourceOptions,
    UpscaleKeywords,
    UpscaleOptions,
    gather,
)

SETTLED = {"gpu", "nvenc", "live", "negative", "max_bit_rate_bps", "encode", "options"}  # by streamsr itself, or nested


def test_keywords_are_the_fields_of_all_stages() -> None:
    names = {field.name for stage in (UpscaleOptions, SourceOptions, SinkOptions, EncoderOptions, JobOptions) for field in fields(stage)}
    assert set(get_type_hints(RunKeywords)) == (names - SETTLED) | {"encoder_options"}
    assert set(get_type_hints(UpscaleKeywords)) == {field.name for field in fields(UpscaleOptions)} - {"model", "scale"}


def test_keywords_reach_their_stages_and_the_rest_stays() -> None:
    options = gather({"scale": 3, "crf": 20, "threads": 2, "encoder_options": {"tune": "film"}, "workers": 2, "overwrite": True},
                     RunOptions(source=SourceOptions(num_frames=5)))  # fmt: skip
    assert options.upscale == UpscaleOptions(scale=3, threads=2)
    assert options.source == SourceOptions(num_frames=5, threads=2)
    assert options.sink == SinkOptions(EncoderOptions(crf=20, threads=2, options={"tune": "film"}), overwrite=True)
    assert options.job == JobOptions(workers=2)


def test_an_unknown_keyword_is_named() -> None:
    with pytest.raises(TypeError, match=r"Unknown option 'crv'. Options: batch, .*crf"):
        streamsr.run("in.mp4", "out.mp4", crv=18)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("stage", "given", "words"),
    [
        (UpscaleOptions, {"scale": 0}, "scale is 0"), (UpscaleOptions, {"size": (0, 0)}, "size is"),
        (UpscaleOptions, {"precision": "fp4"}, "Unknown precision 'fp4'"), (UpscaleOptions, {"threads": -1}, "threads is -1"),
        (UpscaleOptions, {"frames_in_flight": 5}, "1 to 4"), (UpscaleOptions, {"batch": 0}, "batch is 0"),
        (SourceOptions, {"start_s": 2, "end_s": 1}, "--end 1 is not after"),
        (SourceOptions, {"input_format": "rawvideo"}, "Raw video needs"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(stage: type[Any], given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        stage(**given)


def test_the_table_sets_every_field_that_a_user_sets() -> None:
    named = {path for option in OPTIONS.values() for path in option.fields}
    wanted = {f"{stage}.{field.name}" for stage, kind in STAGES.items() for field in fields(kind) if field.name not in SETTLED}
    assert named == (wanted - {"upscale.hint", "source.timeout_s"}) | {"encode.options"}


def test_without_options_the_command_line_means_the_defaults() -> None:
    assert run_options(DEFAULTS, "in.mp4") == RunOptions(sink=SinkOptions(EncoderOptions(options={})))
