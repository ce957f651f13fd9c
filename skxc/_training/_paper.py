"""Details of the papers' code that are no parameters of their own: they serve recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from skxc._validation import check_choice, check_real, short


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Those of every method; see the estimators' parameter `paper`."""

    schedule: str = "cosine"
    adam_epsilon: float = 1e-8

    @classmethod
    def of(cls, given: Any) -> Self:
        """What the parameter says; None: nothing.

        Raises
        ------
        TypeError
            If it is no mapping, or a value is of a wrong type.
        ValueError
            If it names what there is not, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(
                f"paper={short(given)} is no mapping. Pass None, or a dict of some of "
                f"{', '.join(names)}."
            )
        given = dict(given or {})
        if unknown := [name for name in given if name not in names]:
            raise ValueError(
                f"paper has no {short(unknown[0])}. Pass a dict of some of {', '.join(names)}."
            )
        details = cls(**given)
        details.check()
        return details

    def check(self) -> None:
        """Raise where a value is out of what is accepted."""
        check_choice("paper['schedule']", self.schedule, ("cosine", "linear"))
        check_real("paper['adam_epsilon']", self.adam_epsilon, ends="(]")
