"""A report in a real browser: charts are drawn, pointing shows an image, filters work, all fits."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import torch

from selfsup.report import embedding, page
from selfsup.report.embedding import embedding_map, queries
from selfsup.report.folder import Run
from selfsup.report.gallery import Gallery

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WARNING = {"step": "20", "name": "dimensional collapse", "value": "1", "message": "it has shrunk"}
# What a person would do, and what they would then see.
ACTIONS = """
<script>
addEventListener("load", () => setTimeout(() => {
  const seen = {}, map = DATA.runs[0].map, canvas = document.querySelector(".map canvas");
  const frame = () => canvas.getBoundingClientRect();
  const point = (i) => {
    const [x, y] = map.layouts["t-SNE"], f = frame(), span = (v) => Math.max(...v) - Math.min(...v);
    const scale = Math.min((f.width - 24) / span(x), (f.height - 24) / span(y));
    const middle = (v) => (Math.max(...v) + Math.min(...v)) / 2;
    const clientX = f.left + f.width / 2 + scale * (x[i] - middle(x));
    const clientY = f.top + f.height / 2 - scale * (y[i] - middle(y));
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
    return document.querySelector(".card").innerText;
  };
  const all = (selector) => [...document.querySelectorAll(selector)];
  seen.width = document.documentElement.scrollWidth;
  seen.lines = all("#curves > .charts polyline").length;
  seen.warnings = all("#curves > .charts .chart").map((c) => c.querySelectorAll(".warn").length);
  seen.labels = all("svg[role=img]").map((s) => s.getAttribute("aria-label"));
  seen.card = point(3);
  seen.pictures = all(".card .sprite").map((s) => getComputedStyle(s).backgroundImage.slice(0, 15));
  all(".legend input").forEach((box, i) => { if (i === map.groups[3]) box.click(); });
  seen.filtered = point(3);
  document.querySelector("details").open = true;
  const chart = document.querySelector(".chart svg"), c = chart.getBoundingClientRect();
  chart.dispatchEvent(new PointerEvent("pointermove", { clientX: c.right - 9, clientY: c.top + 20 }));
  seen.tip = document.getElementById("tip").innerText;
  document.title = JSON.stringify(seen);
}, 300));
</script>
"""


def gallery(count: int, side: int = 48) -> Gallery:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    coarse = torch.randint(0, 256, (count, 3, 6, 6), generator=generator).float()
    tiles = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255).byte()
    x = torch.randn(count, 16, generator=generator) + 3 * torch.eye(16)[labels]
    names = [f"class {i % 4}/{i}.jpg" for i in range(count)]
    return Gallery(tiles, x, torch.randn(count, 16, generator=generator), labels, list("abcd"), names)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    # Where points lie does not matter here, and t-SNE of many takes long.
    monkeypatch.setattr(embedding, "tsne", lambda x, seed: embedding.principal(x, 2).numpy())
    some = gallery(2000)
    rows = [
        {"step": float(s), "loss": 9.0 / s, "lr": 0.1, "guard/gradient": 1.0 + s, "images_per_second": 99.0}
        for s in range(1, 41)
    ]
    run = Run("a <b> & run", tmp_path, metrics=rows, warnings=[WARNING])
    seen = {"map": embedding_map(some), "queries": queries(some), "spectrum": embedding.eigenvalues(some)}
    return page.render([run], [seen])


def test_two_thousand_images_are_under_eight_megabytes(report: str) -> None:
    assert 500_000 < len(report.encode()) < 8_000_000


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
@pytest.mark.parametrize("width", [1400, 500])
def test_a_browser_shows_it(report: str, width: int, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report.replace("</body>", f"{ACTIONS}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    options += [
        f"--window-size={width},900",
        "--virtual-time-budget=4000",
        f"--user-data-dir={tmp_path / 'user'}",
    ]
    result = subprocess.run(
        [str(BROWSER), *options, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []
    seen = json.loads(unescape(re.search(r"<title>(.*?)</title>", result.stdout, re.S)[1]))
    assert seen["width"] <= width
    assert seen["lines"] == 3
    assert seen["warnings"] == [1, 1, 1]
    assert "Loss. loss: from 9 to 0.225" in seen["labels"]
    assert "class 3/3.jpg" in seen["card"]
    assert seen["pictures"] == ['url("data:image'] * 7
    assert "class 3/3.jpg" not in seen["filtered"]
    assert seen["tip"].startswith("step 40")
    assert "0.225" in seen["tip"]
