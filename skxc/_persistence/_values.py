"""Values of a few plain types as JSON, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

# safetensors' names of the numbers that we write
DTYPES = {
    "BOOL": np.bool_,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}
_DTYPE_NAMES: dict[np.dtype[Any], str] = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
LARGEST = 1e12  # of a float in a model: products and sums of such stay within float32
_MOST_PADDING = 64  # of a saved array of str: how much larger than its characters
_CHUNK = 1 << 24  # numbers looked at together
_PLAIN = (type(None), bool, int, float, str)  # what JSON holds as it is
_DTYPE = re.compile(r"[<>|](?:[biuf]\d+|U\d+|O)")


def dtype_name(array: NDArray[Any]) -> str:
    """safetensors' name of an array's numbers."""
    return _DTYPE_NAMES[array.dtype]


@dataclass
class Packed:
    """What `pack` could not put into its JSON: arrays of numbers, and of labels."""

    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)  # lists; arrays do for `unpack`

    def pack(self, value: Any, name: str) -> Any:
        """`value` as JSON; what is none becomes an object with its kind under "$".

        Raises
        ------
        TypeError
            If the value, which the message calls `name`, is of no kind that can be saved.
        """
        if type(value) in _PLAIN:
            return value
        if type(value) is list:
            return [self.pack(item, f"{name}.{i}") for i, item in enumerate(value)]
        if type(value) is tuple:
            return {"$": "tuple", "items": self.pack(list(value), name)}
        if type(value) is dict:
            if all(type(key) is str and key != "$" for key in value):
                return {key: self.pack(item, f"{name}.{key}") for key, item in value.items()}
        elif type(value) in (np.ndarray, np.memmap):
            return self._pack_array(value, name)
        elif isinstance(value, np.dtype) and _DTYPE.fullmatch(value.str):
            return {"$": "dtype", "name": value.str}
        elif isinstance(value, np.str_):
            return {"$": "str_", "value": str(value)}
        elif isinstance(value, np.generic) and value.dtype in _DTYPE_NAMES:
            return {"$": "number", "dtype": _DTYPE_NAMES[value.dtype], "value": value.item()}
        elif isinstance(value, Real):  # a Fraction, a number of an enum
            return int(value) if isinstance(value, Integral) else float(value)
        elif type(value) is np.random.RandomState:
            return self._pack_random_state(value, name)
        elif (type(value).__module__, type(value).__name__) == ("torch", "device"):
            return {"$": "device", "name": str(value)}
        raise _unsavable(value, name)

    def pack_mapping(self, mapping: Mapping[Any, Any], name: str) -> Any:
        """A mapping from labels to texts, of any size: apart from the JSON."""
        parts = {"keys": list(mapping), "values": list(mapping.values())}
        arrays = {part: np.array(items, dtype=object) for part, items in parts.items()}
        return {"$": "dict", **{k: self._pack_array(v, f"{name}.{k}") for k, v in arrays.items()}}

    def _pack_array(self, array: NDArray[Any], name: str) -> Any:
        if array.dtype.newbyteorder("=") in _DTYPE_NAMES:
            assert name not in self.tensors
            self.tensors[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
            return {"$": "tensor", "name": name}
        if array.ndim != 1 or array.dtype.kind not in "UO":
            raise _unsavable(array, name)
        items = [i.item() if isinstance(i, np.generic) else i for i in array.tolist()]
        if not set(map(type, items)) <= set(_PLAIN):
            raise _unsavable(array, name)
        dtype = "str" if array.dtype.kind == "U" else "object"
        return {"$": "labels", "name": self._add_labels(items, name), "dtype": dtype}

    def _add_labels(self, items: list[Any], name: str) -> str:
        """The name under which the list is saved: an earlier one's where that is the same."""
        if set(map(type, items)) == {str}:  # 1, 1.0 and True would be the same, too
            for other, known in self.labels.items():
                if known == items:
                    return other
        self.labels[name] = items
        return name

    def _pack_random_state(self, random_state: np.random.RandomState, name: str) -> Any:
        state = random_state.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise _unsavable(random_state, name)
        key = self._pack_array(state["state"]["key"], f"{name}.key")
        rest = [int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])]
        return {"$": "RandomState", "key": key, "rest": rest}

    def unpack(self, value: Any) -> Any:
        """What `pack` made JSON of; every array is the caller's own."""
        if isinstance(value, list):
            return [self.unpack(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind = value.get("$")
        if kind is None:
            return {key: self.unpack(item) for key, item in value.items()}
        if kind == "tuple":
            return tuple([self.unpack(item) for item in _typed(list, value["items"])])
        if kind == "tensor":
            return self.tensors[value["name"]]
        if kind == "labels":
            return self._unpack_labels(**{k: v for k, v in value.items() if k != "$"})
        if kind == "dict":
            keys, values = (self.unpack(value[part]).tolist() for part in ("keys", "values"))
            if len(set(keys)) < len(keys):
                raise ValueError("a dict has a key twice")
            return dict(zip(keys, values, strict=True))
        if kind == "dtype":
            if not _DTYPE.fullmatch(value["name"]):
                raise ValueError(f"{value['name']!r} is no value that skxc writes")
            return np.dtype(value["name"])
        if kind == "str_":
            return np.str_(_typed(str, value["value"]))
        if kind == "number":
            return DTYPES[value["dtype"]](_typed(bool | int | float, value["value"]))
        if kind == "RandomState":
            return _random_state(self.unpack(value["key"]), *value["rest"])
        if kind == "device":
            import torch

            return torch.device(value["name"])
        raise ValueError(f"a value is of the unknown kind {kind!r}")

    def _unpack_labels(self, name: str, dtype: str) -> NDArray[Any]:
        items = self.labels[name]
        if np.ndim(items) != 1 or not set(map(type, items)) <= set(_PLAIN):
            raise ValueError(f"the labels {name} are no list of plain values")
        if dtype == "str" and set(map(type, items)) <= {str}:
            lengths = [*map(len, items), 0]
            # every item takes as much as the longest: one long label among many short ones
            if len(items) * max(lengths) > max(_MOST_PADDING * sum(lengths), 1 << 28):
                raise ValueError(f"the labels {name} are too unequal in length for an array")
            return np.array(items, dtype=np.str_)
        if dtype != "object":
            raise ValueError(f"the labels {name} are no {dtype}")
        return np.array(items, dtype=object)


def check_numbers(name: str, array: NDArray[Any]) -> None:
    """Raise where floats are nan, infinite or too large to compute with; read once, in parts."""
    if array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        # the sum of squares, as fast as memory, is small only where every number is
        with np.errstate(all="ignore"):
            if part.dtype != np.float16 and np.dot(part, part) <= LARGEST**2:
                continue
        is_bad = ~(np.abs(part) <= LARGEST)
        if is_bad.any():
            raise ValueError(
                f"{name} holds {part[is_bad][0]}. Models hold no nan and nothing beyond "
                f"{LARGEST:g}: train this one anew."
            )


def _typed(kind: Any, value: Any) -> Any:
    """The value, if it is of this type."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.60} is no {kind}")
    return value


def _random_state(
    key: NDArray[np.uint32],  # (624,)
    place: int,  # in `key`: NumPy would read beyond its end
    has_gauss: int,
    gauss: float,
) -> np.random.RandomState:
    """Mersenne Twister's."""
    is_state = getattr(key, "dtype", None) == np.uint32 and key.shape == (624,)
    if not is_state or not 0 <= _typed(int, place) <= 624 or has_gauss not in (0, 1):
        raise ValueError("a RandomState is not as NumPy writes it")
    result = np.random.RandomState()
    result.set_state(("MT19937", key, place, has_gauss, float(_typed(float, gauss))))
    return result


def _unsavable(value: Any, name: str) -> TypeError:
    what = f"an array of dtype {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
    what = what if len(what) < 200 else f"{what[:200]}..."
    return TypeError(
        f"{name} is {what} of type {type(value).__name__}, which cannot be saved. Saved are None, "
        f"bool, int, float, str, lists, tuples and dicts of them, 1-d arrays of str and arrays of "
        f"numbers. Set it to one of these, or use joblib.dump for this model."
    )
