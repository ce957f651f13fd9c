"""The one door to fast code. The plain torch version is the reference and is always there."""

from ._torch import sgd_update_, stochastic_round_

__all__ = ["sgd_update_", "stochastic_round_"]
