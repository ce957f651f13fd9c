"""The one list of encoders: a new one touches its own file and this one."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from ._bag import BagOfWordsEncoder
from ._base import Encoder
from ._joined import JoinedEncoder
from ._transformer import TransformerEncoder

__all__ = ["BagOfWordsEncoder", "JoinedEncoder", "TransformerEncoder"]  # public in skxc.encoders

# by their names, as the parameter `encoder` and options ("--bag.dim") have them
ENCODERS: dict[str, type[Any]] = {
    "bag": BagOfWordsEncoder,
    "joined": JoinedEncoder,
    "transformer": TransformerEncoder,
}
# the one that any other string stands for: a model's identifier or folder, its parameter `model`
BY_MODEL = "transformer"

_MEMBERS = [name for name in vars(Encoder) if not name.startswith("_")] + ["dim_parameter"]


def encoder_name(encoder: str) -> str:
    """The name in `ENCODERS` of what a string stands for."""
    return encoder if encoder in ENCODERS and encoder != BY_MODEL else BY_MODEL


def make_encoder(encoder: str, **parameters: Any) -> Encoder:
    """The encoder that a string stands for, unfitted."""
    if encoder_name(encoder) == BY_MODEL:
        parameters["model"] = encoder
    made: Encoder = ENCODERS[encoder_name(encoder)](**parameters)
    return made


def resolve_encoder(encoder: Any) -> Any:
    """An unfitted encoder object of our own for what the user passed."""
    if isinstance(encoder, str):
        return make_encoder(encoder)
    is_encoder = all(hasattr(type(encoder), name) for name in (*_MEMBERS, "get_params"))
    if isinstance(encoder, type) or not is_encoder:
        raise TypeError(
            f"encoder={encoder!r} is not an encoder. Pass 'bag', a Hugging Face model id, a local "
            f"folder, or an object of skxc.encoders."
        )
    return clone(encoder)


def encoder_classes() -> dict[str, type[Any]]:
    """The encoders by the names of their classes, as saved models have them."""
    return {cls.__name__: cls for cls in ENCODERS.values()}
