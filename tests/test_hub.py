"""Models on the Hugging Face hub: its own client, and a server on this machine in its place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_stub import Hub, serving

import skxc
from skxc._cli import main
from skxc._persistence import seal
from skxc._server._model import ModelWatch
from skxc.metrics import ranking_metrics

TEXTS = ["apple pie with cinnamon", "pear and apple salad", "grilled trout", "trout with pears"] * 5
LABELS = [["fruit", "baking"], ["fruit", "salads"], ["fish"], ["fish", "fruit"]] * 5
NAME = "hf://owner/topics"


def fitted(**parameters: object) -> skxc.UniDEC:
    return skxc.UniDEC(**{"random_state": 0, "epochs": 1} | parameters).fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def clf() -> skxc.UniDEC:
    return fitted()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub of huggingface_hub, an empty cache and a token."""
    from huggingface_hub import constants, file_download

    with serving() as stub:
        url = f"{stub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", stub.url)
        for module in (constants, file_download):  # before 1.0, both have it
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", url, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("skxc._persistence._hub.getproxies", dict)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield stub


def model_files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_what_is_pushed_is_what_is_loaded(hub: Hub, clf: skxc.UniDEC, tmp_path: Path) -> None:
    name = clf.push_to_hub("owner/topics")
    assert name == f"{NAME}@{hub.branches['owner/topics']['main']}"
    clf.save(tmp_path / "model")
    expected = model_files(tmp_path / "model")
    found = hub.files("owner/topics")
    assert {k: v for k, v in found.items() if k not in ("README.md", ".gitattributes")} == expected
    for path in (NAME, name):
        loaded = skxc.load(path)
        for a, b in zip(loaded.predict_top_k(TEXTS), clf.predict_top_k(TEXTS), strict=True):
            np.testing.assert_array_equal(a, b)
    assert hub.private["owner/topics"]
    clf.push_to_hub("owner/open", private=False)
    assert not hub.private["owner/open"]


def test_only_what_the_configuration_lists_is_downloaded(hub: Hub, clf: skxc.UniDEC) -> None:
    clf.push_to_hub("owner/topics")
    files = hub.files("owner/topics") | {"code.py": b"raise", "encoder/other.safetensors": b"x"}
    files["README.md"] = b"\xff no card"
    oid = hub.commit("owner/topics", files)
    hub.requests.clear()
    skxc.load(NAME)
    listed = {"config.json", *json.loads(files["config.json"])["files"]}
    got = [request.partition("/resolve/")[2] for request in hub.requests if "GET" in request]
    # the first by the branch's name, all others by its commit
    assert {path.partition("/")[2] for path in got} == listed
    assert got[0].partition("/")[2] == "config.json"
    assert {path.partition("/")[0] for path in got[1:]} == {oid}
    hub.requests.clear()
    skxc.load(f"{NAME}@{oid}")
    assert not hub.requests or all("HEAD" in request for request in hub.requests)


def test_a_server_has_the_model_that_the_name_meant_when_it_began(
    hub: Hub, clf: skxc.UniDEC
) -> None:
    clf.push_to_hub("owner/topics")
    watch = ModelWatch(NAME)
    fitted(epochs=2).push_to_hub("owner/topics")
    watch.look()
    assert watch.problem is None
    assert watch.current.clf.n_iter_ == 1


def test_a_revision_is_pinned(hub: Hub, clf: skxc.UniDEC) -> None:
    first = clf.push_to_hub("owner/topics")
    other = fitted(epochs=2)
    second = other.push_to_hub("owner/topics", revision="next/one", commit_message="Two epochs")
    assert skxc.load(first).n_iter_ == skxc.load(NAME).n_iter_ == 1
    assert skxc.load(second).n_iter_ == skxc.load(f"{NAME}@next/one").n_iter_ == 2
    third = other.push_to_hub("owner/topics")
    assert skxc.load(first).n_iter_ == 1
    assert skxc.load(NAME).n_iter_ == skxc.load(third).n_iter_ == 2


def test_an_earlier_models_files_go_and_the_users_own_stay(hub: Hub, clf: skxc.UniDEC) -> None:
    clf.push_to_hub("owner/topics")
    others = {"encoder/tokenizer.json": b"{}", "notes.md": b"mine", "figures/a.png": b"png"}
    hub.commit("owner/topics", hub.files("owner/topics") | others)
    clf.push_to_hub("owner/topics")
    found = hub.files("owner/topics")
    assert "encoder/tokenizer.json" not in found
    assert found["notes.md"] == b"mine"
    assert found["figures/a.png"] == b"png"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config.json": b'{"architectures": ["BertModel"]}'}, "a config.json that this skxc does"),
        ({"config.json": b"no JSON"}, "a config.json that this skxc does not read"),
        (
            {"README.md": b"", "model.safetensors": b"weights", "encoder/w.bin": b"w"},
            "'encoder/w.bin', and no config.json",
        ),
        ({".gitattributes": b"", "thesis.tex": b""}, "'thesis.tex', and no config.json"),
    ],
)
@pytest.mark.parametrize("revision", [None, "next"])
def test_a_repository_of_something_else_is_left_alone(
    hub: Hub, clf: skxc.UniDEC, files: dict[str, bytes], told: str, revision: str | None
) -> None:
    oid = hub.commit("owner/bert", files)
    place = f"hf://owner/bert{'' if revision is None else '@next'}"
    with pytest.raises(FileExistsError) as raised:
        clf.push_to_hub("owner/bert", revision=revision)
    words = str(raised.value)
    assert words.startswith(f"{place} holds something else than a model of skxc: {told}")
    assert not any(word in words for word in ("Copy the folder", "cache", "snapshots"))
    assert hub.branches["owner/bert"] == {"main": oid}
    assert not [asked for asked in hub.requests if asked.startswith("POST")]


def test_a_stranger_s_config_is_no_model(hub: Hub) -> None:
    hub.commit("owner/bert", {"config.json": b'{"architectures": ["BertModel"]}'})
    with pytest.raises(ValueError, match="hf://owner/bert holds no model that this skxc reads"):
        skxc.load("hf://owner/bert")


@pytest.mark.parametrize("files", [{}, {".gitattributes": b"", "README.md": b"licence: mit"}])
def test_an_empty_repository_takes_a_model(
    hub: Hub, clf: skxc.UniDEC, files: dict[str, bytes]
) -> None:
    hub.commit("owner/topics", files)
    clf.push_to_hub("owner/topics")
    assert skxc.load(NAME).n_labels_ == clf.n_labels_


def test_what_is_uploaded_meanwhile_is_not_replaced(hub: Hub, clf: skxc.UniDEC) -> None:
    clf.push_to_hub("owner/topics")
    hub.meanwhile = lambda: hub.commit("owner/topics", {"thesis.tex": b"mine"})
    with pytest.raises(OSError, match=r"somebody else changed the repository meanwhile\. Nothing"):
        clf.push_to_hub("owner/topics")
    assert hub.files("owner/topics") == {"thesis.tex": b"mine"}


# -------------------------------------------------------------------------------- no hub, or errors
def test_without_a_connection_the_cache_counts(
    hub: Hub, clf: skxc.UniDEC, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    name = clf.push_to_hub("owner/topics")
    skxc.load(NAME)
    # nobody listens there
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert skxc.load(NAME).n_iter_ == skxc.load(name).n_iter_ == 1
    with pytest.raises(ConnectionError, match=r"config.json is not in the hub's cache"):
        skxc.load("hf://owner/other")
    with pytest.raises(OSError, match=r"there is no connection to the hub\. Nothing was uploaded"):
        clf.push_to_hub("owner/topics")


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("hf://owner/none", FileNotFoundError, "there is no such repository, or it is private"),
        ("hf://owner/gated", PermissionError, "access to this repository must be granted"),
        ("hf://owner/empty", FileNotFoundError, "holds no model of skxc: config.json is missing"),
        (f"{NAME}@v9", FileNotFoundError, "hf://owner/topics@v9: the repository has no such rev"),
        ("hf://owner", ValueError, "Pass a name such as 'hf://owner/name'"),
        ("hf://a/b/c", ValueError, "names no repository"),
        ("hf://owner/topics@", ValueError, "names no repository"),
        ("hf://owner/topics@../../../refs", ValueError, "names no repository"),
        ("hf://owner/topics@a/../b", ValueError, "names no repository"),
        ("hf://owner/topics@a/..", ValueError, "names no repository"),
        ("hf://owner/topics@/etc/passwd", ValueError, "names no repository"),
        ("hf://owner/topics@a//b", ValueError, "names no repository"),
        ("hf://owner/topics@a/", ValueError, "names no repository"),
        ("hf://owner/topics@C:x", ValueError, "names no repository"),
        ("hf://owner/topics@a\x00b", ValueError, "names no repository"),
        ("hf://../etc", ValueError, "names no repository"),
        ("hf://", ValueError, "names no repository"),
    ],
)
def test_names_that_cannot_be_loaded(
    hub: Hub, clf: skxc.UniDEC, name: str, error: type[Exception], told: str
) -> None:
    clf.push_to_hub("owner/topics")
    hub.commit("owner/empty", {"README.md": b""})
    hub.commit("owner/gated", {})
    hub.gated.add("owner/gated")
    with pytest.raises(error, match=told):
        skxc.load(name)


@pytest.mark.parametrize("outside", ["../outside.json", "/etc/passwd", "a/../../b", "a\\b"])
def test_a_configuration_that_names_files_elsewhere_is_refused(
    hub: Hub, tmp_path: Path, outside: str
) -> None:
    seal(tmp_path, {"class": "UniDEC"})
    config = json.loads((tmp_path / "config.json").read_bytes())
    (tmp_path / "config.json").unlink()
    folder = tmp_path / "other"
    folder.mkdir()
    config["files"][outside] = {"size": 1, "sha256": "0"}
    seal_as(folder, config)
    hub.commit("owner/evil", {"config.json": (folder / "config.json").read_bytes()})
    with pytest.raises(ValueError, match="which is outside its folder"):
        skxc.load("hf://owner/evil")
    assert len([request for request in hub.requests if "GET /owner" in request]) == 1


def test_a_file_that_is_larger_than_told_is_not_downloaded(
    hub: Hub, clf: skxc.UniDEC, monkeypatch: pytest.MonkeyPatch
) -> None:
    clf.push_to_hub("owner/topics")
    files = hub.files("owner/topics")
    oid = hub.commit("owner/topics", files | {"model.safetensors": bytes(1 << 20)})
    with pytest.raises(ValueError, match=r"model.safetensors has 1,048,576 bytes, more than the"):
        skxc.load(NAME)
    assert f"GET /owner/topics/resolve/{oid}/model.safetensors" not in hub.requests
    hub.commit("owner/topics", files | {"config.json": bytes(1 << 20)})
    hub.requests.clear()
    monkeypatch.setattr("skxc._persistence._hub.LARGEST_CONFIG", 1 << 19)
    with pytest.raises(ValueError, match=r"config.json has 1,048,576 bytes, more than the 524,288"):
        skxc.load(NAME)
    assert all(asked.startswith("HEAD") for asked in hub.requests)


def test_a_hub_that_fails_leaves_what_the_cache_has(hub: Hub, clf: skxc.UniDEC) -> None:
    name = clf.push_to_hub("owner/topics")
    skxc.load(NAME)
    hub.is_broken = True
    assert skxc.load(NAME).n_iter_ == skxc.load(name).n_iter_ == 1
    with pytest.raises(ConnectionError, match=r"the hub answers with an error \(.*500"):
        skxc.load("hf://owner/other")


def seal_as(folder: Path, config: dict) -> None:
    """A config.json of a right digest, whatever it says."""
    import hashlib

    config.pop("sha256", None)
    body = json.dumps(config, indent=1).encode().removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest()
    (folder / "config.json").write_bytes(body + f',\n "sha256": "{digest}"\n}}\n'.encode())


def test_a_damaged_download_is_refused(hub: Hub, clf: skxc.UniDEC) -> None:
    clf.push_to_hub("owner/topics")
    files = dict(hub.files("owner/topics"))
    files["labels.json"] = files["labels.json"].replace(b"fish", b"fowl")
    hub.commit("owner/topics", files)
    with pytest.raises(ValueError, match=r"labels.json was changed"):
        skxc.load(NAME)
    del files["labels.json"]
    hub.commit("owner/topics", files)
    with pytest.raises(FileNotFoundError, match=r"labels.json is missing"):
        skxc.load(NAME)


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators alone")
def test_links_lead_to_the_caches_blobs_alone(hub: Hub, clf: skxc.UniDEC, tmp_path: Path) -> None:
    clf.push_to_hub("owner/topics")
    skxc.load(NAME)
    (labels,) = (tmp_path / "cache").glob("*/snapshots/*/labels.json")
    assert skxc.load(labels.parent).n_iter_ == 1  # the folder itself may be passed
    content = labels.read_bytes()
    labels.unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    labels.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="which is outside its folder"):
        skxc.load(labels.parent)


def test_a_token_that_may_not_write_is_told(hub: Hub, clf: skxc.UniDEC) -> None:
    hub.accepts_tokens = False
    with pytest.raises(PermissionError, match=r"the hub refuses access\. To upload, log in with"):
        clf.push_to_hub("owner/topics")
    with pytest.raises(PermissionError, match=r"To download, log in with .* that may read\.$"):
        skxc.load(NAME)


@pytest.mark.parametrize("page", [b"", b"<html>Log in</html>", b'{"a": 1}', b"[]", b"3"])
def test_what_is_no_hub_is_told(hub: Hub, clf: skxc.UniDEC, page: bytes) -> None:
    hub.web_page = page
    with pytest.raises(ConnectionError, match=f"what answers at {hub.url} is not the hub"):
        clf.push_to_hub("owner/topics")
    with pytest.raises(ConnectionError, match="the hub cannot be reached"):
        skxc.load(NAME)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"repo_id": "topics"}, ValueError, "'hf://topics' names no repository"),
        ({"licence": 3}, TypeError, "licence must be a str or None, got 3"),
        ({"data": ["a"]}, TypeError, "data must be a str or None"),
        ({"metrics": [0.5]}, TypeError, "metrics must be a dict of numbers by name"),
        ({"metrics": {"P@1": "high"}}, TypeError, "P@1"),
        ({"metrics": {"P@1": float("nan")}}, ValueError, "P@1"),
    ],
)
def test_arguments_that_are_not_accepted(
    hub: Hub, clf: skxc.UniDEC, given: dict, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        clf.push_to_hub(**{"repo_id": "owner/topics"} | given)
    assert not hub.branches


# ----------------------------------------------------------------------------------- the model card
def test_the_card_says_what_it_was_told_and_what_the_model_is(hub: Hub, clf: skxc.UniDEC) -> None:
    from huggingface_hub import ModelCard

    Y = clf.predict(TEXTS)
    metrics = ranking_metrics(Y, clf.predict_proba(TEXTS), (1, 3))
    clf.push_to_hub("owner/topics", licence="cc-by-4.0", data="Twenty menus.", metrics=metrics)
    text = hub.files("owner/topics")["README.md"].decode()
    card = ModelCard(text)
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "skxc")
    assert card.data.pipeline_tag == "text-classification"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {name: pytest.approx(value) for name, value in metrics.items()}
    for told in (
        "`UniDEC` of skxc",
        "BagOfWordsEncoder()",
        "- Labels: 4\n- Training texts: 20; epochs: 1",
        "| fruit | 15 |",
        "Twenty menus.",
        "| | @1 | @3 |",
        f"| P | {metrics['P@1']:.4f} | {metrics['P@3']:.4f} |",
        'skxc.load("hf://owner/topics")',
        "## Licence\n\ncc-by-4.0",
    ):
        assert told in text


def test_a_card_that_was_told_nothing_says_so(hub: Hub, clf: skxc.UniDEC) -> None:
    from huggingface_hub import ModelCard

    clf.push_to_hub("owner/topics")
    text = hub.files("owner/topics")["README.md"].decode()
    assert text.count("Not told.") == 3
    assert ModelCard(text).data.license is None


def test_names_of_labels_are_no_markup(hub: Hub) -> None:
    labels = [["a|b", "<script>"], ["[x](http://y)\n# z", "`" * 3], ["\ud800", "é" * 500]] * 5
    with pytest.warns(UserWarning, match="looks like several labels in one str"):
        clf = skxc.ReneeClassifier(epochs=1).fit(["one", "two", "three"] * 5, labels)
    clf.push_to_hub("owner/topics", metrics={"accuracy": 0.5, "P@1": 1})
    text = hub.files("owner/topics")["README.md"].decode()
    rows = text.split("training texts |\n")[1].split("\n\n")[0].splitlines()[1:]
    assert [row.count(" | ") for row in rows] == [1] * 6
    assert r"a\|b" in text
    assert r"\<script\>" in text
    assert "é" * 81 not in text
    assert "| accuracy | 0.5000 |  |\n| P |  | 1.0000 |" in text


def test_the_guides_lines_push_and_load(hub: Hub, clf: skxc.UniDEC) -> None:
    page = Path(__file__).parents[1] / "docs" / "guide" / "sharing.md"
    blocks = re.findall(r"<!-- peer -->\n```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    push, load = (code for code in blocks if "owner/topics" in code)
    names: dict[str, object] = {"clf": clf}
    exec(push, names)
    assert names.pop("clf") is clf
    exec(load, names)
    assert names["clf"].n_labels_ == clf.n_labels_
    assert "## Licence\n\ncc-by-4.0" in hub.files("owner/topics")["README.md"].decode()


# --------------------------------------------------------------------------------- the command line
def test_the_command_line_takes_names_of_the_hub(
    hub: Hub, clf: skxc.UniDEC, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clf.push_to_hub("owner/topics")
    hub.requests.clear()
    capsys.readouterr()
    assert main(["info", NAME]) == 0
    assert "UniDEC" in capsys.readouterr().out
    assert [request for request in hub.requests if "safetensors" in request] == []
    (tmp_path / "texts.txt").write_text("grilled trout\n", encoding="utf-8")
    assert main(["predict", NAME, str(tmp_path / "texts.txt"), "--top-k", "1"]) == 0
    [expected] = clf.predict_labels(["grilled trout"], 1)
    assert json.loads(capsys.readouterr().out)["labels"] == expected
    out = tmp_path / "labels.csv"
    for options in ([], ["--resume"], ["--resume", "--workers=2"]):
        words = ["predict", NAME, str(tmp_path / "texts.txt"), "--out", str(out), "--top-k=1"]
        assert main([*words, *options]) == 0
        assert out.read_text("utf-8-sig").startswith(f"label_1,proba_1\n{expected[0]},")
        out.unlink()
    assert main(["predict", "hf://owner/none", str(tmp_path / "texts.txt")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("skxc: error: hf://owner/none: there is no such repository")
