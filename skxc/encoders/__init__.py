"""How texts become vectors: parameter objects that estimators clone and fit."""

from skxc._data._tokens import TokenStore

from . import _registry
from ._base import Encoder, EncoderModule
from ._registry import *  # noqa: F403  (the encoders: they are listed in that file alone)
from ._spans import TokenSpans

__all__ = ["Encoder", "EncoderModule", "TokenSpans", "TokenStore"]
__all__ += _registry.__all__
