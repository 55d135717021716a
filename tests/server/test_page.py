"""The page at `/`: who gets it, what it is told, and what a browser shows. The browser is a real one."""

import hashlib
import http.client
import json
import re
import shutil

import page_models
import pytest

from tfllm.server.config import ServerConfig
from tfllm.server.config_writing import models_config
from tfllm.server.model_config import ModelConfig
from tfllm.server.page import document
from tfllm.server.server import serve

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def page_server(tmp_path_factory):
    """A server of one model a task; `topics` has the label `stable`, and a version that cannot be loaded."""
    root = tmp_path_factory.mktemp("page_models")
    page_models.write_all(root)
    models = [
        ModelConfig(name, root / name, labels={"stable": 1} if name == "topics" else {}) for name in page_models.MODELS
    ]
    (root / "models.config").write_text(models_config(models))
    config = ServerConfig(allow_version_labels_for_unavailable_models=True, file_system_poll_wait_seconds=0.2)
    with serve(model_config_file=root / "models.config", port=0, rest_api_port=0, config=config) as running:
        (root / "topics" / "2").mkdir()
        (root / "topics" / "2" / "saved_model.pb").write_bytes(b"nonsense <b>")
        yield running


@pytest.fixture
def ask(page_server):
    def call(method, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", page_server.rest_api_port, timeout=20)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, response.headers["Content-Type"], body

    return call


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, to drive a browser")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser: on Debian, apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser, page_server):
    """The page, opened; it fails the test if it complains, or asks anybody else for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, complaints, asked = context.new_page(), [], []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(f"http://127.0.0.1:{page_server.rest_api_port}/")
    opened.wait_for_selector("#models button.name")
    yield opened
    context.close()
    assert not [text for text in complaints if not text.startswith("Failed to load resource")]  # a status of 4xx
    assert all(url.startswith((f"http://127.0.0.1:{page_server.rest_api_port}/", "data:")) for url in asked)


def answer(page, model, **texts):
    """Ask a model on the page and return what it shows."""
    page.select_option("#try-model", model)
    for name, text in texts.items():
        page.fill(f"#input-{name}", text)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer details, #answer [role=alert]")
    return page.locator("#answer")


def test_browsers_get_the_page_and_others_what_tensorflow_serving_says(ask):
    assert ask("GET", "/", HTML)[:2] == (200, "text/html; charset=utf-8")
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        status, kind, body = ask("GET", "/", headers)
        assert (status, kind) == (404, "text/html")
        assert b"<H1>Not Found</H1>" in body
    assert ask("POST", "/", HTML)[0] == 404
    assert ask("GET", "/v1/models", HTML)[0] == 400


def test_nothing_of_the_page_comes_from_elsewhere():
    text = document().decode()
    assert "{{" not in text.replace("`${", "")
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert not re.search(r"@import|url\((?!data:)", text)
    assert "default-src 'none'" in text and "unsafe" not in text
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_the_figures(ask):
    status, kind, body = ask("GET", "/tfllm/stats")
    assert (status, kind) == (200, "application/json")
    stats = json.loads(body)
    assert stats["server"]["ready"] is True
    topics = next(model for model in stats["models"] if model["name"] == "topics")
    assert topics["labels"] == {"stable": 1}
    assert topics["contract"] == page_models.CONTRACTS["topics"]
    assert topics["signatures"]["serving_default"] == {
        "default": True,
        "inputs": {"text": "string"},
        "outputs": {"label": "string", "score": "float", "scores": "float"},
    }
    names = next(model for model in stats["models"] if model["name"] == "names")
    assert names["contract"] == {"task": "", "labels": []}
    assert set(names["signatures"]) == {"serving_default"}
    assert set(stats["load"]) == {"step", "end", "models"}


def test_the_page_is_for_everybody_and_the_figures_are_not(page_server, tmp_path):
    tokens = tmp_path / "tokens.toml"
    hashed = hashlib.sha256(b"secret").hexdigest()
    tokens.write_text(f'[ada]\nsha256 = "{hashed}"\nmodels = ["toy"]\n')
    for name in ("toy", "other"):
        page_models.write(tmp_path / "models", name, page_models.Regressor())
    with serve(
        tmp_path / "models", port=0, rest_api_port=0, config=ServerConfig(auth_token_file=str(tokens))
    ) as server:

        def ask(path, headers):
            connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=20)
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()

        assert ask("/", HTML)[0] == 200
        assert ask("/", {})[0] == ask("/tfllm/stats", {})[0] == 401
        status, body = ask("/tfllm/stats", {"Authorization": "Bearer secret"})
    assert status == 200
    assert [model["name"] for model in json.loads(body)["models"]] == ["toy"]


def test_models_versions_states_and_labels(page):
    page.wait_for_selector(".chip.failed")
    assert page.locator("#models tr").count() == len(page_models.MODELS)
    row = page.locator("#models tr", has_text="topics")
    assert "1available" in row.inner_text().replace(" ", "").replace("\n", "")
    assert row.locator("em").all_inner_texts() == ["stable"]
    assert "Version 2: " in row.locator(".reason").inner_text()
    assert page.locator("#status").inner_text() == "ready"


def test_a_classification(page):
    shown = answer(page, "topics", text="What did I pay?")
    assert shown.locator(".row span:first-child").all_inner_texts() == ["billing", "delivery", "thanks"]
    assert shown.locator(".row.best").inner_text().split() == ["billing", "70.0", "%"]


def test_several_labels_and_filled_masks(page):
    shown = answer(page, "reasons", text="Good and cheap.")
    assert shown.locator(".row span:first-child").all_inner_texts() == ["price", "service", "colour"]
    assert shown.locator(".row.best span:first-child").all_inner_texts() == ["price", "service"]
    shown = answer(page, "fillers", text="[MASK] is in France.")
    assert shown.locator(".row span:first-child").all_inner_texts() == ["paris", "rome"]
    assert shown.locator(".row.best").count() == 1


def test_entities_are_coloured_where_they_are(page):
    shown = answer(page, "names", text="Ada 😀 London is a text. <b>&amp;")
    assert [mark.split("\n")[0] for mark in shown.locator("mark").all_inner_texts()] == ["AdaPER", "LondonLOC"]
    assert shown.locator(".text").inner_text() == "AdaPER 😀 LondonLOC is a text. <b>&amp;"
    colours = shown.locator("mark").evaluate_all("marks => marks.map(mark => getComputedStyle(mark).borderBottomColor)")
    assert len(set(colours)) == 2


def test_an_answer_is_highlighted(page):
    shown = answer(page, "answers", question="When?", context="It starts — in May — for all.")
    assert shown.locator("mark").inner_text() == "in May"
    assert "in May" in shown.locator(".big").inner_text()
    assert page.locator("#try-inputs label").all_inner_texts() == ["question", "context"]


def test_numbers(page):
    assert answer(page, "stars", text="fine").locator(".big").inner_text() == "3.250"
    assert "4 values, length 1.005" in answer(page, "vectors", text="fine").inner_text()


def test_a_label_can_be_asked_and_errors_are_shown(page, page_server):
    page.select_option("#try-model", "topics")
    assert page.locator("#try-version option").all_inner_texts() == ["newest", "stable", "version 1"]
    page.select_option("#try-version", label="stable")
    assert answer(page, "topics", text="x").locator(".row").count() == 3
    page.route("**/v1/models/**", lambda route: route.fulfill(status=400, body='{"error": "no <i>good</i>"}'))
    page.click("#ask")
    page.wait_for_selector("[role=alert]")
    assert page.locator("[role=alert]").inner_text() == "no <i>good</i>"


def test_the_curves_show_the_load(page):
    answer(page, "topics", text="x")
    page.wait_for_function("document.querySelector('#requests-chart .lines path').getBBox().height > 10", timeout=15000)
    label = page.locator("#latency-chart svg").get_attribute("aria-label")
    assert re.fullmatch(r"Latency, now: p99 (.+), median (.+)", label)
    page.hover("#requests-chart svg", position={"x": 300, "y": 80})
    assert "all models" in page.locator("#requests-chart .tip").inner_text()
    page.get_by_role("button", name="topics").click()
    assert page.locator("#requests-legend").inner_text().startswith("topics")


def test_it_works_with_the_keyboard_alone(page):
    seen = []
    for _ in range(24):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    order = ["theme", "answers", "topics", "try-model", "try-version", "input-question", "input-context", "ask"]
    assert [name for name in seen if name in order][: len(order)] == order
    page.get_by_role("button", name="topics").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(2500)  # the table is drawn anew, and the focus must stay
    assert page.evaluate("document.activeElement.dataset.model") == "topics"


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_it_fits_every_width(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_light_and_dark(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    dark = page.evaluate(ground)
    assert light != dark
    page.click("#theme")
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert page.evaluate(ground) == dark


def test_a_server_that_asks_for_a_token(page):
    tokens = []

    def refuse(route):
        tokens.append(route.request.headers.get("authorization"))
        if tokens[-1] == "Bearer secret":
            route.continue_()
        else:
            route.fulfill(status=401, body="{}")

    page.route("**/tfllm/stats", refuse)
    page.wait_for_selector("#token-text", state="visible")
    page.fill("#token-text", "secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-text", state="hidden")
    assert tokens[0] is None and tokens[-1] == "Bearer secret"
