"""The options of the commands, but `skxc fit`."""

from __future__ import annotations

from typing import Literal

from ._options import (
    DATA_HELP,
    DEVICE_HELP,
    MODEL_HELP,
    add_columns,
    add_fields,
    add_layout,
    add_out,
    add_texts,
    names,
)
from ._parsing import Parser, new_parser


def predict_parser() -> Parser:
    parser = new_parser(
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
    parser.add_argument("model", metavar="MODEL", type=str, help=MODEL_HELP)
    add_texts(parser)
    parser.add_argument("--top_k", type=int, default=5, help="Labels a text. (int, default: 5)")
    parser.add_argument(
        "--format",
        type=Literal["jsonl", "tsv", "csv", "parquet"] | None,
        default=None,
        help="As above; parquet needs --out. "
        '({"jsonl", "tsv", "csv", "parquet"}, default: as --out ends, else jsonl)',
    )
    add_out(parser)
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
    parser.add_argument("--device", type=str | None, default=None, help=DEVICE_HELP)
    return parser


def explain_parser() -> Parser:
    parser = new_parser(
        "explain",
        "MODEL [TEXTS] [options]",
        "How far each word of a text moves the scores of its labels, and where the scores come\n"
        "from. Effects of the bag of words are exact: with a constant, they add up to the score.\n"
        "Of a transformer, an effect is how far the score falls when the word is left out.",
    )
    parser.add_argument("model", metavar="MODEL", type=str, help=MODEL_HELP)
    add_texts(parser)
    parser.add_argument(
        "--label",
        metavar="NAME",
        type=names,
        action="extend",
        default=None,
        help="A label to explain; may be given several times. (default: each text's best)",
    )
    parser.add_argument("--top_k", type=int, default=5, help="Labels a text. (int, default: 5)")
    parser.add_argument(
        "--format",
        type=Literal["text", "jsonl", "html"] | None,
        default=None,
        help="For people, for programs, or a page. "
        '({"text", "jsonl", "html"}, default: as --out ends, else text)',
    )
    add_out(parser)
    parser.add_argument("--device", type=str | None, default=None, help=DEVICE_HELP)
    return parser


def evaluate_parser() -> Parser:
    parser = new_parser(
        "evaluate",
        "MODEL DATA [options]",
        "Precision, nDCG, recall, MRR and propensity-scored precision and nDCG on the test texts\n"
        "of DATA, in percent. Pairs of its filter file are left out; propensities are those of\n"
        "the labels that the model was trained on. Of a table or corpus, all rows are test rows:\n"
        "pass one that the model was not trained on. Its labels are found by their names.",
    )
    parser.add_argument("model", metavar="MODEL", type=str, help=MODEL_HELP)
    parser.add_argument("data", metavar="DATA", type=str, help=DATA_HELP)
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
    add_layout(parser)
    add_fields(parser)
    add_columns(parser)
    parser.add_argument("--device", type=str | None, default=None, help=DEVICE_HELP)
    return parser


def info_parser() -> Parser:
    parser = new_parser("info", "MODEL", "Describe a saved model.", has_options=False)
    parser.add_argument("model", metavar="MODEL", type=str, help=MODEL_HELP)
    return parser


def serve_parser() -> Parser:
    from dataclasses import fields

    from skxc._server._limits import Limits

    parser = new_parser(
        "serve",
        "MODEL [options]",
        "Answer requests over HTTP with the best labels of texts: JSON, a page for people, and\n"
        "what Annif's backend `http` asks. A model that is saved to MODEL meanwhile takes the\n"
        "place of the old one. Ctrl-C ends the server when the last answers are sent.",
    )
    parser.add_argument("model", metavar="MODEL", type=str, help=MODEL_HELP)
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="Address to listen at; 0.0.0.0: all of this machine's. There is no password and no "
        "encryption. (str, default: 127.0.0.1, for this machine alone)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="Port; 0: a free one. (int, default: 8000)"
    )
    for limit in fields(Limits):
        parser.add_argument(
            f"--{limit.name}",
            type=int,
            default=limit.default,
            help=f"{limit.metadata['help']} (int, default: {limit.default})",
        )
    parser.add_argument("--device", type=str | None, default=None, help=DEVICE_HELP)
    return parser
