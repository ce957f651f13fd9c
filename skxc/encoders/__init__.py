"""How texts become vectors: parameter objects that estimators clone and fit."""

from skxc._data._tokens import TokenStore

from ._bag import BagOfWordsEncoder
from ._base import Encoder, EncoderModule
from ._transformer import TransformerEncoder

__all__ = ["BagOfWordsEncoder", "Encoder", "EncoderModule", "TokenStore", "TransformerEncoder"]
