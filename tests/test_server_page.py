"""The page of `skxc serve` in a headless Chromium, wide and narrow."""

from __future__ import annotations

import pytest
from browser import opened_browser
from serving import asked, serving

import skxc
from skxc._server._limits import Limits
from skxc._server._model import ModelWatch
from skxc._server._page import page as page_of_server
from skxc._server._page import with_policy

HTML = "<img src=x onerror=document.title='ran'>"
TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 4
LABELS = [["fruit", HTML], ["fruit"], ["vehicle"], ["vehicle"], [HTML, "vehicle"]] * 4
SCREENS = {"wide": (1280, 800, False), "narrow": (360, 740, True)}


@pytest.fixture(scope="module")
def clf():
    return skxc.ReneeClassifier(epochs=8, random_state=0).fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def port(clf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "model"
    clf.save(folder)
    with serving(ModelWatch(str(folder)), Limits(max_characters=500)) as number:
        yield number


@pytest.fixture(scope="module")
def browser(port, tmp_path_factory):  # the server ends last: the browser keeps connections
    with opened_browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(browser, port):
    browser.resize(*SCREENS["wide"][:2], is_phone=False)
    browser.errors.clear()
    browser.open(f"http://127.0.0.1:{port}/?{id(object())}")
    browser.wait("document.getElementById('model').textContent")
    return browser


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"])
def test_line_ends_change_neither_the_page_nor_its_digests(ends):
    assert with_policy(page_of_server()[0].replace(b"\n", ends)) == page_of_server()


def type_anew(page, text):
    page.run("document.getElementById('text').value = ''; document.getElementById('text').focus()")
    page.type(text)


def find(page, text, k=None):
    """Type a text as a person does, and wait for the words."""
    page.run("document.getElementById('words').hidden = true")
    type_anew(page, text)
    if k is not None:
        page.run(f"document.getElementById('k').value = {k}")
    page.click("#form .go")
    page.wait("!document.getElementById('words').hidden")


def texts_of(page, selector):
    return page.run(f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent)")


def is_too_wide(page):
    return page.run("document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_text_gets_its_labels_and_the_words_that_moved_them(screen, page, clf):
    width, height, is_phone = SCREENS[screen]
    page.resize(width, height, is_phone=is_phone)
    text = "A red 🍎 car"
    find(page, text)
    labels, proba = (best[0] for best in clf.predict_top_k_proba([text], 10))
    assert texts_of(page, "#labels .name") == clf.label_names_[labels].tolist()
    shown = [float(cell.split()[0]) for cell in texts_of(page, "#labels .proba")]
    assert shown == pytest.approx(100 * proba, abs=0.5)
    (explanation,) = clf.explain([text], k=1)
    words = {word.word: word.effect for word in explanation.labels[0].words}
    assert {"red", "car"} <= {*words}
    for kind, sign in (("up", 1), ("down", -1)):
        marked = texts_of(page, f"#marked mark.{kind}")
        assert all(sign * words[word] > 0 for word in marked)
    assert texts_of(page, "#marked") == [text]
    strongest = max(words, key=lambda word: abs(words[word]))
    assert texts_of(page, "#strongest td")[:1] == [strongest.lower()]
    colour = "[...document.querySelectorAll('#marked mark')].find((e) => e.textContent === "
    assert page.run(f"getComputedStyle({colour}{strongest!r})).backgroundColor") not in (
        "rgba(0, 0, 0, 0)",
        "transparent",
    )
    assert not is_too_wide(page)
    assert page.errors == []


def test_another_label_shows_its_own_words(page, clf):
    find(page, "a red car")
    first, second = texts_of(page, "#labels .name")[:2]
    assert texts_of(page, "#words-title") == [f"Words that moved “{first}”"]
    page.click("#labels li:nth-child(2) button")
    assert texts_of(page, "#words-title") == [f"Words that moved “{second}”"]
    assert texts_of(page, "#labels [aria-pressed=true] .name") == [second]


def test_names_and_texts_that_look_like_html_stay_text(page):
    find(page, f"red {HTML} </script><script>document.title='ran'</script>")
    assert HTML in texts_of(page, "#labels .name")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.title") == "Labels for a text"
    # and the policy would have stopped code that takes a text for HTML
    told = page.run("try { document.body.innerHTML = '<b>' } catch (error) { error.message }")
    assert "requires 'TrustedHTML'" in told


def test_the_keyboard_alone_is_enough(page):
    assert page.run("document.activeElement.id") == "text"
    page.type("a red car")
    page.press("Enter", modifiers=2)
    page.wait("!document.getElementById('words').hidden")
    for expected in ("Find labels", "", texts_of(page, "#labels button")[0]):
        page.press("Tab")
        assert page.run("document.activeElement.textContent") == expected
    page.press("Tab")
    page.press("Enter")
    names = texts_of(page, "#labels .name")
    assert texts_of(page, "#words-title") == [f"Words that moved “{names[1]}”"]


@pytest.mark.parametrize(
    ("text", "error"),
    [(" ", "Type or paste a text first."), ("a" * 501, "501 characters, more than this server")],
    ids=["empty", "long"],
)
def test_an_error_is_shown_in_words_in_place_of_an_older_answer(text, error, page):
    page.resize(*SCREENS["narrow"][:2], is_phone=True)
    find(page, "a red car")
    type_anew(page, text)
    page.press("Enter", modifiers=2)
    page.wait("document.getElementById('error').textContent")
    (told,) = texts_of(page, "#error")
    assert error in told
    assert page.run("document.getElementById('found').hidden")
    assert not is_too_wide(page)


def test_labels_stay_if_their_explanation_is_refused(page, clf):
    find(page, "a red car")
    page.run("{ const ask = fetch; window.fetch = (path, x) => ask(path.replace('ex', ''), x) }")
    type_anew(page, "green pears")
    page.press("Enter", modifiers=2)
    page.wait("document.getElementById('error').textContent")
    assert "is not here" in texts_of(page, "#error")[0]
    labels, _ = clf.predict_top_k(["green pears"], 10)
    assert texts_of(page, "#labels .name") == clf.label_names_[labels[0]].tolist()
    assert page.run("document.getElementById('words').hidden")


def test_the_page_says_what_is_served(page, port):
    written = asked(port, "/health")["written"]
    told = f"ReneeClassifier, 3 labels, files of {written[:10]}"
    assert texts_of(page, "#model") == [told]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_that_is_written_has_contrast(scheme, page):
    page.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    find(page, "a red car")
    ratios = page.run(
        """(() => {
          const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
          const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (e) => {
            if (!e) return [255, 255, 255];
            const [r, g, b, a = 1] = rgba(getComputedStyle(e).backgroundColor);
            const below = a < 1 ? behind(e.parentElement) : [0, 0, 0];
            return [r, g, b].map((v, i) => a * v + (1 - a) * below[i]);
          };
          return [...document.querySelectorAll('h1, h2, p, label, button, td, th, mark, .name')]
            .filter((e) => e.textContent && e.checkVisibility()).map((e) => {
              const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(behind(e))];
              return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML];
            });
        })()"""
    )
    assert len(ratios) > 20
    assert [found for found in ratios if found[0] < 4.5] == []  # WCAG 2.2, level AA
