"""Every public name has a complete numpydoc docstring."""

from __future__ import annotations

import importlib
import inspect

import pytest
from numpydoc.validate import validate

from skxc._docstrings import completed_by

MODULES = ("skxc", "skxc.encoders", "skxc.metrics", "skxc.model_selection", "skxc.datasets")
# accepted departures: SS05 takes plural nouns ("Labels of ...") for verbs; no extended summary or
# See Also needed; text may follow the quotes; a blank line may end the docstring; one entry under
# Returns needs no name; nothing for generators
ACCEPTED = {"SS05", "ES01", "SA01", "GL01", "GL02", "GL03", "PR01", "RT03", "YD01"}
# an example stands once, with the class or function, not with each method
ACCEPTED_IN_METHODS = ACCEPTED | {"EX01"}


def public_names():
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.isroutine(value) and not inspect.isclass(value):
                continue
            yield f"{module_name}.{name}", ACCEPTED
            if inspect.isclass(value):
                for method, function in inspect.getmembers(value, inspect.isroutine):
                    is_ours = (getattr(function, "__module__", None) or "").startswith("skxc")
                    is_inherited = not function.__doc__ and inspect.getdoc(function)
                    if is_ours and not method.startswith("_") and not is_inherited:
                        yield f"{module_name}.{name}.{method}", ACCEPTED_IN_METHODS


@pytest.mark.parametrize(("name", "accepted"), list(public_names()))
def test_docstring_is_complete(name, accepted):
    errors = [e for e in validate(name)["errors"] if e[0] not in accepted]
    assert errors == []


SHARED = """
Parameters
----------
a : int
    One.
b : int
    Two,
    on two lines.

Raises
------
ValueError
    If one is two.
"""


def test_a_docstring_gets_the_shared_sections_and_parameters_that_it_lacks():
    @completed_by(SHARED)
    def function(b, c, a):
        """Do it.

        Parameters
        ----------
        c : int
            Three.

        Examples
        --------
        >>> 1
        1
        """

    titles = ["Parameters", "Raises", "Examples"]
    places = [function.__doc__.index(f"{title}\n{'-' * len(title)}\n") for title in titles]
    assert function.__doc__.startswith("Do it.\n\nParameters\n")
    assert places == sorted(places)
    entries = "b : int\n    Two,\n    on two lines.\nc : int\n    Three.\na : int\n    One.\n\n"
    assert entries in function.__doc__


def test_a_parameter_that_nothing_describes_is_an_error_at_import():
    with pytest.raises(KeyError, match="'d'"):

        @completed_by(SHARED)
        def function(a, d):
            """Do it."""
