"""streamsr preview INPUT"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import option_table, recipes, values
from .option_table import DEFAULTS, OPTIONS, Option

if TYPE_CHECKING:
    from ..live.http_server import Server
    from ..trial.page import Desk, Words
    from ..trial.runner import Tell
    from ..trial.studio import Setting, Shot, Studio

_log = logging.getLogger("streamsr.commands.preview")

HELP = "preview the result at some moments of a video"
EPILOG = """examples:
  streamsr preview film.mkv
  streamsr preview film.mkv --at 1:23 --at 45:00 --model base
  streamsr preview film.mkv --sheet sheet.png
  streamsr preview photographs/

"""
GROUPS = ("picture", "engine", "encoding", "input")
_SIZES = ("2x", "3x", "4x", "720p", "1080p", "1440p", "4k")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="a video or picture, several of them, or a folder of pictures")
    parser.add_argument("--at", type=values.seconds, action="append", default=[], metavar="T",
                        help="a time to look at, repeatable: seconds or h:mm:ss (default: where three scenes begin)")  # fmt: skip
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a contact sheet (.png) instead of serving a page")
    parser.add_argument("--listen", type=values.endpoint, default=values.endpoint("0"), metavar="A",
                        help="serve the page on HOST:PORT (default: a free port of 127.0.0.1)")  # fmt: skip
    parser.add_argument("--token", metavar="T", help="token that viewers need; env:NAME reads an environment variable")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    recipes.add_recipe(parser)
    for group in GROUPS:
        option_table.add_options(parser, group)


def main(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, or write the sheet."""
    from ..errors import UsageError
    from ..trial.moments import find_moments
    from ..trial.studio import Studio

    given = DEFAULTS | {key: value for key, value in vars(options).items() if key in DEFAULTS}
    settings = option_table.run_options(given, options.inputs[0])
    if options.sheet is not None:
        from ..trial.contact_sheet import check_sheet

        check_sheet(options.sheet)
    else:
        try:
            from ..trial import page  # noqa: F401
        except ModuleNotFoundError as error:
            raise UsageError(f"The page needs {error.name}.", hint="pip install 'streamsr[live]', or --sheet FILE.png") from error
    moments = find_moments(options.inputs, options.at, settings.source)
    with Studio(moments, settings.source) as studio:
        desk = open_desk(given, studio)
        if options.sheet is None:
            return _serve(options, studio, desk)
        from ..trial.contact_sheet import save_sheet

        words = {switch["name"]: switch["value"] for switch in desk.switches}
        setting = desk.read(words)
        shots = [studio.shoot(number, setting) for number in range(len(moments))]
        save_sheet(shots, moments, options.sheet)
        print(f"{options.sheet}\n{desk.command(moments[0].url, words)}\n{desk.expect(moments[0].url, words, shots[0])}")
    return 0


def _serve(options: argparse.Namespace, studio: Studio, desk: Desk) -> int:
    from ..live.address import resolve
    from ..live.command_line import hide_arguments
    from ..live.endpoint import check_access
    from ..trial.page import serve_trial
    from ..trial.runner import Runner
    from .progress import words as progress_words
    from .signals import stop_on_signals

    token = options.token
    if token is not None:
        hide_arguments(token=token)
        token = resolve(token)
    check_access(options.listen, token, option="--listen")
    stop = stop_on_signals()
    with Runner(progress_words) as runner, serve_trial(options.listen, studio, desk, runner, token=token) as server:
        announce(server, "preview")
        if options.open:
            import webbrowser

            webbrowser.open(server.url)
        stop.wait()
    if runner.standing.state == "cancelled":
        _log.info("%s: cancelled; nothing of it was kept", runner.standing.output)
    return 0


def announce(server: Server, what: str) -> None:
    """Say where the page is, and how to reach it over SSH."""
    print(f"{what}: {server.url}  (Ctrl-C ends it)", flush=True)
    if "SSH_CONNECTION" in os.environ:
        import getpass
        import socket

        port = server.endpoint.port
        words = f"ssh -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}"
        print(f"  from another machine: {words}, then open http://127.0.0.1:{port}/", flush=True)


def open_desk(given: Mapping[str, Any], studio: Studio) -> Desk:
    """The switches of the page, and what they mean, on top of the options of the command line."""
    from ..trial.page import Desk
    from ..trial.studio import Setting

    base = DEFAULTS | recipes.own_defaults()
    def settled(words: Words) -> dict[str, Any]:
        found = dict(given)
        for name, text in words.items():
            if name == "size":
                is_factor = text.endswith("x") and text[:-1].replace(".", "").isdigit()
                found |= {"scale": values.scale(text[:-1]), "size": None} if is_factor else {"size": values.size(text)}
            elif text:
                option = OPTIONS[name]
                if option.choices and text not in option.choices:
                    raise argparse.ArgumentTypeError(f"--{name} {text!r} is none of {', '.join(option.choices)}")
                found[option.key] = text if option.parse is None else option.parse(text)
            else:
                found[OPTIONS[name].key] = OPTIONS[name].default
        return found

    def read(words: Words) -> Setting:
        run = option_table.run_options(settled(words), studio.moments[0].url)
        return Setting(run.upscale, run.source.deinterlace, run.source.crop)

    def output(url: str, words: Words) -> str:
        chosen = settled(words)
        return output_name(url, text_of(OPTIONS["size"], chosen["size"])[0] if chosen["size"] else f"{chosen['scale']:g}x")

    def command(url: str, words: Words) -> str:
        return shlex.join(["streamsr", "run", url, output(url, words), *arguments(settled(words), base)])

    def run(url: str, words: Words, target: str, stop: threading.Event, tell: Tell) -> str:
        from ..jobs.job import run as run_job
        from .run import settle_realtime, summary

        settings = settle_realtime(url, option_table.run_options(settled(words), url))
        report = run_job(url, target, options=settings, on_progress=tell, stop=stop)
        return ". ".join([summary(report), report.account.line(), *report.notes])

    def expect(url: str, words: Words, shot: Shot) -> str:
        if studio.video(url).form == "picture":
            return ""
        chosen = settled(words)
        run = option_table.run_options(chosen, url)
        return studio.look_ahead(url, run, shot, output_name(url, "")).expected()

    return Desk(switches(given), read, command, expect, output, run)


def switches(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What may be switched on the page; `models`: where a switch needs a model that has it."""
    from ..models import RESIZE, list_models

    specs = list_models()
    names = [*dict.fromkeys(spec.name for spec in specs), RESIZE]
    if given["model"] not in names:
        names.insert(0, given["model"])
    found: list[dict[str, Any]] = [{"name": "model", "label": "Model", "kind": "choice", "choices": names, "value": given["model"]}]
    looks = {spec.name: {getattr(other, "look", None) for other in specs if other.name == spec.name} for spec in specs}
    if "look" in OPTIONS and any(len(several) > 1 for several in looks.values()):
        found.append({"name": "look", "label": "Look", "kind": "choice", "choices": list(OPTIONS["look"].choices), "value": given["look"],
                      "models": [name for name, several in looks.items() if len(several) > 1]})  # fmt: skip
    told = [name for name in names if any(spec.name == name and getattr(spec, "has_chroma", False) for spec in specs)]
    if "strength" in OPTIONS and told:
        value = "" if given["strength"] is None else f"{given['strength']:g}"
        found.append({"name": "strength", "label": "Strength", "kind": "range", "value": value, "models": told})
    found.append({"name": "deinterlace", "label": "Deinterlace", "kind": "choice", "choices": list(OPTIONS["deinterlace"].choices),
                  "value": given["deinterlace"]})  # fmt: skip
    crop = str(given["crop"] or "off")
    found.append({"name": "crop", "label": "Crop", "kind": "choice", "choices": list(dict.fromkeys(["off", "auto", crop])), "value": crop})
    size = f"{given['scale']:g}x" if given["size"] is None else text_of(OPTIONS["size"], given["size"])[0]
    sizes = list(_SIZES) if size in _SIZES else [size, *_SIZES]
    found.append({"name": "size", "label": "Size", "kind": "choice", "choices": sizes, "value": size})
    return found


def arguments(given: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """The options that differ from `base`, what they are on a command line without them, as on the command line."""
    found = []
    for option in OPTIONS.values():
        value = given[option.key]
        if option.name == "scale":
            if given["size"] is not None or (base["size"] is None and value == base["scale"]):
                continue
        elif value == base[option.key] or value in (False, []) or (value is None and option.name != "crop"):
            continue  # of what is not said, there are no words on the command line
        for text in text_of(option, value):
            found += [f"--{option.name}", text] if text else [f"--{option.name}"]
    return found


def text_of(option: Option, value: Any) -> list[str]:
    """A value as its option is written; "" for a flag."""
    if option.kind in ("flag", "switch"):
        return [""]
    if option.kind == "pairs":
        return [f"{key}={item}" for key, item in value]
    if isinstance(value, tuple) and len(value) == 2:
        return [f"{value[1]}p" if not value[0] else "x".join(map(str, value))]
    return [f"{value:g}" if isinstance(value, float) else "off" if value is None else str(value)]


def output_name(url: str, size: str) -> str:
    """A name beside the input, of no file that there is."""
    from ..errors import StreamsrError
    from ..io.containers import find_format
    from ..trial.runner import free_name

    path = Path(url)
    try:
        find_format(path.name, None)
        suffix = path.suffix
    except StreamsrError:
        suffix = ".mkv"
    return str(free_name(path.with_name(f"{path.stem}-{size}{suffix}")))


