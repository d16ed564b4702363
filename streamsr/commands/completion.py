"""streamsr completion bash|zsh|fish|man: scripts for shells and the manual page, made from the parser."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

HELP = "print shell completion, or the manual page"
EPILOG = """examples:
  streamsr completion bash > ~/.local/share/bash-completion/completions/streamsr
  streamsr completion zsh > "${fpath[1]}/_streamsr"
  streamsr completion fish > ~/.config/fish/completions/streamsr.fish
  streamsr completion man > ~/.local/share/man/man1/streamsr.1

"""
Commands = dict[str, argparse.ArgumentParser]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=["bash", "zsh", "fish", "man"], help="for which shell")


def main(options: argparse.Namespace) -> int:
    """Print it."""
    print({"bash": bash, "zsh": zsh, "fish": fish, "man": man}[options.kind](options.parser), end="")
    return 0


def commands_of(parser: argparse.ArgumentParser) -> tuple[Commands, dict[str, str]]:
    """The parser and the help of each command."""
    action = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices), {choice.dest: choice.help or "" for choice in action._choices_actions}


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a command, without those that are hidden."""
    return (action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS)


def kinds_of(parser: argparse.ArgumentParser) -> list[str]:
    """The fixed values that a command takes as positional arguments; [] for files."""
    return [str(word) for action in parser._actions if not action.option_strings for word in action.choices or ()]


def plain(text: str | None) -> str:
    """Help as argparse shows it."""
    return (text or "").replace("%%", "%").strip()


def bash(parser: argparse.ArgumentParser) -> str:
    """Commands, then options; choices after an option that has them, else files."""
    commands, _ = commands_of(parser)
    lines = ["# made by `streamsr completion bash`", "_streamsr() {",
             "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}", "    COMPREPLY=()",
             "    if (( COMP_CWORD == 1 )); then",
             f"        COMPREPLY=($(compgen -W '{' '.join([*commands, '--help', '--version'])}' -- \"$current\")); return", "    fi",
             "    case ${COMP_WORDS[1]} in"]  # fmt: skip
    for name, command in commands.items():
        lines += [f"    {name})", "        case $previous in"]
        words: list[str] = []
        for action in options_of(command):
            words += action.option_strings
            if action.choices:
                values = " ".join(map(str, action.choices))
                lines.append(f"        {'|'.join(action.option_strings)}) COMPREPLY=($(compgen -W '{values}' -- \"$current\")); return;;")
        kinds = kinds_of(command)
        lines += ["        esac", f"        [[ $current == -* ]] && COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$current\"))"]
        if kinds:
            lines.append(f"        [[ $current == -* ]] || COMPREPLY=($(compgen -W '{' '.join(map(str, kinds))}' -- \"$current\"))")
        lines.append("        ;;")
    return "\n".join([*lines, "    esac", "}", "complete -o default -F _streamsr streamsr", ""])


def zsh(parser: argparse.ArgumentParser) -> str:
    """A function of the completion system."""
    commands, helps = commands_of(parser)

    def quoted(text: str) -> str:
        return re.sub(r"([\[\]:'\\])", r"\\\1", text).replace("\\'", "'\\''")

    lines = ["#compdef streamsr", "# made by `streamsr completion zsh`", "_streamsr() {", "  if (( CURRENT == 2 )); then",
             "    local -a commands=("]  # fmt: skip
    lines += [f"      '{name}:{quoted(helps[name])}'" for name in commands]
    lines += ["    )", "    _describe command commands; return", "  fi", "  local command=$words[2]", "  shift words; (( CURRENT-- ))",
              "  case $command in"]  # fmt: skip
    for name, command in commands.items():
        lines.append(f"    {name}) _arguments \\")
        for action in options_of(command):
            takes = action.nargs != 0
            values = f":value:({' '.join(map(str, action.choices))})" if action.choices else ":value:_files" if takes else ""
            for option in action.option_strings:
                lines.append(f"      '*{option}[{quoted(plain(action.help))}]{values}' \\")
        kinds = kinds_of(command)
        lines.append(f"      '*:kind:({' '.join(kinds)})';;" if kinds else "      '*:file:_files';;")
    return "\n".join([*lines, "  esac", "}", '_streamsr "$@"', ""])


def fish(parser: argparse.ArgumentParser) -> str:
    """One line per option."""
    commands, helps = commands_of(parser)
    lines = ["# made by `streamsr completion fish`"]
    for name, command in commands.items():
        lines.append(f"complete -c streamsr -n __fish_use_subcommand -f -a {name} -d {shlex.quote(helps[name])}")
        if kinds_of(command):
            lines.append(f"complete -c streamsr -n '__fish_seen_subcommand_from {name}' -f -a {shlex.quote(' '.join(kinds_of(command)))}")
        for action in options_of(command):
            values = f" -x -a {shlex.quote(' '.join(map(str, action.choices)))}" if action.choices else " -r" if action.nargs != 0 else ""
            for option in action.option_strings:
                flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
                seen = f"'__fish_seen_subcommand_from {name}'"
                lines.append(f"complete -c streamsr -n {seen} {flag} -d {shlex.quote(plain(action.help))}{values}")
    return "\n".join([*lines, ""])


def man(parser: argparse.ArgumentParser) -> str:
    """The manual page, section 1."""
    from .._version import __version__

    commands, helps = commands_of(parser)

    def escaped(text: str) -> str:
        text = text.replace("\\", "\\e").replace("-", "\\-")
        return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)

    lines = [f'.TH STREAMSR 1 "" "streamsr {__version__}"', ".SH NAME", f"streamsr \\- {escaped(parser.description or '')}",
             ".SH SYNOPSIS", ".B streamsr", "COMMAND [options]"]  # fmt: skip
    for name, command in commands.items():
        positional = [action for action in command._actions if not action.option_strings and action.help != argparse.SUPPRESS]
        metavars = " ".join(str(action.metavar or action.dest) for action in positional)
        lines += [f".SH streamsr {name}", escaped(helps[name]) + ".", ".PP", f".B streamsr {name} {escaped(metavars)}"]
        for action in [*positional, *options_of(command)]:
            has_value = action.nargs != 0 and action.option_strings
            value = str(action.metavar or "|".join(map(str, action.choices or ()))) if has_value else ""
            names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            lines += [".TP", f".B {escaped(names)}{' ' if value else ''}{escaped(value)}", escaped(plain(action.help))]
        examples = (command.epilog or "").partition("exit codes:")[0].strip("\n")
        if examples:
            lines += [".PP", ".nf", escaped(examples), ".fi"]
    lines += [".SH EXIT STATUS", escaped((parser.epilog or "").partition("\n")[2].strip())]
    return "\n".join([*lines, ""])
