"""The recipes construct estimators that train, and say of their sets what the pages say."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.encoders import TransformerEncoder

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*/*.yaml"))
ESTIMATORS = {"renee": ReneeClassifier, "dual-encoder": DualEncoderXC, "unidec": UniDEC}
# Renee, tables 14 and 15: global batch, steps of warm-up, epochs
SCHEDULES = {
    "amazontitles-670k": (256, 10_000, 60),
    "amazon-670k": (256, 10_000, 70),
    "amazontitles-3m": (256, 10_000, 60),
    "amazon-3m": (256, 10_000, 60),
    "wiki-500k": (2048, 5_000, 100),
    "lf-amazontitles-131k": (512, 5_000, 100),
    "lf-amazon-131k": (512, 5_000, 100),
    "lf-wikiseealso-320k": (2048, 5_000, 100),
    "lf-wikipedia-500k": (2048, 5_000, 100),
    "lf-amazontitles-1.3m": (1024, 15_000, 100),
}
# of Renee, where its tables and the commands that its repository has now differ
DIFFERENCES = {
    ("amazontitles-670k", "classifier_learning_rate"): ("0.01", "0.001"),
    ("amazontitles-3m", "classifier_learning_rate"): ("0.01", "0.005"),
    ("amazontitles-3m", "classifier_weight_decay"): ("1.0e-3", "0.002"),
    ("amazontitles-3m", "epochs"): ("60", "70"),
    ("wiki-500k", "classifier_weight_decay"): ("1.0e-4", "1.0e-3"),
    ("lf-wikiseealso-320k", "classifier_learning_rate"): ("0.2", "0.1"),
}
SOURCE = re.compile(
    r"\btables? \d+|^ours: \w"
    r"|\brepository's (code|command|config\.yaml|configuration|default|later command|README)"
)


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    """The script beside the recipes."""
    path = ROOT / "examples" / "recipes" / "memory.py"
    spec = importlib.util.spec_from_file_location("recipes_memory", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["recipes_memory"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters_of(recipe: Path) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    return parameters


def make(recipe: Path, model: str | None = None, **overrides: Any) -> Any:
    """A recipe's estimator, on another encoder where `model` is given."""
    parameters = parameters_of(recipe)
    parameters.pop("fields", None)
    encoder = TransformerEncoder(model or parameters["encoder"], **parameters.pop("transformer"))
    return ESTIMATORS[recipe.parent.name](**(parameters | {"encoder": encoder} | overrides))


def recipe_id(recipe: Path) -> str:
    return f"{recipe.parent.name}/{recipe.stem}"


def lines_of(recipe: Path) -> dict[str, tuple[str, str]]:
    """Of each parameter its value, as it is written, and the comment after it."""
    lines = {}
    for line in recipe.read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#") and line not in ("transformer:", "paper:"):
            entry, _, comment = line.partition("  # ")
            name, _, value = entry.strip().partition(": ")
            lines[name] = value, comment
    return lines


every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=recipe_id)


def test_there_are_recipes_for_every_estimator() -> None:
    assert {recipe.parent.name for recipe in RECIPES} == set(ESTIMATORS)


@every_recipe
def test_a_recipes_parameters_are_the_estimators_and_in_range(recipe: Path) -> None:
    clf = make(recipe)
    clf.check_parameters()
    clf.encoder.check_parameters()


@every_recipe
def test_a_recipe_of_a_titles_set_reads_titles_alone(recipe: Path) -> None:
    expected = ["title"] if "titles" in recipe.stem else None
    assert parameters_of(recipe).get("fields") == expected


@every_recipe
def test_the_command_line_reads_a_recipe_as_python_does(recipe: Path) -> None:
    pytest.importorskip("jsonargparse")
    from skxc._cli._fit_parser import fit_parser
    from skxc._cli._parsing import parsed

    kind = recipe.parent.name
    argv = ["folder", "--out", "model", "--config", str(recipe)]
    options = parsed(fit_parser(kind, ESTIMATORS[kind]), argv)
    for name, value in parameters_of(recipe).items():
        if isinstance(value, dict):
            assert value.items() <= options[name].items()
        else:
            assert options[name] == value, name


@every_recipe
def test_a_recipe_trains_and_predicts(recipe: Path, tiny_bert: str) -> None:
    texts = ["red guitar", "blue guitar", "kitchen knife", "steel knife"] * 4
    labels = [["music", "red"], ["music"], ["kitchen"], ["kitchen"]] * 4
    few = {"epochs": 1, "batch_size": 4, "label_texts": ["kitchen", "guitar", "red"]}
    few["device"] = "cpu"
    if recipe.parent.name == "unidec":
        few |= {"epochs": 6, "projection_dim": 8}  # mines and clusters before the last
    if "k" in parameters_of(recipe):
        few["k"] = 1  # of three labels
    clf = make(recipe, tiny_bert, **few)
    clf.encoder.max_length = 16
    clf.set_params(random_state=0).fit(texts, labels)
    assert len(clf.predict_labels(["a red guitar"], k=2)[0]) == 2


@every_recipe
def test_a_recipe_says_that_it_was_not_run_and_has_the_pages_figures(recipe: Path) -> None:
    comment = recipe.read_text(encoding="utf-8").split("\n\n")[0].replace("\n# ", " ")
    assert "Not run here." in comment
    name, rest = re.search(r" on (\S+): [^:]*?(\d.*)", comment).groups()  # type: ignore[union-attr]
    assert name.lower() == recipe.stem.removesuffix("-soft-top-5")
    figures = re.findall(r"\d\d\.\d\d", rest)[:2]
    page = (ROOT / "docs" / "guide" / "recipes.md").read_text(encoding="utf-8")
    rows = [line for line in page.split("\n") if line.startswith(f"| {name} |")]
    assert any(all(figure in row for figure in figures) for row in rows)


@every_recipe
def test_every_line_of_a_recipe_names_its_source(recipe: Path) -> None:
    lines = lines_of(recipe)
    parameters = parameters_of(recipe)
    transformer, paper = parameters.pop("transformer"), parameters.pop("paper")
    assert set(lines) == set(parameters) | set(transformer) | set(paper)
    for name, (_, comment) in lines.items():
        assert SOURCE.search(comment), f"{name}: {comment!r}"


@pytest.mark.parametrize(("name", "parameter"), DIFFERENCES)
def test_where_paper_and_repository_differ_both_are_named(name: str, parameter: str) -> None:
    of_paper, of_repository = DIFFERENCES[name, parameter]
    value, comment = lines_of(ROOT / "examples" / "recipes" / "renee" / f"{name}.yaml")[parameter]
    assert value == of_paper
    assert comment == f"tables 14, 15; repository's later command: {of_repository}"


@every_recipe
def test_a_recipe_of_a_set_with_reciprocal_pairs_names_their_files(recipe: Path) -> None:
    head = recipe.read_text(encoding="utf-8").split("\n\n")[0]
    names = ["filter_labels_train.txt", "filter_labels_test.txt"]
    if recipe.parent.name == "renee":
        names += ["trn_filter_labels.txt", "tst_filter_labels.txt"]
    assert all((name in head) == recipe.stem.startswith("lf-") for name in names)


@pytest.mark.parametrize("name", ["lf-amazontitles-131k", "lf-amazontitles-1.3m"])
def test_the_start_of_a_recipe_is_made_by_a_command_and_has_its_encoder(name: str) -> None:
    pytest.importorskip("jsonargparse")
    from skxc._cli._fit_parser import fit_parser
    from skxc._cli._parsing import parsed

    recipe = ROOT / "examples" / "recipes" / "renee" / f"{name}.yaml"
    head = recipe.read_text(encoding="utf-8").replace("\\\n#", "")
    first, second = re.findall(r"^# +(skxc fit .*)", head, flags=re.MULTILINE)
    _, _, kind, *argv = shlex.split(first)
    argv[argv.index("--config") + 1] = str(ROOT / argv[argv.index("--config") + 1])
    options = parsed(fit_parser(kind, ESTIMATORS[kind]), argv)
    parameters = parameters_of(recipe)
    assert options["encoder"] == parameters["encoder"]
    assert options["transformer"]["pooling"] == parameters["transformer"]["pooling"]
    assert options["fields"] == parameters["fields"]
    assert options["normalize"]
    assert options["temperature"] == 0.05
    assert f"{name}.yaml" in second
    assert f"--init-encoder {options['out']}" in second


@pytest.mark.parametrize("name", SCHEDULES)
def test_renees_warm_up_is_the_papers_share_of_steps(name: str, memory: ModuleType) -> None:
    recipe = ROOT / "examples" / "recipes" / "renee" / f"{name}.yaml"
    parameters, data = parameters_of(recipe), memory.DATA_SETS[name]
    batch_size, n_warmup, n_epochs = SCHEDULES[name]
    n_rows = data.n_texts + data.n_labels * data.has_label_texts
    n_steps = n_epochs * -(-n_rows // batch_size)
    assert parameters["epochs"] == n_epochs
    assert parameters["batch_size"] == batch_size
    assert parameters["warmup_fraction"] == pytest.approx(n_warmup / n_steps, abs=6e-4)


def test_the_page_has_the_memory_scripts_table(
    memory: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    memory.main()
    table = capsys.readouterr().out
    assert len(table.split("\n")) == len(RECIPES) + 3
    assert table in (ROOT / "docs" / "guide" / "recipes.md").read_text(encoding="utf-8")


def test_the_models_of_the_memory_script_are_as_large_as_it_says(memory: ModuleType) -> None:
    from transformers import AutoModel, DistilBertConfig, RobertaConfig

    roberta = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    configs = {
        "msmarco-distilbert-base-v4": (DistilBertConfig(), {}),
        "paraphrase-distilroberta-base-v2": (
            RobertaConfig(num_hidden_layers=6, **roberta),
            {"add_pooling_layer": False},
        ),
        "all-roberta-large-v1": (
            RobertaConfig(num_hidden_layers=24, **roberta, **large),
            {"add_pooling_layer": False},
        ),
    }
    for name, (config, options) in configs.items():
        with torch.device("meta"):
            model = AutoModel.from_config(config, **options)
        tables = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
        assert memory.MODELS[f"sentence-transformers/{name}"] == (
            config.num_hidden_layers,
            config.hidden_size,
            sum(p.numel() for p in model.parameters()),
            sum(table.numel() for table in tables),
        )


def test_autograd_keeps_as_much_of_a_token_as_the_memory_script_says(memory: ModuleType) -> None:
    few, many = (kept_of_a_token(n_layers, dim=64) for n_layers in (2, 4))
    assert (many - few) / 2 / 64 == pytest.approx(memory.KEPT, rel=0.15)


def kept_of_a_token(n_layers: int, dim: int) -> float:
    """Bytes that autograd keeps of a token under bfloat16 and fused attention, weights apart."""
    from transformers import AutoModel, DistilBertConfig

    config = DistilBertConfig(
        n_layers=n_layers,
        dim=dim,
        hidden_dim=4 * dim,
        n_heads=4,
        vocab_size=100,
        attention_dropout=0.0,  # with it, a CPU's attention is not fused
    )
    model = AutoModel.from_config(config, attn_implementation="sdpa").train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(n_texts: int) -> int:
        storages: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage
            return tensor

        ids = torch.ones(n_texts, 32, dtype=torch.int64)
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16):
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        assert output.last_hidden_state.requires_grad
        return sum(storage.nbytes() for storage in storages.values())

    return (kept(8) - kept(4)) / (4 * 32)
