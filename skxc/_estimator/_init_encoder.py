"""Training that begins from the encoder of another fitted estimator."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Self

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from skxc._training._setup import TrainingSetup
from skxc._validation import short
from skxc.encoders._base import Encoder
from skxc.encoders._registry import resolve_encoder

from ._checkpoints import digest, of_array
from ._fit import FitMixin
from ._inputs import CheckedInputs, FitMode
from ._saving import SavingMixin, read_encoder

_TEXTS_COMPARED = 1000


class InitEncoderMixin(FitMixin, SavingMixin):
    """The parameter `init_encoder`: a fitted estimator, or the folder of a saved one."""

    init_encoder: Any

    @property
    def _start(self) -> Any:
        start = self.init_encoder
        return start.estimator if isinstance(start, FrozenEstimator) else start

    def _check_init_encoder(self) -> None:
        start = self._start
        if start is not None and not isinstance(start, str | os.PathLike | SavingMixin):
            raise TypeError(
                f"init_encoder={short(start)} is no estimator of skxc. Pass one that is fitted, "
                f"such as a DualEncoderXC, the folder of a saved one, or None. An encoder by "
                f"itself is what encoder= takes."
            )

    def _begins_fitted(self, mode: FitMode) -> bool:
        return self.init_encoder is not None or super()._begins_fitted(mode)

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, exclude: Any, mode: FitMode
    ) -> CheckedInputs:
        inputs = super()._checked(X, y, sample_weight, exclude, mode)
        if self.init_encoder is None or mode.is_resumed:
            return inputs
        return replace(inputs, start=self._initial_encoder())

    def _fitted_encoder(self, inputs: CheckedInputs, seed: int) -> Encoder:
        if inputs.start is not None:
            return inputs.start
        if self.init_encoder is not None and self._is_default_encoder:
            return copy.copy(self.encoder_)
        return super()._fitted_encoder(inputs, seed)

    @property
    def _is_default_encoder(self) -> bool:
        return repr(resolve_encoder(self.encoder)) == repr(resolve_encoder(type(self).encoder))

    def _initial_encoder(self) -> Encoder:
        """A copy of the encoder that training begins from; arrays are shared."""
        start = self._start
        if isinstance(start, str | os.PathLike):
            found = _read(start)
        elif hasattr(start, "encoder_"):
            found = copy.copy(start.encoder_)
        else:
            raise NotFittedError(
                f"init_encoder={short(start)} is not fitted, and training begins from what its "
                f"encoder has learnt. Call its fit first. A search makes unfitted copies of the "
                f"estimators in its grid: wrap each in sklearn.frozen.FrozenEstimator, or pass "
                f"folders of saved ones."
            )
        chosen = resolve_encoder(self.encoder)
        chosen.forget()  # as the fitted one has
        if not self._is_default_encoder and repr(chosen) != repr(found):
            raise ValueError(
                f"encoder={chosen!r} differs from that of init_encoder, {found!r}, that training "
                f"begins from. Leave encoder at its default, or pass that one."
            )
        return found

    def _remedies(self, setup: TrainingSetup[Any]) -> dict[str, Callable[[int], str]]:
        remedies = super()._remedies(setup)
        if self.init_encoder is not None:
            del remedies["dim"]  # it is the given encoder's
        return remedies

    def _fingerprint(self, inputs: CheckedInputs, device: torch.device) -> dict[str, str]:
        found = super()._fingerprint(inputs, device)
        start = inputs.start
        told = "None" if start is None else digest(*_parts(start, inputs))
        return found | {"init_encoder": told}

    def _saved_parameters(self) -> dict[str, Any]:
        parameters = super()._saved_parameters()
        if self.init_encoder is not None:
            parameters |= {"encoder": self.encoder_, "init_encoder": None}
        return parameters

    def __sklearn_clone__(self) -> Self:
        """A clone with the very same start: a clone of that would not be fitted."""
        bare = copy.copy(self)
        bare.init_encoder = None
        clone: Self = BaseEstimator.__sklearn_clone__(bare)
        clone.init_encoder = self.init_encoder
        return clone


def _read(folder: str | os.PathLike[str]) -> Encoder:
    """That of a saved model; errors say what else it could be."""
    try:
        return read_encoder(folder)
    except (OSError, ValueError) as error:
        kind = next(k for k in (FileNotFoundError, OSError, ValueError) if isinstance(error, k))
        raise kind(
            f"init_encoder={os.fspath(folder)!r} is no saved estimator: {error} An encoder alone, "
            f"in a folder or on a hub, is what encoder= takes."
        ) from error


def _parts(encoder: Encoder, inputs: CheckedInputs) -> Iterator[Iterator[bytes]]:
    """The weights, and what the vocabulary makes of some texts."""
    for array in encoder.weights_.values():
        yield of_array(array)
    tokens = encoder.tokenize(list(islice(iter(inputs.texts), _TEXTS_COMPARED)))
    arrays: list[NDArray[Any] | None] = [tokens.ids, tokens.offsets, tokens.weights]
    for found in arrays:
        yield of_array(found)
