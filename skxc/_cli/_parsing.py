"""The options of every command, and how they are read."""

from __future__ import annotations

import re
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter

from ._config_files import MODE, is_read_once, readable_config, register
from ._errors import InputError, input_checked


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Help texts as they are: they name types and defaults themselves."""

    def _get_help_string(self, action: Any) -> str:
        return action.help or ""


class Parser(ArgumentParser):
    """jsonargparse's, with errors in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say in one sentence which option is wrong, and why."""
        key = re.match(r'Parser key "([^"]+)"', message)
        value = re.search(r".*(?:Given|Got) value: (.*)", message, re.DOTALL)  # the last
        if key and value:
            text = next((a.help or "" for a in self._actions if a.dest == key[1]), "")
            accepted = re.search(r" \((?:[^()]|\([^()]*\))*\)$", text)  # the last parentheses
            message = f"--{key[1]}: {value[1].strip()!r} is not accepted"
            message += accepted[0] if accepted else ""
        message = re.sub(r'^Parser key "([^"]+)":', r"--\1:", " ".join(message.split()).rstrip("."))
        raise InputError(f'{message}. "{self.prog} --help" lists the options.') from ex

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Options of a file, also of one that another names, if it is small UTF-8 text."""
        text = readable_config(path)
        if is_read_once(path):
            return self.parse_string(text, path, *args, **kwargs)
        return super().parse_path(path, *args, **kwargs)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """Options as YAML, or as JSON where stdout lacks a character and escapes it.

        JSON quotes all texts, and in quotes YAML reads the same escapes.
        """
        text = super().dump(*args, **kwargs)
        try:
            text.encode(getattr(sys.stdout, "encoding", None) or "utf8")
        except UnicodeEncodeError:
            text = super().dump(*args, **kwargs | {"format": "json_indented"})
        return text


def new_parser(command: str, usage: str, description: str, *, has_options: bool = True) -> Parser:
    register()
    parser = Parser(
        prog=f"skxc {command}",
        parser_mode=MODE,
        usage=f"skxc {command} {usage}",
        description=description,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    if has_options:
        parser.add_argument(
            "--config",
            action=ActionConfigFile,
            metavar="FILE",
            help="YAML file of options; the command line has priority.",
        )
        # jsonargparse's own text takes six lines
        parser._option_string_actions["--print_config"].help = "Print all options as such a file."
    return parser


def parsed(parser: Parser, argv: list[str]) -> dict[str, Any]:
    """Options by name. --top-k is --top_k, and config files come first, so that options win."""
    configs, others = list[str](), list[str]()
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--config" and (equals or (value := next(words, ""))):
            configs.append(f"--config={value}")
        elif name.startswith("--"):
            others.append(f"--{name[2:].replace('-', '_')}{equals}{value}")
        else:
            others.append(word)
    try:
        with input_checked():
            options = parser.parse_args(configs + others)
    except InputError:
        raise
    except Exception as error:  # what jsonargparse itself meets in odd files, `config: {}`
        raise InputError(
            f'An option or a line of --config has a value of a kind that is not accepted. "'
            f'{parser.prog} --help" lists the options.'
        ) from error
    return {name: value for name, value in options.as_dict().items() if name != "config"}
