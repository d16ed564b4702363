"""Recipes, one's own defaults, completion and the manual page."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from media import make_clip, streamsr

from streamsr.cli import build_parser
from streamsr.commands.completion import bash, commands_of, fish, man, options_of, zsh
from streamsr.commands.option_table import OPTIONS
from streamsr.commands.recipes import RECIPES, apply_defaults, recipe_named


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A streamsr.toml that is not there yet."""
    monkeypatch.setenv("STREAMSR_CONFIG", str(tmp_path / "streamsr.toml"))
    return tmp_path / "streamsr.toml"


def parsed(*arguments: str) -> dict[str, Any]:
    parser = commands_of(build_parser())[0]["run"]
    apply_defaults(parser, arguments)
    return vars(parser.parse_args(["in.mkv", "out.mkv", *arguments]))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_of_options_that_there_are(name: str) -> None:
    assert set(RECIPES[name]) <= {*OPTIONS, "look", "strength"}
    assert recipe_named(name).items() <= parsed("--for", name).items()


def test_the_command_line_counts_more_than_recipe_and_file(config: Path) -> None:
    config.write_text('[run]\nfor = "anime"\nencoder = "libx265"\ncrf = 21\nscale = 3\noverwrite = true\n')
    assert parsed()["content"] == "animation"
    assert (parsed()["encoder"], parsed()["crf"], parsed()["overwrite"]) == ("libx265", 21, True)
    assert parsed("--crf", "17")["crf"] == 17
    assert parsed("--for", "screen")["crf"] == 16
    assert parsed("--for=dvd")["content"] == "film"
    assert (parsed("--for", "dvd")["size"], parsed("--for", "dvd")["scale"]) == ((0, 1080), 2)
    assert (parsed("--for", "dvd", "--scale", "4")["size"], parsed("--for", "dvd", "--scale", "4")["scale"]) == (None, 4)
    assert (parsed("--size", "4k")["size"], parsed("--size", "4k")["scale"]) == ((3840, 2160), 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[run]\ncrf = 'x'", "crf"), ("[run]\nstart = 3", "start"), ("[run]\nfor = 'vhs'", "vhs"), ("[run", "streamsr.toml"),
     ("crf = 3", "[run]"), ("[run]\ncrv = 3", "crv")],
)  # fmt: skip
def test_a_bad_file_is_a_usage_error_in_one_line(config: Path, text: str, words: str) -> None:
    config.write_text(text)
    outcome = streamsr("run", "in.mkv", "out.mkv")
    assert outcome.code == 2
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert streamsr("run", "--help").code == 2  # it would be wrong
    assert streamsr("models").code == 0  # has no such defaults


@pytest.mark.parametrize("given", ["run a b --nothing", "run a b --crf x", "run", "run a b --for vhs", "preview a --at 1 b"])
def test_usage_errors_are_one_line(given: str) -> None:
    outcome = streamsr(*given.split())
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "--help" in outcome.err


def test_a_recipe_tunes_the_encoder(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--for", "anime", "--model", "resize", "--look", "natural", "--quiet")
    assert outcome.code == 0, outcome.err
    # x264 writes its settings into the stream; the tune "animation" has these
    assert b"deblock=1:1:1" in (tmp_path / "out.mp4").read_bytes()


def test_bash_completes_commands_options_and_choices() -> None:
    script = bash(build_parser())

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        words_of_bash = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
        program = f"{script}\n{words_of_bash}; _streamsr; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        return subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert completed("streamsr", "comp") == ["compare", "completion"]
    assert completed("streamsr", "run", "--deint") == ["--deinterlace"]
    assert completed("streamsr", "run", "--for", "a") == ["anime"]
    assert completed("streamsr", "completion", "f") == ["fish"]
    assert completed("streamsr", "run", "film") == []  # files, by readline's default


def zsh_completes(folder: Path, *words: str) -> list[str]:
    """What the function of the script offers for the last word, by zsh's own completion system at a terminal of its own."""
    (folder / "_streamsr").write_text(zsh(build_parser()))
    line = " ".join(words)
    program = f"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PS1=; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; bindkey "^I" complete-word'
        zpty -w shell 'note() {{ print -r -- "BEGIN$BUFFER""END"; }}; zle -N note; bindkey "^X" note; print -r -- READ""Y'
        zpty -r -m shell _ '*READY*'
        zpty -w -n shell '{line}'$'\t\x18'
        zpty -r -m shell found '*BEGIN*END*'
        print -r -- "$found"
    """
    done = subprocess.run(["zsh", "-f", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split("BEGIN")[-1].split("END")[0].split()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed: apt-get install zsh")
def test_zsh_completes_commands_options_and_choices(tmp_path: Path) -> None:
    assert zsh_completes(tmp_path, "streamsr", "doct") == ["streamsr", "doctor"]
    assert zsh_completes(tmp_path, "streamsr", "run", "--deint") == ["streamsr", "run", "--deinterlace"]
    assert zsh_completes(tmp_path, "streamsr", "run", "--for", "an") == ["streamsr", "run", "--for", "anime"]
    assert zsh_completes(tmp_path, "streamsr", "completion", "fi") == ["streamsr", "completion", "fish"]


def fish_completes(folder: Path, line: str) -> list[str]:
    """What fish's own completion system offers."""
    (folder / "streamsr.fish").write_text(fish(build_parser()))
    program = f"source {folder}/streamsr.fish; complete -C {shlex.quote(line)}"
    done = subprocess.run(["fish", "--no-config", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return [found.split("\t")[0] for found in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed: apt-get install fish")
def test_fish_completes_commands_options_and_choices(tmp_path: Path) -> None:
    assert fish_completes(tmp_path, "streamsr comp") == ["compare", "completion"]
    assert fish_completes(tmp_path, "streamsr run --deint") == ["--deinterlace"]
    assert fish_completes(tmp_path, "streamsr run --for a") == ["anime"]
    assert fish_completes(tmp_path, "streamsr completion f") == ["fish"]
    assert "--html" not in fish_completes(tmp_path, "streamsr run --h")


def test_scripts_and_manual_name_every_option() -> None:
    parser = build_parser()
    texts = {"zsh": zsh(parser), "fish": fish(parser), "man": man(parser).replace("\\-", "-")}
    for name, command in commands_of(parser)[0].items():
        for action in options_of(command):
            for option in action.option_strings:
                assert option in texts["zsh"]
                assert option in texts["man"]
                assert (f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}") in texts["fish"], (name, option)


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_manual_page_has_no_mistakes(tmp_path: Path) -> None:
    (tmp_path / "streamsr.1").write_text(man(build_parser()))
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", tmp_path / "streamsr.1"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
