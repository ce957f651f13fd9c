"""Parameters of every kind: a model that is the same when it is loaded, or a clear error."""

from __future__ import annotations

import decimal
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st
from tries import FaultError, fuzzed, tried

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 3
LABELS = [["fruit", "red"], ["fruit"], ["vehicle"], ["vehicle"], ["vehicle", "red"]] * 3
ESTIMATORS = (ReneeClassifier, DualEncoderXC, UniDEC)
# not to be varied here: the first has a test of its own
LEFT_OUT = {"encoder", "label_texts"}
# words of Python, NumPy and torch about themselves, which tell users nothing
UNCLEAR = ("ambiguous", "NoneType", "unsupported operand", "overflow", "object of type")
NAMES = [
    *("auto", "bag", "", "x\0", "mean", "cls", "last", "float32", "bfloat16", "cpu", "cuda"),
    *("random", "mined", "all", "in-batch", "clustered", "label_texts", "one-vs-all", "softmax"),
    "n_positives",
    *("decoupled-softmax", "soft-top-k", "balanced-softmax", "1", "nan", r"\w+", "(", "[a-z]"),
]


class Odd:
    """An object that cannot even be compared."""

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None


def as_scalar(number, dtype):
    """The NumPy scalar."""
    with np.errstate(over="ignore"):
        return np.array(number).astype(dtype)[()]


FLOATS = st.floats() | st.sampled_from(
    [0.0, -0.0, 5e-324, 1e-300, 1e-40, 1e-10, 0.1, 0.5, 0.9, 1 - 1e-16, 1.0, 1.5, 1e10, 1e15,
     1e30, 3.5e38, 1e300, float("inf"), float("nan")]
)  # fmt: skip
INTEGERS = st.integers() | st.sampled_from([0, 1, 2, 3, 5, 2**31, 2**32, 2**63, 10**30, 10**400])
NUMPY = st.builds(
    as_scalar,
    st.sampled_from([0, 1, 2, 5, 100]),
    st.sampled_from([*"?bBhHiIqQefdgFD", "m8[s]", "M8[s]"]),
) | st.builds(as_scalar, FLOATS, st.sampled_from("efd"))
SCALARS = (
    st.none() | st.booleans() | INTEGERS | FLOATS | st.sampled_from(NAMES) | NUMPY
    | st.fractions() | st.builds(Fraction, st.sampled_from([1, 10**400]), st.sampled_from([1, 2]))
    | st.decimals() | st.sampled_from([1j, b"auto", Odd(), Odd, object(), ..., decimal.Decimal(1)])
    | st.integers(0, 10).map(np.random.RandomState) | st.integers(0, 10).map(np.random.default_rng)
)  # fmt: skip
VALUES = SCALARS | st.one_of(
    st.lists(SCALARS, max_size=3),
    st.tuples(SCALARS, SCALARS),
    st.dictionaries(st.sampled_from(["a", "$"]), SCALARS, max_size=2),
    st.lists(FLOATS, max_size=3).map(np.array),
    st.sampled_from([0, 1, 3, 0.5, True, "auto"]).map(np.array),
    st.just(np.ones((2, 2))),
    st.just(np.array(["auto", "auto"])),
)


def trains_too_long(parameters):
    """Numbers that are right, and would take all day or all memory."""
    try:
        return any(
            2000 < parameters.get(name, 0) < (2**63 if name == "epochs" else 2**38)
            for name in ("epochs", "dim", "projection_dim", "max_length")
        )
    except Exception:
        return False


def check_saved(clf, proba):
    """The model is loaded, and predicts the same."""
    with tempfile.TemporaryDirectory() as folder:
        clf.save(Path(folder) / "model")
        again = skxc.load(Path(folder) / "model")
    np.testing.assert_array_equal(again.predict_proba(TEXTS).toarray(), proba)
    np.testing.assert_array_equal(again.predict(TEXTS).toarray(), clf.predict(TEXTS).toarray())


def try_fit(cls, encoder, parameters):
    given = {"epochs": 2, "sparse_output": True, "random_state": 0} | parameters
    clf = cls(encoder, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            clf.fit(TEXTS, LABELS)
        except (ValueError, TypeError, OSError) as error:
            if any(word in str(error) for word in UNCLEAR):
                raise FaultError(str(error)) from error
            raise
        repr(clf)
        proba = clf.predict_proba(TEXTS)
        if not isinstance(proba, np.ndarray):
            proba = proba.toarray()
            assert ((proba >= 0) & (proba < 1)).all()
            assert (proba > 0).any(1).all()
            assert np.isfinite(clf.transform(TEXTS)).all()
            try:
                check_saved(clf, proba)
            except (ValueError, TypeError, OSError) as error:  # what `fit` makes can be loaded
                raise FaultError(f"{type(error).__name__}: {error}") from error


@fuzzed(150)
@given(cls=st.sampled_from(ESTIMATORS), data=st.data())
def test_a_parameter_of_an_estimator_is_used_saved_and_loaded_or_refused(cls, data):
    names = sorted(set(cls().get_params(deep=False)) - LEFT_OUT)
    parameters = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2))
    assume(not trains_too_long(parameters))
    with tried("parameters"):
        try_fit(cls, BagOfWordsEncoder(dim=8, min_df=1), parameters)


COUNTS = [1, 2, 7, 10**12, 2**63 - 1]
RATES = [0.5, 0.125, 1, 100, 1e-10, 1e-15, 1e10, 1e15]
DECAYS = [0, 0.25, 0.5, 1e10, 1e15]
SHARES = [0, 0.25, 0.5, 1]
# what each parameter may be; numbers come in many kinds
PLAUSIBLE = {
    "epochs": [1, 2], "mining_interval": [1, 2], "n_iter_no_change": [1, 2], "verbose": [0, 1],
    "positives_per_text": [1, 4], "negatives_per_text": [1, 4], "projection_dim": [1, 4],
    "batch_size": COUNTS, "encode_batch_size": COUNTS, "top_k": COUNTS, "pool_size": COUNTS,
    "label_chunk_size": COUNTS, "learning_rate": RATES, "classifier_learning_rate": RATES,
    "lexical_learning_rate": RATES, "temperature": RATES, "max_grad_norm": RATES, "alpha": RATES,
    "weight_decay": DECAYS, "classifier_weight_decay": DECAYS, "warmup_fraction": SHARES,
    "dual_weight": SHARES, "dual_score_weight": SHARES, "threshold": SHARES,
    "momentum": [0, 0.25, 0.875], "dropout": [0, 0.25, 0.875], "validation_fraction": [0.25, 0.5],
    "early_stopping": [False, True], "augment": [False, True], "normalize": [False, True],
    "both_directions": [False, True], "learn_temperature": [False, True],
    "warm_start": [False, True], "sparse_output": [False, True], "k": [0.5, 1, 2],
    "random_state": [0, 1, 2**32 - 1],
}  # fmt: skip


@st.composite
def of_one_kind_and_another(draw, value):
    """The same number in another type that holds it."""
    if isinstance(value, bool):
        return np.bool_(value)
    kinds = [np.int64, np.int8, np.uint32] if isinstance(value, int) else []
    kinds = kinds or [np.float64, np.float32, np.float16, np.longdouble, Fraction]
    others = [Fraction(value) if kind is Fraction else as_scalar(value, kind) for kind in kinds]
    return draw(st.sampled_from([other for other in others if float(other) == value] or [value]))


@fuzzed(40)
@given(cls=st.sampled_from(ESTIMATORS), data=st.data())
def test_a_number_of_any_kind_gives_the_model_of_python_s_own(cls, data):
    names = sorted(set(cls().get_params(deep=False)) & set(PLAUSIBLE))
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    plain = {name: data.draw(st.sampled_from(PLAUSIBLE[name])) for name in chosen}
    others = {name: data.draw(of_one_kind_and_another(value)) for name, value in plain.items()}
    with tried("parameters"):
        try_fit(cls, BagOfWordsEncoder(dim=8, min_df=1), others)
        try_fit(cls, BagOfWordsEncoder(dim=8, min_df=1), plain)
        models = [
            cls(BagOfWordsEncoder(dim=8, min_df=1), **{"epochs": 2, "random_state": 0} | given)
            for given in (plain, others)
        ]
        want, got = (model.fit(TEXTS, LABELS) for model in models)
        np.testing.assert_array_equal(got.label_embeddings_, want.label_embeddings_)
        predicted, expected = map(sp.csr_array, (got.predict(TEXTS), want.predict(TEXTS)))
        assert not (predicted != expected).nnz


@fuzzed(60)
@given(cls=st.sampled_from(ESTIMATORS), data=st.data())
def test_a_parameter_of_the_bag_is_used_saved_and_loaded_or_refused(cls, data):
    names = sorted(BagOfWordsEncoder().get_params())
    parameters = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2))
    assume(not trains_too_long(parameters))
    with tried("parameters"):
        try_fit(cls, BagOfWordsEncoder(**{"dim": 8, "min_df": 1} | parameters), {})


@fuzzed(25)
@given(cls=st.sampled_from(ESTIMATORS), data=st.data())
def test_a_parameter_of_a_transformer_is_used_saved_and_loaded_or_refused(tiny_bert, cls, data):
    names = ["max_length", "pooling", "projection_dim"]
    parameters = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2))
    assume(not trains_too_long(parameters))
    with tried("parameters"):
        try_fit(cls, TransformerEncoder(tiny_bert, **{"max_length": 8} | parameters), {"epochs": 1})
