"""Fixtures that several test modules share."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
import torch
from contract import data, fitted, fitted_dense, make, trained, trained_dense  # noqa: F401

# the tests' tensors are tiny: on a busy machine, threads that wait for each other take minutes
torch.set_num_threads(1)

WORDS = """
a red green blue small large wireless wired keyboard mouse guitar piano string cable black
white steel glass kitchen garden knife table chair lamp novel history of music and the for
"""


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a random BERT (2 layers, 32 dimensions, 64 positions) and its tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [
        *special,
        *WORDS.split(),
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
        "##er",
        "##board",
    ]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    roles = zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{role}_token": token for role, token in roles}
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,  # far enough from 0 that every token matters to the result
    )
    folder: Path = tmp_path_factory.mktemp("tiny_bert")
    with torch.random.fork_rng(devices=[]), redirect_stderr(StringIO()):
        torch.default_generator.manual_seed(0)
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)
