"""What a request asks, read from its body."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qs

from skxc._validation import reason

from ._limits import (
    MAX_CHARACTERS_EXPLAINED,
    MAX_K,
    MAX_K_EXPLAINED,
    MAX_LABELS,
    Limits,
    RefusalError,
)

_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_K, _ANNIF_LIMIT = 5, 10  # labels where a request does not say how many
_MOST_FIELDS = 200  # of a form: Annif sends a document's metadata, too


class Question(NamedTuple):
    """What is asked of the model."""

    texts: list[str]
    k: int
    is_explained: bool = False
    labels: list[Any] | None = None  # to explain; None: the k best


class Suggestion(NamedTuple):
    """What Annif asks."""

    text: str
    limit: int
    threshold: float


def prediction(body: bytes, content_type: str, limits: Limits) -> Question:
    """The question of ``POST /predict``."""
    asked = _json_object(body, content_type, ("text", "texts", "k"))
    if ("text" in asked) == ("texts" in asked):
        raise RefusalError(400, 'Pass either "text", one text, or "texts", a list of them.')
    texts = asked["texts"] if "texts" in asked else [asked["text"]]
    if not isinstance(texts, list) or not texts:
        raise RefusalError(400, f'"texts" is {_shown(texts)}. Pass a list of at least one text.')
    if len(texts) > limits.max_texts:
        raise RefusalError(
            413,
            f"{len(texts):,} texts are more than this server takes at once, {limits.max_texts:,}. "
            f"Send them in several requests.",
        )
    for i, text in enumerate(texts):
        _check_text(text, limits.max_characters, f'"texts"[{i}]' if "texts" in asked else '"text"')
    k = _k(asked, MAX_K)
    if k * len(texts) > MAX_LABELS:
        raise RefusalError(
            413,
            f"{len(texts):,} texts with {k:,} labels each are more than the {MAX_LABELS:,} labels "
            f"that this server gives at once. Send the texts in several requests.",
        )
    return Question(texts, k)


def explanation(body: bytes, content_type: str, limits: Limits) -> Question:
    """The question of ``POST /explain``."""
    asked = _json_object(body, content_type, ("text", "k", "labels"))
    if "text" not in asked:
        raise RefusalError(400, 'Pass "text", the text to explain.')
    most = min(limits.max_characters, MAX_CHARACTERS_EXPLAINED)
    _check_text(asked["text"], most, '"text"')
    labels = asked.get("labels")
    is_list = isinstance(labels, list) and all(isinstance(x, str | int | float) for x in labels)
    if labels is not None and not (is_list and 1 <= len(labels) <= MAX_K_EXPLAINED):
        raise RefusalError(
            400,
            f'"labels" is {_shown(labels)}. Pass a list of 1 to {MAX_K_EXPLAINED} names of labels, '
            f"or leave it out: the best labels are explained.",
        )
    return Question([asked["text"]], _k(asked, MAX_K_EXPLAINED), True, labels)


def suggestion(body: bytes, content_type: str, limits: Limits) -> Suggestion:
    """The question of Annif's clients: a form, as the backend `http` sends it."""
    if content_type != _FORM:
        raise RefusalError(
            415, f"The request has the type {content_type or 'none'!r}. Send {_FORM}."
        )
    try:
        form = parse_qs(
            _decoded(body), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:  # percent escapes that are no UTF-8, or too many fields
        raise RefusalError(
            400, f"The form cannot be read ({error}). Send text=... in UTF-8."
        ) from error
    if "text" not in form:
        raise RefusalError(400, "The form has no field text. Send the text in it.")
    values = {name: given[-1] for name, given in form.items()}
    _check_text(values["text"], limits.max_characters, "text")
    try:
        limit = int(values.get("limit", _ANNIF_LIMIT))
        threshold = float(values.get("threshold", 0))
    except ValueError as error:
        raise RefusalError(400, f"limit or threshold is no number ({reason(error)}).") from error
    if limit < 1 or not 0 <= threshold <= 1:
        raise RefusalError(
            400, f"limit={limit} or threshold={threshold} is out of range. Pass 1 or more; 0 to 1."
        )
    return Suggestion(values["text"], min(limit, MAX_K), threshold)


def _json_object(body: bytes, content_type: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object of a body, which has no other keys than these."""
    # pages of other origins can send any other type here without asking
    if content_type != _JSON:
        raise RefusalError(
            415, f"The request has the type {content_type or 'none'!r}. Send Content-Type: {_JSON}."
        )
    text = _decoded(body)
    try:
        asked = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, f"The request is no JSON ({reason(error)}).") from error
    if not isinstance(asked, dict):
        raise RefusalError(
            400, f'The request is {_shown(asked)}. Send an object, {{"text": "..."}}.'
        )
    if unknown := sorted(asked.keys() - set(known)):
        raise RefusalError(
            400, f"{_shown(unknown[0])} is not known here. Known are {', '.join(known)}."
        )
    return asked


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusalError(
            400, f"The request is not UTF-8 ({error}). Encode it in UTF-8."
        ) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _check_text(text: Any, most: int, name: str) -> None:
    if not isinstance(text, str):
        raise RefusalError(400, f"{name} is {_shown(text)}, and no text. Pass a string.")
    if len(text) > most:
        raise RefusalError(
            413,
            f"{name} has {len(text):,} characters, more than this server takes: {most:,}. "
            f"Shorten it.",
        )


def _k(asked: dict[str, Any], most: int) -> int:
    k = asked.get("k", _K)
    if type(k) is not int or not 1 <= k <= most:
        raise RefusalError(400, f'"k" is {_shown(k)}. Pass a whole number from 1 to {most:,}.')
    return k


def _shown(value: Any) -> str:
    """A value as JSON, shortened."""
    return f"{json.dumps(value):.60}"
