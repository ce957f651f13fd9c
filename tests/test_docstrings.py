"""Every public name has a complete numpydoc docstring."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

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
    found = validate(name)
    assert [e for e in found["errors"] if e[0] not in accepted] == []
    # the set of choices of numpydoc's, not the tuple that an f-string makes of it
    assert not re.search(r"^ *\w+ : \(", found["docstring"], re.MULTILINE)


SHARED = """
Parameters
----------
a : int
    One,
    on two lines.

Raises
------
ValueError
    If one is two.
"""


def test_a_docstring_gets_the_shared_sections_and_parameters_that_it_lacks():
    def function(b, a):
        """Do it.

        Parameters
        ----------
        b : int
            Two.

        Examples
        --------
        >>> 1
        1
        """

    assert completed_by(SHARED)(function).__doc__ == (
        "Do it.\n\nParameters\n----------\n"
        "b : int\n    Two.\na : int\n    One,\n    on two lines.\n\n"
        "Raises\n------\nValueError\n    If one is two.\n\nExamples\n--------\n>>> 1\n1\n"
    )


def test_a_parameter_that_nothing_describes_is_an_error():
    def function(c):
        """Do it."""

    with pytest.raises(KeyError, match="'c'"):
        completed_by(SHARED)(function)


def test_estimators_are_imported_where_python_drops_docstrings():
    """A dataclass without a docstring is given one by Python, of no sections."""
    # as -OO does it, but for skxc alone: torch has no compiled modules of that kind
    code = """
import importlib.machinery as files, sys
import sklearn.utils, torch
files.SourceFileLoader.get_code = lambda self, name: compile(
    self.get_data(self.path), self.path, "exec", dont_inherit=True, optimize=2)
import skxc.metrics
assert skxc.__doc__ is skxc.metrics.__doc__ is None
skxc.UniDEC
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
