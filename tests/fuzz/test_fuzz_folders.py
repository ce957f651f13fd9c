"""Folders from strangers: damaged, or changed and sealed anew by someone who means harm."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import resource
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tries import fuzzed, tried

import skxc
from skxc._persistence import seal
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

TRAINED_ON = ["a red lamp", "green chair", "blue glass lamp", "red garden chair", "piano"] * 5
LABELS = [["red", "lamp"], ["chair"], ["lamp", "glass"], ["red", "chair"], ["piano"]] * 5
TEXTS = ["a red garden lamp", "the piano's glass chair 字", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"]
MEMORY = 2 << 30  # bytes that loading and predicting may take
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 10**7, 10**10, 2**63, -(2**70), 0.5, -1.0, 1e300, 1e999),
    *(float("nan"), "", "a", "cuda:9", "sparse", "classes", "x" * 10**6, "../../etc/passwd"),
    *("(a+)+$", "(a|aa)*$", "(", "\0", "\ud800", "\x1b[2J", "<U999999999", "|O", "<f8"),
    *([], [1], [None], ["a"] * 5, [["a"]] * 5, {}, {"a": 1}, {"$": "eval"}, {"$": None}, {"$": []}),
    *({"$": kind} for kind in ("tuple", "tensor", "labels", "dtype", "RandomState", "number")),
    {"$": "tuple", "items": [1, 2]},
    {"$": "tuple", "items": [1, 10**9]},
    {"$": "tensor", "name": "label_embeddings_"},
    {"$": "tensor", "name": "label_counts_"},
    {"$": "labels", "name": "classes_", "dtype": "str"},
    {"$": "dtype", "name": "<U999999999"},
    {"$": "dtype", "name": "|O"},
    {"$": "number", "dtype": "F32", "value": [1, 2]},
    {"$": "RandomState", "key": {"$": "tensor", "name": "label_counts_"}, "rest": [10**6, 0, 0.0]},
    {"$": "device", "name": "meta"},
]
NAMES = ["predict", "__class__", "fit", "_ranker", "get_params", "note_", "n_labels_", "encoder_"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_bert: str) -> list[Path]:
    """Saved models."""
    bag = BagOfWordsEncoder(dim=4, min_df=1)
    patterned = BagOfWordsEncoder(dim=4, min_df=1, token_pattern=r"\w+(?:'\w+)?")
    bert = TransformerEncoder(tiny_bert, max_length=9, projection_dim=5)
    made = [
        skxc.ReneeClassifier(bag, epochs=1, random_state=0),
        skxc.DualEncoderXC(patterned, epochs=1, random_state=0),
        skxc.UniDEC(bag, epochs=1, random_state=np.random.RandomState(0), projection_dim=3),
        skxc.UniDEC(bag, epochs=1, random_state=0, warm_start=True),
        skxc.ReneeClassifier(bert, epochs=1, random_state=0),
        skxc.DualEncoderXC(TransformerEncoder(tiny_bert, max_length=20), epochs=1),
    ]
    paths = []
    with warnings.catch_warnings(action="ignore"):
        for i, model in enumerate(made):
            paths.append(tmp_path_factory.mktemp("models") / "model")
            model.fit(TRAINED_ON, LABELS if i != 1 else [labels[0] for labels in LABELS])
            model.save(paths[-1])
    return paths


@contextmanager
def limited_memory() -> Iterator[None]:
    """No more than `MEMORY` beyond what the process has."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


# ------------------------------------------------------------------------------ without a new seal
def damaged(folder: Path, other: Path, rng: random.Random) -> bool:
    """Damage the folder; whether it still holds all that was saved."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "cut", "extend", "delete", "add", "swap", "folder", "link", "out"])
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 1, 8, 64])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif kind == "extend":
        path.write_bytes(content + rng.randbytes(rng.choice([1, 9, 4096])))
    elif kind == "delete":
        path.unlink()
    elif kind == "add":
        (folder / rng.choice(["notes.txt", "encoder/pytorch_model.bin", "x.py"])).write_text("x")
        return True
    elif kind == "swap":
        name = path.relative_to(folder)
        if (other / name).exists():
            shutil.copy(other / name, path)
            return other.parent.name == folder.parent.name
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:  # a link within the folder is followed, one that leads out of it is not
        place = folder if kind == "link" else folder.parent
        path.rename(place / "elsewhere")
        path.symlink_to(place / "elsewhere")
        return kind == "link"
    return False


# --------------------------------------------------------------------------------- sealed again
def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where all values of a JSON value stand."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def changed_json(value: Any, rng: random.Random) -> Any:
    """A JSON value with something else somewhere."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(VALUES))
    # what is near the top is tried as often as what is deep inside
    by_depth: dict[Any, list[tuple[Any, ...]]] = {}
    for path in places(value):
        by_depth.setdefault((len(path), path[0] if isinstance(path[0], str) else 0), []).append(
            path
        )
    *above, key = rng.choice(rng.choice(sorted(by_depth.items(), key=str))[1])
    inner = value
    for step in above:
        inner = inner[step]
    kind = rng.choice(["set", "set", "set", "delete", "scale", "swap", "rename"])
    if kind == "delete":
        del inner[key]
    elif kind == "scale" and type(inner[key]) in (int, float):
        inner[key] = type(inner[key])(inner[key] * rng.choice([-1, 2, 3, 10, 10**6])) + 1
    elif kind == "swap":
        *_, other = rng.choice(list(places(inner)))
        if isinstance(inner, dict):
            inner[key], inner[other] = inner.get(other), inner[key]
        else:
            inner.reverse()
    elif kind == "rename" and isinstance(inner, dict):
        inner[rng.choice(NAMES)] = inner.pop(key)
    else:
        inner[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def changed_arrays(arrays: dict[str, np.ndarray], rng: random.Random) -> None:
    """Arrays of which one is another."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    kind = rng.choice(["number", "number", "dtype", "cut", "longer", "turn", "delete", "add"])
    if kind == "number" and array.size:
        array = arrays[name] = array.copy()
        value = rng.choice([np.nan, np.inf, -np.inf, 3e38, 1e20, 1e12, -1, 0, 2**31, -(2**62)])
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            flat = array.reshape(-1)
            places = slice(None) if rng.random() < 0.3 else rng.randrange(array.size)
            flat[places] = np.array(value).astype(array.dtype)
    elif kind == "dtype":
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            dtype = rng.choice([np.float16, np.float64, np.float32, np.int32, np.uint8, np.bool_])
            arrays[name] = array.astype(dtype)
    elif kind == "cut" and array.ndim:
        axis = rng.randrange(array.ndim)
        arrays[name] = np.ascontiguousarray(np.delete(array, slice(0, rng.choice([1, 99])), axis))
    elif kind == "longer" and array.ndim:
        arrays[name] = np.concatenate([array, array], rng.randrange(array.ndim))
    elif kind == "turn" and array.size:
        arrays[name] = np.ascontiguousarray(array.T)[..., None][rng.choice([..., 0])]
    elif kind == "delete":
        del arrays[name]
    else:
        arrays[rng.choice(["more", "table", "transformer.more", "label_counts_"])] = array


def resealed(folder: Path, rng: random.Random) -> None:
    """Change values, and write config.json anew as someone would who means it."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        names = [p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors")]
        path = rng.choice([*sorted(names), *[folder / "config.json"] * len(names)])
        if path.suffix == ".safetensors":
            arrays = load_file(path)
            changed_arrays(arrays, rng)
            save_file(arrays, path, metadata={"format": "pt"})
        else:
            value = changed_json(json.loads(path.read_bytes()), rng)
            path.write_bytes(json.dumps(value).encode("utf8", "surrogatepass"))
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").unlink()
    if not isinstance(config, dict):
        config = {"all": config}
    config.pop("sha256", None)
    files = config.pop("files", None)
    if rng.random() < 0.9:  # all files as they are now
        seal(folder, config)
        return
    body = json.dumps(config | {"files": files}, indent=1).encode("utf8", "surrogatepass")
    body = body.removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest()
    (folder / "config.json").write_bytes(body + f',\n "sha256": "{digest}"\n}}\n'.encode())


# ------------------------------------------------------------------------------------- the tries
def check_predictions(model: Any) -> None:
    """Finite embeddings; probabilities inside (0, 1), of labels that there are."""
    assert np.isfinite(model.transform(TEXTS)).all()
    k = min(3, model.n_labels_)
    labels, proba = model.predict_top_k_proba(TEXTS, k)
    assert labels.shape == proba.shape == (len(TEXTS), k)
    assert ((labels >= 0) & (labels < model.n_labels_)).all()
    is_sum = model._target_kind == "classes"  # of which probabilities sum to 1
    assert ((proba >= 0) & (proba <= 1) if is_sum else (proba > 0) & (proba < 1)).all()
    assert [len(row) for row in model.predict_labels(TEXTS, k)] == [k] * len(TEXTS)
    model.predict(TEXTS)


@fuzzed(60)
@given(seed=st.integers(0, 2**63), is_resealed=st.booleans(), is_mapped=st.booleans())
def test_a_stranger_s_folder_is_refused_in_words_or_predicts(
    folders: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    is_resealed: bool,
    is_mapped: bool,
) -> None:
    rng = random.Random(seed)
    source, other = rng.choice(folders), rng.choice(folders)
    top = tmp_path_factory.mktemp("tried")
    folder = top / source.parent.name / "model"
    shutil.copytree(source, folder)
    is_whole = False
    if is_resealed:
        resealed(folder, rng)
    else:
        is_whole = damaged(folder, other, rng)
    try:
        with tried("folders"), limited_memory(), warnings.catch_warnings(action="ignore"):
            model = skxc.load(folder, mmap=is_mapped)
            check_predictions(model)
            if is_whole:
                expected = skxc.load(source).predict_top_k(TEXTS)
                for found, right in zip(model.predict_top_k(TEXTS), expected, strict=True):
                    np.testing.assert_array_equal(found, right)
    finally:
        shutil.rmtree(top)
