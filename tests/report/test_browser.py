"""A report in a real browser: charts are drawn, an image pointed at is shown, filters work, and all fits."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from selfsup.report import embedding, page
from selfsup.report.embedding import embedding_map, queries
from selfsup.report.folder import Run
from selfsup.report.gallery import LARGEST_TILE, Gallery

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WARNING = {"step": "20", "name": "dimensional collapse", "value": "1", "message": "it has shrunk"}
# Texts of charts that are cut off: outside of the window, or under another text of the same chart.
CUT = """() => [...document.querySelectorAll(".chart svg")].flatMap((svg) => {
  const boxes = [...svg.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
  const over = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
  const outside = (a) => a.left < 0 || a.right > innerWidth;
  return boxes.filter((a, i) => outside(a) || boxes.some((b, j) => j < i && over(a, b)));
}).length"""


def gallery(count: int) -> Gallery:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    coarse = torch.randint(0, 256, (count, 3, 6, 6), generator=generator).float()
    side = (LARGEST_TILE, LARGEST_TILE)
    tiles = torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 255).byte()
    x = torch.randn(count, 16, generator=generator) + 3 * torch.eye(16)[labels]
    names = [f"class {i % 4}/{i}.jpg" for i in range(count)]
    return Gallery(tiles, x, torch.randn(count, 16, generator=generator), labels, list("abcd"), names)


@pytest.fixture(scope="module")
def found() -> dict:
    """What is seen of a run with 2,000 images on its map."""
    some = gallery(2000)
    with pytest.MonkeyPatch.context() as patch:
        # Where points lie does not matter here, and t-SNE of many takes long.
        patch.setattr(embedding, "tsne", lambda x, seed: embedding.principal(x, 2).numpy())
        return {"map": embedding_map(some), "queries": queries(some), "spectrum": embedding.eigenvalues(some)}


@pytest.fixture(scope="module")
def report(found: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"step": s, "loss": 9.0 / s, "lr": 1e-4 * s, "guard/gradient": 1.0 + s, "images_per_second": 9.0}
        for s in map(float, range(1, 41))
    ]
    # Looked at later and less often than the loss is logged.
    rows += [{"step": float(s), "online/knn": s / 50} for s in (20, 30)]
    path = tmp_path_factory.mktemp("report") / "report.html"
    run = Run("a <b> & run", path.parent, metrics=rows, warnings=[WARNING])
    path.write_text(page.render([run], [found]), encoding="utf-8")
    return path


LONG = "barlow-imagenet100-vit_small_patch16_224-lr0.0005-wd0.05-seed"
# Elements whose content is wider than they are, and is neither scrolled nor wrapped.
SPILLED = """() => [...document.querySelectorAll("th, td, li, p, h1, h2, h3, summary, figcaption, .keys *")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== "inline")
  .map((each) => each.textContent)"""


@pytest.fixture(scope="module")
def pair(found: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs side by side whose names have no place to break at."""
    score = {"value": 0.9, "accuracy": True, "interval": [0.88, 0.92], "title": "kNN (k=20)"}
    roles = ("encoder", "untrained", "pixels")
    scores = {f"score {i}": score for i in range(4)}
    rows = [{"name": role, "role": role, "scores": scores} for role in roles]
    metrics = [{"step": float(step), "loss": 1.0 / step, "online/rankme": 2.0} for step in (1, 2)]
    results = {"rows": rows, "labels": True}
    runs = [
        Run(f"{LONG}{seed}", Path(), metrics=metrics, warnings=[WARNING], results=results)
        for seed in range(2)
    ]
    path = tmp_path_factory.mktemp("pair") / "report.html"
    path.write_text(page.render(runs, [found, {"cost": [("encoder", "long" * 20)]}]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[1400, 400])
def opened(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    told: list[str] = []
    window = browser.new_page(viewport={"width": request.param, "height": 900})
    window.on("console", lambda message: told.append(message.text))
    window.on("pageerror", lambda error: told.append(str(error)))
    window.on("request", lambda asked: told.append(asked.url) if asked.url.startswith("http") else None)
    window.goto(report.as_uri())
    yield window
    window.close()
    assert told == []


def test_two_thousand_images_are_under_eight_megabytes(report: Path) -> None:
    assert 500_000 < report.stat().st_size < 8_000_000


def test_all_fits_and_is_read(opened: Page) -> None:
    width = opened.viewport_size["width"]
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    opened.locator("summary").first.click()  # more curves
    assert opened.locator(".chart svg[role=img]").count() == 6
    assert opened.evaluate(CUT) == 0
    for text in opened.locator(".chart text").all():
        assert text.evaluate("each => parseFloat(getComputedStyle(each).fontSize)") >= 12
    assert opened.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth)")
    labels = [svg.get_attribute("aria-label") for svg in opened.locator("svg[role=img]").all()]
    assert "Loss. loss: from 9 to 0.225" in labels


@pytest.mark.parametrize("width", [420, 800, 1400])
def test_long_names_are_on_nothing_else(width: int, browser: Browser, pair: Path) -> None:
    window = browser.new_page(viewport={"width": width, "height": 900})
    window.goto(pair.as_uri())
    window.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert window.evaluate("document.documentElement.scrollWidth") == width
    assert window.evaluate(SPILLED) == []
    window.close()


def test_curves_share_their_time_axis_with_the_warnings(opened: Page) -> None:
    charts = opened.locator("#curves > .charts .chart")
    assert charts.count() == 4
    assert {chart.locator(".warn").count() for chart in charts.all()} == {1}
    assert len({chart.locator(".warn").get_attribute("x1") for chart in charts.all()}) == 1
    # The first look was at step 20, where the warning stands.
    accuracy = opened.locator(".chart", has_text="Accuracy on training images")
    first, _ = accuracy.locator("polyline").get_attribute("points").split()
    warned = float(accuracy.locator(".warn").get_attribute("x1"))
    assert float(first.split(",")[0]) == pytest.approx(warned, abs=0.1)

    svg = charts.first.locator("svg[role=img]")
    box = svg.bounding_box()
    svg.hover(position={"x": box["width"] - 9, "y": 30})
    tip = opened.locator("#tip").inner_text()
    assert tip.startswith("step 40")
    assert "0.225" in tip


def test_pointing_at_the_map_shows_an_image_and_filters_hide_it(opened: Page, found: dict) -> None:
    canvas, card = opened.locator(".map canvas"), opened.locator(".card")

    def point(i: int) -> str:
        box = canvas.bounding_box()
        x, y = (torch.tensor(values) for values in found["map"]["layouts"]["t-SNE"])
        wide, tall = box["width"] - 2, box["height"] - 2  # without its border
        scale = min((wide - 24) / float(x.max() - x.min()), (tall - 24) / float(y.max() - y.min()))
        middle_x, middle_y = (float(values.max() + values.min()) / 2 for values in (x, y))
        right, down = scale * (float(x[i]) - middle_x), scale * (middle_y - float(y[i]))
        canvas.hover(position={"x": box["width"] / 2 + right, "y": box["height"] / 2 + down})
        return card.inner_text()

    assert "class 0/0.jpg" in card.inner_text()  # something is shown before anybody points
    # The outermost image of a group, which no other covers.
    i = int(torch.tensor(found["map"]["layouts"]["t-SNE"][0]).argmax())
    name, group = found["map"]["names"][i], found["map"]["groups"][i]
    assert name in point(i)
    backgrounds = [
        sprite.evaluate("each => getComputedStyle(each).backgroundImage.slice(0, 15)")
        for sprite in card.locator(".sprite").all()
    ]
    assert backgrounds == ['url("data:image'] * 7

    box = opened.locator(".legend input").nth(group)
    box.uncheck()
    assert name not in point(i)
    box.check()
    assert name in point(i)
    wrong = opened.get_by_role("button", name="only those whose neighbours disagree")
    wrong.click()
    assert wrong.get_attribute("aria-pressed") == "true"
    assert (name in point(i)) == (not found["map"]["right"][i])
    canvas.press("ArrowRight")
    shown = card.inner_text()
    assert "✗" in shown
    assert int(re.findall(r"(\d+) of its 10 nearest have its label", shown)[0]) <= 5
