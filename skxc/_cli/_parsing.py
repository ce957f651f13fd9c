"""The options of every command, and how they are read."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import RawDescriptionHelpFormatter
from ast import literal_eval
from collections.abc import Iterable
from typing import Any, Literal, NoReturn, get_args, get_type_hints

from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser, DefaultHelpFormatter

from ._config_files import MODE, is_read_once, readable_config, register
from ._errors import InputError, input_checked

_DATA_HELP = (
    "Table (.csv, .tsv, .jsonl, .ndjson, .parquet, .arrow), document corpus of Annif, folder in a "
    'layout that skxc.datasets.load_xc_folder reads, or "library-subjects", the packaged set.'
)
_NAMES = str | list[str] | None  # of columns
_DEVICE_HELP = "Where to compute: auto, cpu, cuda, cuda:1 ... (default: as set for training)"


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


def _parser(command: str, usage: str, description: str, *, has_options: bool = True) -> Parser:
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


def fit_parser(name: str, estimator: type) -> Parser:
    from skxc.encoders._registry import BY_MODEL, ENCODERS

    parser = _parser(
        f"fit {name}",
        "DATA --out MODEL [options]",
        f"Train {estimator.__name__} on the training texts of DATA; save it to the folder MODEL.\n"
        "Label texts come from DATA; pairs of its filter file are left out.\n\n"
        "Options may be written with - in place of _. For None, write null.",
    )
    parser.add_argument("data", metavar="DATA", type=str, help=_DATA_HELP)
    parser.add_argument(
        "--out", metavar="MODEL", type=str, required=True, help="Folder to save the model to."
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace the model that --out holds."
    )
    _add_layout(parser)
    _add_fields(parser)
    _add_columns(parser)
    parser.add_argument(
        "--test_size",
        type=int | float | None,
        default=None,
        help="Share, or number, of a table's or corpus' rows to hold out; 0: train on all. "
        "(int or float, default: 0.1)",
    )
    group = parser.add_argument_group(f"parameters of {estimator.__name__}")
    _add_encoder(group)
    _add_parameters(group, estimator, skip=("encoder", "label_texts", "warm_start", "verbose"))
    group.add_argument(
        "--verbose",
        type=int,
        default=1,
        help="1: a progress bar, or one line per epoch if stderr is no terminal; 0: neither. "
        "(int, default: 1)",
    )
    for name, encoder in ENCODERS.items():
        value = "with any other --encoder" if name == BY_MODEL else f"with --encoder {name}"
        group = parser.add_argument_group(f"parameters of {encoder.__name__}, {value}")
        _add_parameters(group, encoder, f"{name}.", skip=("model", "words"))
    return parser


def _add_encoder(group: Any) -> None:
    from skxc.encoders._registry import BY_MODEL, ENCODERS

    summaries = {name: (cls.__doc__ or "").split("\n")[0] for name, cls in ENCODERS.items()}
    text = "".join(f'"{k}": {_plain(v)} ' for k, v in summaries.items() if k != BY_MODEL)
    text += "Any other string: a Hugging Face model id or a local folder. (str, default: bag)"
    group.add_argument("--encoder", type=str, default="bag", help=text)


def _add_parameters(group: Any, owner: type, prefix: str = "", skip: Iterable[str] = ()) -> None:
    """An option for every parameter of the constructor; types and help from its documentation."""
    from docstring_parser import DocstringStyle, parse

    described = parse(owner.__doc__ or "", DocstringStyle.NUMPYDOC).params
    texts = {p.arg_name: p for p in described if p.args[0] == "param"}
    hints = get_type_hints(owner.__init__)  # type: ignore[misc]
    for name, parameter in inspect.signature(owner).parameters.items():
        if name in skip:
            continue
        kind = re.sub(r",? *default\b.*", "", texts[name].type_name or "")
        settings: dict[str, Any] = {"default": parameter.default}
        if hints[name] is bool:
            settings["action"] = ActionYesNo
        elif kind.startswith("{"):
            choices = literal_eval(f"[{kind[1:-1]}]")
            settings["type"] = Literal[tuple(choices)]
        else:
            settings["type"] = _accepted(hints[name])
        text = f"{_plain(texts[name].description or '')} ({kind}, default: {parameter.default})"
        group.add_argument(f"--{prefix}{name}", help=text.replace("%", "%%"), **settings)


def _plain(text: str) -> str:
    """A docstring's text without markup."""
    text = re.sub(r" ?\[\d+\]_", "", re.sub(r"\bof \[\d+\]_", "of the paper", text))
    text = re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``|`([^`]*)`", r"\1\2\3", text)
    return " ".join(text.split())


def _accepted(hint: Any) -> Any:
    """The type of an option's value: plain, so that config files import nothing."""
    if hint is Any:
        return bool | int | float | str | None
    if float in (hint, *get_args(hint)):
        return int | hint  # 2 stays a count where 0.5 is a share
    return hint


def _add_layout(parser: Parser) -> None:
    parser.add_argument(
        "--layout",
        type=Literal["auto", "npz", "pairs", "json"],
        default="auto",
        help="Layout of DATA, for a folder that holds several. "
        '({"auto", "npz", "pairs", "json"}, default: auto)',
    )


def _add_fields(parser: Parser) -> None:
    field = Literal["title", "content"]
    parser.add_argument(
        "--fields",
        type=field | list[field],
        default=["title", "content"],
        help="What makes up a text of JSON files: --fields title reads a titles set. Files of text "
        'lines have no fields. ("title", "content" or a list of both, default: [title,content])',
    )


def _add_columns(parser: Parser) -> None:
    """What tells how a table, or a document corpus of Annif, is read."""
    group = parser.add_argument_group("tables and corpora")
    group.add_argument(
        "--text",
        metavar="NAMES",
        type=_NAMES,
        default=None,
        help="Columns of a table that make up a text, joined by a space: title,body. A name that "
        "holds a comma: '[\"a,b\"]'. (names, default: None)",
    )
    group.add_argument(
        "--labels",
        metavar="NAMES",
        type=_NAMES,
        default=None,
        help="Columns of a table that hold labels; or 0 and 1, for the label that the column is "
        "named after. (names, default: None)",
    )
    group.add_argument(
        "--separator",
        type=str,
        default="",
        help='What stands between the labels in a cell, such as ";" or \\t. (str, default: none)',
    )
    group.add_argument(
        "--vocabulary",
        metavar="FILE",
        type=str | None,
        default=None,
        help="All labels and their texts: .tsv, .csv, or SKOS (.ttl, .rdf). (default: None)",
    )
    group.add_argument(
        "--language",
        type=str | None,
        default=None,
        help="Of the vocabulary's texts, if there are several. (default: None)",
    )
    _add_encoding(group)


def _add_encoding(parser: Any) -> None:
    parser.add_argument(
        "--encoding",
        type=str,
        default="utf-8",
        help="Of .csv and .tsv, such as cp1252. (str, default: utf-8)",
    )


def _add_texts(parser: Parser) -> None:
    parser.add_argument(
        "texts",
        metavar="TEXTS",
        type=str | None,
        nargs="?",
        help="File of texts: a table (.csv, .tsv, .jsonl, .ndjson, .parquet, .arrow, .feather, "
        ".ipc) or else one a line; .gz, too, but of the last four. - or nothing: standard input.",
    )
    parser.add_argument(
        "--text",
        "--column",
        metavar="NAMES",
        type=_NAMES,
        default=None,
        help="Columns of a table that make up a text, joined by a space: title,body. (default: the "
        "only one; lines have none)",
    )
    _add_encoding(parser)


def _add_out(parser: Parser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=str | None,
        default=None,
        help="File to write; it appears when it is complete. (default: standard output)",
    )


def predict_parser() -> Parser:
    parser = _parser(
        "predict",
        "MODEL [TEXTS] [options]",
        "The best labels of each text, best first: one line each, also for empty texts.\n"
        "Lines of standard input are answered as they arrive. Texts are UTF-8; in files of lines,\n"
        "only a line feed ends one.\n\n"
        "Formats:\n"
        '  jsonl    {"labels": ["fruit", "baking"], "proba": [0.93, 0.2]}\n'
        "  tsv      fruit, 0.93, baking, 0.2, separated by tabs; in a name, \\t \\n \\r \\\\\n"
        "           stand for a tab, a line feed, a carriage return and a backslash\n"
        "  csv      a table for spreadsheets: label_1, proba_1, label_2, proba_2 ...\n"
        "  parquet  a table with the columns labels (lists of str) and proba (of float32)\n\n"
        "proba is what predict_proba gives: the probability that the label applies.",
    )
    parser.add_argument("model", metavar="MODEL", type=str, help="Folder of a saved model.")
    _add_texts(parser)
    parser.add_argument("--top_k", type=int, default=5, help="Labels a text. (int, default: 5)")
    parser.add_argument(
        "--format",
        type=Literal["jsonl", "tsv", "csv", "parquet"] | None,
        default=None,
        help="As above; parquet needs --out. "
        '({"jsonl", "tsv", "csv", "parquet"}, default: as --out ends, else jsonl)',
    )
    _add_out(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="Keep the answers so far as FILE.part, and go on after those of a run that was "
        "killed. It needs --out and a file of texts.",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="Processes that answer, each with the model, for a file of texts. (int, default: 1)",
    )
    parser.add_argument("--device", type=str | None, default=None, help=_DEVICE_HELP)
    return parser


def explain_parser() -> Parser:
    parser = _parser(
        "explain",
        "MODEL [TEXTS] [options]",
        "How far each word of a text moves the scores of its labels, and where the scores come\n"
        "from. Effects of the bag of words are exact: a score is their sum. Of a transformer, an\n"
        "effect is how far the score falls when the word is left out.",
    )
    parser.add_argument("model", metavar="MODEL", type=str, help="Folder of a saved model.")
    _add_texts(parser)
    parser.add_argument(
        "--label",
        metavar="NAME",
        type=str,
        action="append",
        default=None,
        help="A label to explain; may be given several times. (default: each text's best)",
    )
    parser.add_argument("--top_k", type=int, default=5, help="Labels a text. (int, default: 5)")
    parser.add_argument(
        "--format",
        type=Literal["text", "jsonl", "html"],
        default="text",
        help='For people, for programs, or a page. ({"text", "jsonl", "html"}, default: text)',
    )
    _add_out(parser)
    parser.add_argument("--device", type=str | None, default=None, help=_DEVICE_HELP)
    return parser


def evaluate_parser() -> Parser:
    parser = _parser(
        "evaluate",
        "MODEL DATA [options]",
        "Precision, nDCG, recall and their propensity-scored versions on the test texts of DATA,\n"
        "in percent. Pairs of its filter file are left out; propensities are those of the labels\n"
        "that the model was trained on. Of a table or corpus, all rows are test rows: pass one\n"
        "that the model was not trained on. Its labels are found by their names.",
    )
    parser.add_argument("model", metavar="MODEL", type=str, help="Folder of a saved model.")
    parser.add_argument("data", metavar="DATA", type=str, help=_DATA_HELP)
    parser.add_argument(
        "--ks",
        type=list[int],
        default=[1, 3, 5],
        help="Where to cut the rankings. (list of int, default: [1,3,5])",
    )
    parser.add_argument(
        "--propensity",
        type=Literal["default", "amazon", "wikipedia"],
        default="default",
        help="The data set's family: published propensities have constants for each. "
        '({"default", "amazon", "wikipedia"}, default: default)',
    )
    parser.add_argument(
        "--json", action="store_true", help="One line of JSON, fractions instead of percent."
    )
    _add_layout(parser)
    _add_fields(parser)
    _add_columns(parser)
    parser.add_argument("--device", type=str | None, default=None, help=_DEVICE_HELP)
    return parser


def info_parser() -> Parser:
    parser = _parser("info", "MODEL", "Describe a saved model.", has_options=False)
    parser.add_argument("model", metavar="MODEL", type=str, help="Folder of a saved model.")
    return parser
