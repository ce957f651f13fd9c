"""How texts become vectors: public parameter objects that the estimators clone and fit."""

from ._bag import BagOfWordsEncoder
from ._transformer import TransformerEncoder

__all__ = ["BagOfWordsEncoder", "TransformerEncoder"]
