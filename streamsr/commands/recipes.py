"""Recipes and the user's defaults: option values when the command line does not set them.

The order, the strongest last: built-in defaults, streamsr.toml, the recipe of --for, the command line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from .option_table import OPTIONS, read_value, show_value

ENVIRONMENT = "STREAMSR_CONFIG"  # names another file
# what an option of `streamsr run` is for such material; the values are as on the command line
RECIPES: dict[str, dict[str, str]] = {
    "dvd": {"size": "1080p", "deinterlace": "auto", "crop": "auto", "look": "natural", "content": "film"},
    "tv": {"size": "1080p", "deinterlace": "bob", "crop": "auto", "look": "natural", "content": "film"},
    "phone": {"look": "natural"},
    "anime": {"look": "natural", "content": "animation"},
    "screen": {"look": "faithful", "strength": "0", "content": "screen", "crf": "16"},
    "camera": {"look": "faithful", "deinterlace": "auto"},
}
_NOT_MINE = {"start", "end", "frames", "format", "restart", "recursive", "live", "report", "input-format", "input-size", "input-pix-fmt",
             "input-rate", "slate", "segment-time", "cluster", "work-folder"}  # fmt: skip  # of one input or output
_RIVALS = {"scale", "size"}


def config_file() -> Path:
    """Path of the user's defaults. Not in the current folder, because a downloaded folder could contain one."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT])
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".config") / "streamsr" / "streamsr.toml"


def recipe_named(name: str) -> dict[str, Any]:
    """The values of a recipe by the keys of the parser, those that this version has. Raises ArgumentTypeError."""
    if name not in RECIPES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(RECIPES)}")
    found = {}
    for option_name, text in RECIPES[name].items():
        option = OPTIONS.get(option_name)
        if option is None or (option.choices and text not in option.choices):
            continue
        found[option.key] = text if option.parse is None else option.parse(text)
    return found


def read_defaults(file: Path) -> dict[str, Any]:
    """The table [run] of the file by the keys of the parser, and "for"; {} where there is no file. Raises UsageError."""
    if not file.is_file():
        return {}
    import tomllib

    from ..errors import UsageError

    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{file}: {getattr(error, 'strerror', None) or error}.") from error
    table = tables.get("run", {})
    unknown = [name for name in tables if name != "run"]
    if unknown or not isinstance(table, dict):
        raise UsageError(f"{file}: {unknown[0] if unknown else 'run'} is not a known table.", hint="put the options into [run]")
    found: dict[str, Any] = {}
    for name, value in table.items():
        try:
            if name == "for":
                if value not in RECIPES:
                    raise ValueError(f"{show_value(value)} is none of {', '.join(RECIPES)}")
                found["recipe"] = value
            elif name not in OPTIONS or name in _NOT_MINE:
                raise ValueError("is not an option of `streamsr run` that can have a default")
            else:
                found[OPTIONS[name].key] = read_value(OPTIONS[name], value)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise UsageError(f"{file}: [run] {name}: {error}.") from error
    return found


def own_defaults() -> dict[str, Any]:
    """What the file and its recipe set, by the keys of the parser. Raises UsageError."""
    own = read_defaults(config_file())
    chosen = recipe_named(own["recipe"]) if "recipe" in own else {}
    if chosen.keys() & _RIVALS:
        own = {key: value for key, value in own.items() if key not in _RIVALS}
    return own | chosen


def apply_defaults(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Give the parser of `run` or `preview` the defaults of the file and of --for, before it reads the command line. Raises UsageError."""
    from ..errors import UsageError

    own = read_defaults(config_file())
    name = next((after for word, after in pairwise(arguments) if word == "--for"), own.get("recipe"))
    name = next((word.partition("=")[2] for word in arguments if word.startswith("--for=")), name)
    chosen: dict[str, Any] = {}
    if name is not None:
        try:
            chosen = recipe_named(name)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--for {error}.") from error
    known = {action.dest for action in parser._actions}
    given = {word.partition("=")[0] for word in arguments}
    if given & {"--scale", "--size"}:  # one of them on the command line is not joined by the other
        chosen, own = ({key: value for key, value in values.items() if key not in _RIVALS} for values in (chosen, own))
    elif chosen.keys() & _RIVALS:
        own = {key: value for key, value in own.items() if key not in _RIVALS}
    parser.set_defaults(**{key: value for key, value in (own | chosen).items() if key in known})


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The option --for."""
    parser.add_argument("--for", choices=list(RECIPES), dest="recipe", metavar="KIND",
                        help=f"options for {', '.join(RECIPES)} (docs/recipes.md); explicit options override them")  # fmt: skip
