"""Options that several commands have."""

from __future__ import annotations

from typing import Any, Literal

from ._config_files import loaded_list
from ._parsing import Parser

DATA_HELP = (
    "Table (.csv, .tsv, .jsonl, .ndjson, .parquet, .arrow), document corpus of Annif, folder in a "
    'layout that skxc.datasets.load_xc_folder reads, or "library-subjects", the packaged set.'
)
MODEL_HELP = "Folder of a saved model, or hf://owner/name[@revision] on the Hugging Face hub."
DEVICE_HELP = "Where to compute: auto, cpu, cuda, cuda:1 ... (default: as set for training)"


def names(given: Any) -> list[str]:
    """A name of the command line, which no YAML makes anything else of, or several of a file.

    Raises
    ------
    ValueError
        If they are no texts.
    """
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list) or {*map(type, found)} - {str}:
        raise ValueError(f"{given!r:.60} holds no names. Write each between quotation marks")
    return found


def column_names(given: Any) -> list[str]:
    """Names of columns, between commas or in a list."""
    found = loaded_list(given) if isinstance(given, str) else given
    return [x.strip() for x in given.split(",")] if found is None else names(found)


def add_layout(parser: Parser) -> None:
    parser.add_argument(
        "--layout",
        type=Literal["auto", "npz", "pairs", "json"],
        default="auto",
        help="Layout of DATA, for a folder that holds several. "
        '({"auto", "npz", "pairs", "json"}, default: auto)',
    )


def add_fields(parser: Parser) -> None:
    field = Literal["title", "content"]
    parser.add_argument(
        "--fields",
        type=field | list[field],
        default=["title", "content"],
        help="What makes up a text of JSON files: --fields title reads a titles set. Files of text "
        'lines have no fields. ("title", "content" or a list of both, default: [title,content])',
    )


def add_columns(parser: Parser) -> None:
    """What tells how a table, or a document corpus of Annif, is read."""
    group = parser.add_argument_group("tables and corpora")
    group.add_argument(
        "--text",
        metavar="NAMES",
        type=column_names,
        default=None,
        help="Columns of a table that make up a text, joined by a space: title,body. A name that "
        "holds a comma: '[\"a,b\"]'. (names, default: None)",
    )
    group.add_argument(
        "--labels",
        metavar="NAMES",
        type=column_names,
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
        help="All labels and their texts, in UTF-8: .tsv, .csv, or SKOS (.ttl, .rdf). "
        "(default: None)",
    )
    group.add_argument(
        "--language",
        type=str | None,
        default=None,
        help="Of the vocabulary's texts, if there are several. (default: None)",
    )
    add_encoding(group)


def add_encoding(parser: Any) -> None:
    parser.add_argument(
        "--encoding",
        type=str,
        default="utf-8",
        help="Of tables in .csv and .tsv, such as cp1252. (str, default: utf-8)",
    )


def add_texts(parser: Parser) -> None:
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
        type=column_names,
        default=None,
        help="Columns of a table that make up a text, joined by a space: title,body. (default: the "
        "only one; that of .csv and .tsv has to be named; lines have none)",
    )
    add_encoding(parser)


def add_out(parser: Parser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=str | None,
        default=None,
        help="File to write; it appears when it is complete. (default: standard output)",
    )
