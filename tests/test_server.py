"""`skxc serve`: what is asked over real sockets is what the model answers."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

import numpy as np
import pytest
from serving import JSON, ROOT, asked, request, served_process, serving, until

import skxc
from skxc._cli import main
from skxc._server._batching import TEXTS_AT_ONCE
from skxc._server._guard import is_loopback
from skxc._server._limits import BODIES_AT_ONCE, Limits
from skxc._server._model import ModelWatch, opened
from skxc._server._run import bound, make_server, run

TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 4
NAMES = ["http://example.org/fruit", "<http://example.org/red>", "vehicle & <b>more</b>"]
LABELS = [[0, 1], [0], [2], [2], [1, 2]] * 4
FORM = "application/x-www-form-urlencoded"
SUGGEST = "/v1/projects/skxc/suggest"
ODD = ["", "apples", "café 🍎 äpfel", "a\x00b\n\tc", "red " * 3000, "\ud800 car"]


def trained(seed, estimator=skxc.ReneeClassifier):
    labels = [[NAMES[i] for i in row] for row in LABELS]
    return estimator(epochs=2, random_state=seed).fit(TEXTS, labels)


@pytest.fixture(scope="module")
def models():
    return trained(0), trained(1)


@pytest.fixture
def folder(models, tmp_path):
    models[0].save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def port(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    models[0].save(folder)
    with serving(ModelWatch(str(folder))) as number:
        yield number


def expected(clf, texts, k):
    """The results that the model itself gives."""
    labels, proba = clf.predict_top_k_proba(texts, k)
    names = clf.label_names_[labels].tolist()
    rows = ([float(str(value)) for value in row] for row in proba)
    return [{"labels": a, "proba": b} for a, b in zip(names, rows, strict=True)]


def assert_alike(results, others):
    """The same labels, with the same probabilities up to what a batch's size rounds."""
    assert [row["labels"] for row in results] == [row["labels"] for row in others]
    for row, other in zip(results, others, strict=True):
        np.testing.assert_allclose(row["proba"], other["proba"], rtol=1e-5)


def refused(port, path, body, status, words, kind=JSON):
    got, headers, content = request(port, "POST", path, body, kind)
    assert got == status, content
    assert re.search(words, json.loads(content)["error"]), content
    return headers


# -------------------------------------------------------------------------------------- predictions
@pytest.mark.parametrize("k", [1, 2, 1000])
def test_predictions_are_those_of_the_model(k, port, models):
    answer = asked(port, "/predict", {"texts": ODD, "k": k})
    assert_alike(answer["results"], expected(models[0], ODD, k))


def test_one_text_and_a_list_of_one_give_the_same(port, models):
    one = asked(port, "/predict", {"text": "a red car"})
    assert one == asked(port, "/predict", {"texts": ["a red car"]})
    assert one["results"] == expected(models[0], ["a red car"], 5)


def test_labels_that_are_numbers_are_numbers(tmp_path):
    clf = skxc.ReneeClassifier(epochs=1, random_state=0).fit(TEXTS, [2, 7] * 10)
    clf.save(tmp_path / "model")
    with serving(ModelWatch(str(tmp_path / "model"))) as port:
        (result,) = asked(port, "/predict", {"text": "a red car"})["results"]
        assert sorted(result["labels"]) == [2, 7]
        assert sum(result["proba"]) == pytest.approx(1)


def test_explanations_are_those_of_the_model(port, models):
    text = "a red 🍎 car"
    answer = asked(port, "/explain", {"text": text, "k": 2})
    assert answer.pop("model") == asked(port, "/health")["model"]
    assert answer == models[0].explain([text], k=2)[0].to_dict()
    one = asked(port, "/explain", {"text": text, "labels": [NAMES[2]]})
    assert [found["label"] for found in one["labels"]] == [NAMES[2]]


def test_health_says_what_is_served(port, models):
    health = asked(port, "/health")
    assert health["status"] == "ready"
    assert (health["class"], health["labels"], health["problem"]) == ("ReneeClassifier", 3, None)
    assert health["model"] == asked(port, "/predict", {"text": ""})["model"]
    assert health["limits"]["max_texts"] == 1000
    assert health["written"] < health["loaded"] < datetime.now(UTC).isoformat()


# ------------------------------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "is no JSON"),
        (b"{", 400, "is no JSON"),
        (b"[" * 100_000, 400, "is no JSON"),
        (b'{"text": NaN}', 400, "NaN is no number of JSON"),
        (b'{"text": "\xff"}', 400, "is not UTF-8"),
        (json.dumps({"text": "a"}).encode("utf-16"), 400, "is not UTF-8"),
        (["a"], 400, "Send an object"),
        ({}, 400, 'either "text"'),
        ({"text": "a", "texts": ["a"]}, 400, 'either "text"'),
        ({"text": None}, 400, '"text" is null, and no text'),
        ({"texts": "apples"}, 400, 'is "apples". Pass a list'),
        ({"texts": []}, 400, "at least one text"),
        ({"texts": ["a", 1.5]}, 400, r'"texts"\[1\] is 1.5, and no text'),
        ({"text": "a", "k": 0}, 400, '"k" is 0. Pass a whole number from 1 to 1,000'),
        ({"text": "a", "k": True}, 400, '"k" is true'),
        ({"text": "a", "k": 2.0}, 400, '"k" is 2.0'),
        (b'{"text": "a", "k": ' + b"9" * 5000 + b"}", 400, r"no JSON \(a number has thousands of"),
        ({"text": "a", "top_k": 3}, 400, '"top_k" is not known here'),
        ({"texts": ["a"] * 1001}, 413, "1,001 texts are more than .* 1,000"),
        ({"texts": ["a"] * 101, "k": 1000}, 413, "101 texts with 1,000 labels .* the 100,000 lab"),
        ({"text": "a" * 200_001}, 413, "200,001 characters, more than this server takes: 200,000"),
        (b" " * ((8 << 20) + 1), 413, "8,388,609 bytes, more than this server takes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_request_is_refused_in_words(body, status, words, port):
    refused(port, "/predict", body, status, words)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, 'Pass "text"'),
        ({"texts": ["a"]}, 400, '"texts" is not known here'),
        ({"text": "a", "labels": []}, 400, '"labels" is \\[\\]. Pass a list of 1 to 20'),
        ({"text": "a", "labels": ["tree"]}, 400, "tree"),
        ({"text": "a", "labels": [True]}, 400, "True, which is no label of this model"),
        ({"text": "a", "labels": [None]}, 400, r'"labels" is \[null\]'),
        ({"text": "a", "k": 21}, 400, "from 1 to 20"),
        ({"text": "a" * 20_001}, 413, "20,001 characters, more than this server takes: 20,000"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_request_for_an_explanation_is_refused_in_words(body, status, words, port):
    refused(port, "/explain", body, status, words)


@pytest.mark.parametrize("classes", [[False, True], [0.5, 1.5], [7, 9], ["a", "b"]])
def test_labels_of_any_type_are_explained_by_the_names_that_predict_gives(classes, tmp_path):
    y = np.array([[row[0] == 0, row[0] > 0] for row in LABELS], int)
    clf = skxc.ReneeClassifier(epochs=1).partial_fit(TEXTS, y, classes=classes)
    clf.save(tmp_path / "model")
    with serving(ModelWatch(str(tmp_path / "model"))) as port:
        names = asked(port, "/predict", {"text": "a car"})["results"][0]["labels"]
        assert sorted(names) == classes
        for name in names:
            answer = asked(port, "/explain", {"text": "a car", "labels": [name]})
            assert [label["label"] for label in answer["labels"]] == [name]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize("kind", [None, "text/plain", FORM])
def test_json_must_be_called_json(path, kind, port):
    refused(port, path, {"text": "a"}, 415, "Send Content-Type: application/json", kind)


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/predict", 405, "GET is not possible at /predict. Use POST."),
        ("PUT", "/explain", 405, "Use POST"),
        ("POST", "/health", 405, "Use (GET, HEAD|HEAD, GET)"),
        ("GET", "/nothing", 404, "There are /, /health"),
        ("POST", "/predict/", 404, "'/predict/' is not here"),
        ("OPTIONS", "/predict", 405, "OPTIONS is not possible"),
    ],
)
def test_another_path_or_method_is_refused_in_words(method, path, status, words, port):
    got, headers, content = request(port, method, path)
    assert got == status
    assert re.search(words, json.loads(content)["error"])
    assert status != 405 or headers["allow"]
    assert not [name for name in headers if name.startswith("access-control")]


def test_a_body_in_chunks_has_the_same_limit(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        "POST", "/predict", (b" " * 65536 for _ in range(200)), {"Content-Type": JSON}
    )
    answer = connection.getresponse()
    assert (answer.status, b"13,107,200 bytes" in answer.read()) == (413, True)
    connection.close()


# ----------------------------------------------------------------------------- who may ask, and how
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:80", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("[::ffff:127.0.0.1]:8000", 200),
        ("[::ffff:192.0.2.1]:8000", 403),
        ("example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("localhost.example.org:8000", 403),
        ("", 403),
    ],
)
def test_a_page_of_the_web_cannot_ask_under_its_own_name(host, status, port):
    assert request(port, "GET", "/health", headers={"Host": host})[0] == status


def test_a_server_that_others_can_reach_answers_under_any_name(folder):
    with serving(ModelWatch(str(folder)), host="0.0.0.0") as port:
        assert request(port, "GET", "/health", headers={"Host": "example.org"})[0] == 200


@pytest.mark.parametrize(
    ("address", "is_own"),
    [("::ffff:127.0.0.1", True), ("127.1.2.3", True), ("::ffff:8.8.8.8", False), ("::", False)],
)
def test_addresses_of_this_machine_alone(address, is_own):
    assert is_loopback(address) is is_own


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), (None, 200)]
)
def test_a_page_of_another_origin_cannot_send_annifs_form(site, status, port):
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    got, _, content = request(port, "POST", SUGGEST, b"text=car", FORM, headers)
    assert (got, b"of another origin" in content) == (status, status == 403)


def test_the_page_may_run_only_its_own_script_and_asks_only_its_own_server(port):
    _, headers, content = request(port, "GET", "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"https?://|\bsrc=|innerHTML|@import|url\(", content)


# ------------------------------------------------------------------------------------------ batches
class Held:
    """A model that answers when it is told to, and remembers what it was asked."""

    label_names_ = classes_ = np.array([f"label {i}" for i in range(20)], dtype=object)
    n_labels_, search = 20, "exact"

    def __init__(self):
        self.may_answer, self.asked = threading.Event(), []
        self.explained = None  # an error

    def predict_top_k_proba(self, texts, k):
        self.asked.append((texts, k))
        assert self.may_answer.wait(20)
        if "spoilt" in texts:
            raise ValueError("spoilt")
        labels = np.array([[int(text) % 20 for _ in range(k)] for text in texts])
        return labels, np.full((len(texts), k), 0.5, dtype=np.float32)

    def explain(self, texts, **_):
        raise self.explained


@pytest.fixture
def held(folder):
    watch = ModelWatch(str(folder))
    model = Held()
    watch.current = replace(watch.current, clf=model)
    yield model, watch
    model.may_answer.set()


def waiting(port):
    return asked(port, "/health")["waiting"]


def test_requests_that_wait_are_answered_by_one_call_each_as_it_asked(held):
    model, watch = held
    with serving(watch) as port, ThreadPoolExecutor(30) as pool:
        first = pool.submit(asked, port, "/predict", {"text": "0"})
        until(lambda: model.asked)
        others = [
            pool.submit(asked, port, "/predict", {"texts": [str(i)] * (1 + i % 3), "k": 1 + i % 7})
            for i in range(25)
        ]
        until(lambda: waiting(port) == sum(1 + i % 3 for i in range(25)))
        model.may_answer.set()
        assert first.result()["results"] == [{"labels": ["label 0"] * 5, "proba": [0.5] * 5}]
        for i, other in enumerate(others):
            k = 1 + i % 7
            expected = {"labels": [f"label {i % 20}"] * k, "proba": [0.5] * k}
            assert other.result()["results"] == [expected] * (1 + i % 3)
    assert [k for _, k in model.asked] == [5, 7]


def test_a_call_has_no_more_texts_than_one_request_or_the_batch(held):
    model, watch = held
    with serving(watch) as port, ThreadPoolExecutor(4) as pool:
        first = pool.submit(asked, port, "/predict", {"text": "0"})
        until(lambda: model.asked)
        sizes = [TEXTS_AT_ONCE, 1, TEXTS_AT_ONCE + 5]
        done = []
        for i, size in enumerate(sizes):
            done.append(pool.submit(asked, port, "/predict", {"texts": ["1"] * size}))
            until(lambda i=i: waiting(port) == sum(sizes[: i + 1]))
        model.may_answer.set()
        assert [len(answer.result()["results"]) for answer in [first, *done]] == [1, *sizes]
    assert [len(texts) for texts, _ in model.asked] == [1, *sizes]


def test_a_request_that_fails_fails_alone(held, caplog):
    model, watch = held
    with serving(watch) as port, ThreadPoolExecutor(3) as pool:
        first = pool.submit(request, port, "POST", "/predict", {"text": "0"})
        until(lambda: model.asked)
        bodies = [{"text": "spoilt"}, {"text": "1"}]
        done = [pool.submit(request, port, "POST", "/predict", body) for body in bodies]
        until(lambda: waiting(port) == 2)
        model.may_answer.set()
        assert [answer.result()[0] for answer in [first, *done]] == [200, 500, 200]
        assert b"The model failed" in done[0].result()[2]
    assert "ValueError: spoilt" in caplog.text


@pytest.mark.parametrize("error", [ValueError("inner part"), TypeError("inner part")])
def test_an_explanation_that_fails_is_the_servers_fault_and_logged(error, held, caplog):
    model, watch = held
    model.explained = error
    with serving(watch) as port:
        refused(port, "/explain", {"text": "0", "labels": ["label 1"]}, 500, "^The model failed")
    assert f"{type(error).__name__}: inner part" in caplog.text


def test_names_are_looked_up_in_the_models_thread(held):
    model, watch = held
    model.may_answer.set()
    names, threads = Held.label_names_, []

    class Names:
        def __getitem__(self, places):
            threads.append(threading.current_thread().name)
            return names[places]

    model.label_names_ = Names()
    with serving(watch) as port:
        assert asked(port, "/predict", {"texts": ["1", "2"], "k": 1})["results"] == [
            {"labels": [f"label {i}"], "proba": [0.5]} for i in (1, 2)
        ]
        assert suggested(port, text="3", limit=1)[0]["label"] == "label 3"
    assert {*threads} == {"skxc-model"}


def test_each_text_has_as_many_labels_as_it_asks_for(held):
    model, watch = held
    model.may_answer.set()
    best = watch.current.best(["1", "2", "3"], [2, 5, 1])
    assert [(len(labels), len(proba)) for labels, proba in best] == [(2, 2), (5, 5), (1, 1)]
    assert [k for _, k in model.asked] == [5]


def test_an_approximate_answer_does_not_depend_on_who_asks_beside(held):
    model, watch = held
    model.may_answer.set()
    model.search = "approximate"
    best = watch.current.best(["1", "2", "3", "4"], [2, 5, 1, 2])
    assert [labels for labels, _ in best] == [[1] * 2, [2] * 5, [3], [4] * 2]
    # as the graph is walked for this k, and not for the largest of the batch
    assert sorted(model.asked) == [(["1", "4"], 2), (["2"], 5), (["3"], 1)]


def test_whoever_leaves_is_not_waited_for(held):
    model, watch = held
    with serving(watch) as port, ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked, port, "/predict", {"text": "0"})
        until(lambda: model.asked)
        leaving = http.client.HTTPConnection("127.0.0.1", port)
        leaving.request("POST", "/predict", b'{"text": "7"}', {"Content-Type": JSON})
        until(lambda: waiting(port) == 1)
        leaving.close()
        until(lambda: waiting(port) == 0)
        model.may_answer.set()
        first.result()
    assert [texts for texts, _ in model.asked] == [["0"]]


def test_too_long_a_queue_and_too_long_a_wait_are_refused_with_a_time_to_come_back(held):
    model, watch = held
    with serving(watch, Limits(max_seconds=1, max_texts=3, max_waiting=4)) as port:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(refused, port, "/predict", {"text": "0"}, 504, "within 1 s")
            until(lambda: model.asked)
            second = pool.submit(refused, port, "/predict", {"texts": ["1"] * 3}, 504, "within 1 s")
            until(lambda: waiting(port) == 3)
            headers = refused(port, "/predict", {"texts": ["2"] * 2}, 503, "3 texts are waiting")
            assert headers["retry-after"] == "1"
            assert first.result()["retry-after"] == second.result()["retry-after"] == "1"
        assert waiting(port) == 0
        model.may_answer.set()
        assert asked(port, "/predict", {"text": "3"})["results"][0]["labels"] == ["label 3"] * 5


def begun(port, n_bytes, body):
    """A connection with a request of so many bytes, of which these have arrived."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
    connection.sendall(f"{head}Content-Length: {n_bytes}\r\n\r\n".encode() + body)
    return connection


def test_a_request_that_does_not_arrive_is_refused_or_its_connection_closed(folder):
    whole = b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(ModelWatch(str(folder)), Limits(max_seconds=1)) as port, ExitStack() as stack:
        body = stack.enter_context(begun(port, 100, b"{"))
        idle, half, second, third = (
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(4)
        )
        half.sendall(whole[:30])
        for connection in (second, third):
            connection.sendall(whole)
            assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
        second.sendall(whole[:-2])
        answer = body.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"not complete after 1 s" in answer
        assert [c.recv(4096) for c in (idle, half, second)] == [b""] * 3
        third.sendall(whole)  # one that has asked may pause for longer
        assert third.recv(4096).startswith(b"HTTP/1.1 404 ")


def test_bodies_in_memory_have_a_limit_of_all_requests_together(folder):
    with serving(ModelWatch(str(folder)), Limits(max_bytes=1000)) as port:
        with ExitStack() as stack:
            for _ in range(BODIES_AT_ONCE):
                stack.enter_context(closing(begun(port, 1000, b" " * 999)))
            body = {"text": "a" * 100}
            until(lambda: request(port, "POST", "/predict", body)[0] == 503)
            told = "have 16,000 bytes, as many as this server keeps"
            assert refused(port, "/predict", body, 503, told)["retry-after"] == "1"
        until(lambda: request(port, "POST", "/predict", body)[0] == 200)
        for _ in range(2 * BODIES_AT_ONCE):  # what is answered or refused counts no more
            refused(port, "/predict", b" " * 1001, 413, "1,001 bytes, more than")
            asked(port, "/predict", {"text": "a" * 900})


def unread(port, *k):
    """A connection that asks, each time, for so many labels, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    for most in k:
        body = json.dumps({"text": "1", "k": most}).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


@pytest.fixture
def wordy(held, monkeypatch):
    """A model whose names have 100 characters, served at a socket that keeps few bytes."""
    model, watch = held
    model.may_answer.set()
    model.label_names_ = np.array(["x" * 100] * 20, dtype=object)

    def narrow(*address):
        listening = bound(*address)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listening

    monkeypatch.setattr("serving.bound", narrow)
    return watch


@pytest.mark.parametrize("k", [400, 1000])  # 45 and 113 kB: below and above asyncio's 64 KiB
def test_an_answer_that_is_not_read_ends_its_connection(k, wordy):
    limits = Limits(max_seconds=1, max_bytes=1000)
    with serving(wordy, limits) as port, closing(unread(port, k)) as connection:
        short = {"text": "1", "k": 1}
        until(lambda: request(port, "POST", "/predict", short)[0] == 503)
        told = "answers that are not read have 16,000 bytes"
        assert refused(port, "/predict", short, 503, told)["retry-after"] == "1"
        until(lambda: request(port, "POST", "/predict", short)[0] == 200)
        whole = http.client.HTTPResponse(connection)
        whole.begin()
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            whole.read()


def test_a_second_answer_that_waits_for_the_first_to_be_read_counts(wordy):
    short, calls = {"text": "1", "k": 1}, wordy.current.clf.asked
    with serving(wordy, Limits(max_bytes=4000)) as port:  # 64,000 bytes of all
        with closing(unread(port, 500)):  # 56 kB
            until(lambda: calls)
            asked(port, "/predict", short)
        with closing(unread(port, 500, 1000)):
            until(lambda: request(port, "POST", "/predict", short)[0] == 503)
        until(lambda: request(port, "POST", "/predict", short)[0] == 200)


def test_an_answer_that_is_read_counts_no_more(wordy):
    with serving(wordy, Limits(max_bytes=1000)) as port:
        for _ in range(20):
            with closing(unread(port, 1000)) as connection:
                whole = http.client.HTTPResponse(connection)
                whole.begin()
                (result,) = json.loads(whole.read())["results"]
                assert result["labels"] == ["x" * 100] * 1000


def test_answers_are_sent_at_once():
    # asyncio sets TCP_NODELAY on sockets with this number alone; else an answer takes 40 ms
    with bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


# -------------------------------------------------------------------------------------- replacement
def test_a_saved_model_takes_the_place_of_the_old_one(folder, models):
    watch = ModelWatch(str(folder))
    with serving(watch) as port:
        old = asked(port, "/predict", {"texts": TEXTS})
        models[1].save(folder)
        until(lambda: asked(port, "/health")["model"] != old["model"])
        new = asked(port, "/predict", {"texts": TEXTS})
    assert old["results"] == expected(models[0], TEXTS, 5)
    assert new["results"] == expected(models[1], TEXTS, 5)
    assert new["model"] == opened(str(folder), None).digest


def test_a_link_to_another_folder_is_followed(models, tmp_path):
    for name, clf in zip("ab", models, strict=True):
        clf.save(tmp_path / name)
    (tmp_path / "model").symlink_to("a")
    watch = ModelWatch(str(tmp_path / "model"))
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").replace(tmp_path / "model")
    watch.look()
    assert watch.current.digest == opened(str(tmp_path / "b"), None).digest


@pytest.mark.parametrize("damage", ["config", "tensors", "folder", "other"])
def test_a_damaged_folder_leaves_the_old_model_in_place(damage, folder, models, tmp_path, caplog):
    watch = ModelWatch(str(folder))
    before = watch.current
    if damage == "config":
        (folder / "config.json").write_text("{")
    elif damage == "tensors":  # as a copy that is under way
        models[1].save(tmp_path / "new")
        shutil.copy(tmp_path / "new" / "config.json", folder)
    elif damage == "folder":
        shutil.rmtree(folder)
    else:
        (folder / "config.json").unlink()
        (folder / "config.json").mkdir()
    with serving(watch) as port:
        watch.look()
        watch.look()
        assert asked(port, "/predict", {"texts": TEXTS})["results"] == expected(models[0], TEXTS, 5)
        assert str(folder) in asked(port, "/health")["problem"]
        assert watch.current is before
        assert len(caplog.messages) == 1  # once
        assert caplog.messages[0].startswith("still serving ReneeClassifier (labels: 3, ")
        shutil.rmtree(folder, ignore_errors=True)
        models[1].save(folder)
        watch.look()
        assert asked(port, "/health")["problem"] is None
        assert asked(port, "/predict", {"texts": TEXTS})["results"] == expected(models[1], TEXTS, 5)


def test_files_that_are_written_over_change_no_answer(folder, models):
    watch = ModelWatch(str(folder))
    for path in folder.rglob("*.safetensors"):
        with path.open("r+b") as file:
            file.truncate(10)
    assert [best.proba for best in watch.current.best(TEXTS, [3] * len(TEXTS))] == [
        row["proba"] for row in expected(models[0], TEXTS, 3)
    ]


def test_no_answer_is_lost_or_mixed_while_models_are_replaced(folder, models, monkeypatch):
    monkeypatch.setattr("skxc._server._model._PAUSE", 0.05)
    wanted = {}
    for clf in models[::-1]:
        clf.save(folder)
        wanted[opened(str(folder), None).digest] = expected(clf, TEXTS, 3)
    with serving(ModelWatch(str(folder))) as port, ThreadPoolExecutor(3) as pool:
        is_over, seen = threading.Event(), [[] for _ in range(3)]

        def ask_on(seen):
            while not is_over.is_set():
                answer = asked(port, "/predict", {"texts": TEXTS, "k": 3})
                assert_alike(answer["results"], wanted[answer["model"]])
                seen.append(answer["model"])

        asking = [pool.submit(ask_on, one) for one in seen]
        try:
            for i in range(10):
                models[(i + 1) % 2].save(folder)
                digest = opened(str(folder), None).digest
                until(lambda digest=digest: seen[0][-1:] == [digest])
        finally:
            is_over.set()
        for one in asking:
            one.result()


# ----------------------------------------------------------------------------------- the process
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_once_answers_are_sent_and_is_raised_again(name, held, monkeypatch):
    model, watch = held
    number, raised, made = getattr(signal, name), [], []
    monkeypatch.setattr(
        "skxc._server._run.make_server", lambda *given: made.append(make_server(*given)) or made[0]
    )
    before = signal.signal(number, lambda number, _: raised.append(number))

    def ask(pool, port):
        try:
            first = pool.submit(asked, port, "/predict", {"text": "0"})
            until(lambda: model.asked)
            second = pool.submit(asked, port, "/predict", {"text": "1"})
            until(lambda: waiting(port) == 1)
            os.kill(os.getpid(), number)
            until(lambda: is_closed(port))
            assert raised == []
            model.may_answer.set()
            return [answer.result()["results"][0]["labels"][0] for answer in (first, second)]
        finally:
            made[0].should_exit = True  # where the signal did nothing

    with bound("127.0.0.1", 0) as listening, ThreadPoolExecutor(3) as pool:
        listening.listen()
        asking = pool.submit(ask, pool, listening.getsockname()[1])
        try:
            run(watch, Limits(), listening, "127.0.0.1")
        finally:
            signal.signal(number, before)
        assert asking.result() == ["label 0", "label 1"]
    assert raised == [number]


def is_closed(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_process_says_what_it_serves_until_it_is_interrupted(folder, models):
    with (
        served_process(folder) as (process, port),
        begun(port, 100, b"{"),  # and no more: it is not waited for
        socket.create_connection(("127.0.0.1", port), timeout=20) as garbage,
    ):
        garbage.sendall(b"\0\r\n\r\n")
        assert garbage.recv(4096).startswith(b"HTTP/1.1 400 ")
        upgrade = {"Connection": "upgrade", "Upgrade": "websocket", "Host": "example.org"}
        assert request(port, "GET", "/health", headers=upgrade)[0] == 403
        old = asked(port, "/health")["model"]
        models[1].save(folder)
        until(lambda: asked(port, "/health")["model"] != old)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert is_closed(port)
        served, ended = process.stderr.read().splitlines()  # nothing of what strangers send
        assert served.startswith("skxc: now serving ReneeClassifier (labels: 3, ")
        assert ended == "skxc: interrupted"


@pytest.mark.parametrize("options", [[], ["--host", "0.0.0.0"]])
def test_a_server_that_others_can_reach_warns(options, folder, capsys, monkeypatch):
    monkeypatch.setattr("skxc._server._run.run", lambda *_: None)
    assert main(["serve", str(folder), "--port", "0", *options]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Serving ReneeClassifier (labels: 3, ")
    assert (
        err.count("\n")
        == err.count("0.0.0.0 can be reached from other machines")
        == len(options) / 2
    )


def failing(capsys, *words):
    assert main(["serve", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("skxc: error: ")


def test_a_port_in_use_is_one_clear_line(port, folder, capsys):
    told = failing(capsys, folder, "--port", port)
    assert told.startswith(f"--host 127.0.0.1 --port {port} cannot be served: Address already in")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "70000"], "--port is 70000. Pass 1 to 65535"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 8000 cannot be served: Cannot assign"),
        (["--host", "no such host"], "--host no such host --port 8000 cannot be served: "),
        (["--max-texts", "0"], "--max_texts is 0. Pass at least 1."),
        (["--max-waiting", "10"], "--max_waiting is 10, fewer than the 1000 texts"),
        (["--max-seconds", "soon"], "--max_seconds: 'soon' is not accepted"),
        (["--device", "cuda:99", "--port", "0"], "device='cuda:99'"),
    ],
)
def test_wrong_options_are_one_clear_line(words, told, folder, capsys):
    assert failing(capsys, folder, *words).startswith(told)


def test_a_folder_without_a_model_is_one_clear_line(tmp_path, capsys):
    assert f"{tmp_path}/none is no folder" in failing(capsys, tmp_path / "none", "--port", 0)


def test_without_the_extra_the_error_says_how_to_install_it(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert 'pip install "skxc[serve]"' in failing(capsys, folder)


def test_help_needs_neither_torch_nor_the_extra():
    code = "import sys; from skxc._cli import main; main(['serve', '--help'])"
    check = "; assert not {'torch', 'starlette', 'uvicorn'} & {*sys.modules}"
    code = code.replace("main(['", "\ntry: main(['", 1) + "\nexcept SystemExit: pass\n" + check[2:]
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "--max_texts" in done.stdout
    assert done.returncode == 0, done.stderr


# -------------------------------------------------------------------------------------------- Annif
def suggested(port, **form):
    return asked(port, SUGGEST, urlencode(form).encode(), kind=FORM)["results"]


def test_annif_gets_uris_without_brackets_and_scores(port, models):
    ((result,)) = expected(models[0], ["a red car"], 3)
    found = suggested(port, text="a red car", project="any", limit=3, metadata_title="x")
    assert [hit["score"] for hit in found] == result["proba"]
    assert [hit["label"] for hit in found] == result["labels"]
    assert [hit["uri"] for hit in found] == [
        {NAMES[1]: "http://example.org/red"}.get(name, name) for name in result["labels"]
    ]


def test_annifs_limit_and_threshold_are_kept(port):
    (best, second, _) = (hit["score"] for hit in suggested(port, text="a red car", limit=100_000))
    assert [hit["score"] for hit in suggested(port, text="a red car", limit=1)] == [best]
    above = (best + second) / 2
    assert len(suggested(port, text="a red car", threshold=above)) == 1
    assert suggested(port, text=" \n") == []


def test_annif_learns_that_the_project_is_trained(port):
    project = asked(port, SUGGEST.removesuffix("/suggest"))
    assert project["is_trained"] is True
    assert asked(port, "/v1/projects") == {"projects": [project]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", project["modification_time"])


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"limit=3", 400, "no field text"),
        (b"text=a&limit=many", 400, "is no number"),
        (b"text=a&limit=" + b"9" * 5000, 400, r"is no number \(a number has thousands of digits"),
        (b"text=a&limit=0", 400, "limit=0 or"),
        (b"text=a&threshold=nan", 400, "threshold=nan is out of range"),
        (b"text=%ff", 400, "cannot be read .*utf-8"),
        (b"text=a" + b"&a=b" * 1000, 400, "cannot be read .*fields"),
        (b"text=\xff", 400, "not UTF-8"),
        (b"text=" + b"a" * 200_001, 413, "200,001 characters"),
    ],
)
def test_a_wrong_form_is_refused_in_words(body, status, words, port):
    refused(port, SUGGEST, body, status, words, FORM)


def test_annif_must_send_a_form(port):
    refused(port, SUGGEST, {"text": "a"}, 415, f"Send {FORM}")
