"""The size of a report with 2,000 photographs on its map, and the time until a browser shows it.

python -m benchmarks.speed.report_page --data ../shared/data    # adds to benchmarks/results/report-page.jsonl
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from benchmarks.rows import keep
from selfsup.commands import main as selfsup
from selfsup.report import write_report

IMAGES, TIMES, WIDTHS = 2000, 5, (1400, 400)
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with tinyimagenet50-*.parquet")
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"out={folder}", "name=run", "backbone=resnet10", "trainer.max_steps=2", "batch_size=32"]
        settings += [f"data.{part}={data / f'tinyimagenet50-{file}.parquet'}" for part, file in
                     (("train", "train"), ("test", "val"))]  # fmt: skip
        settings += ["data=parquet", "data.image_size=64", "data.in_memory=false", "online=none"]
        if selfsup(["train", *settings, "guard.enabled=false", "evaluate=false", "report=false"]):
            raise SystemExit("training failed")
        path = write_report([Path(folder) / "run"], images=IMAGES, gflops=1e9)
        results: dict[str, Any] = {"images": IMAGES, "megabytes": path.stat().st_size / 1e6}
        seconds = {str(width): opened(path, width) for width in WIDTHS}
    results["seconds"] = {width: statistics.median(times) for width, times in seconds.items()}
    results["longest"] = {width: max(times) for width, times in seconds.items()}
    print(results)
    keep("report-page", [{"part": "report", **results}], "part")


def opened(path: Path, width: int) -> list[float]:
    """Seconds from opening the file until all of it is drawn, each time in a new browser."""
    browsers = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    browser, times = next(browsers), []
    with sync_playwright() as playwright:
        for _ in range(TIMES):
            started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            window = started.new_page(viewport={"width": width, "height": 900})
            began = time.perf_counter()
            window.goto(path.as_uri())
            window.evaluate(PAINTED)
            times.append(time.perf_counter() - began)
            started.close()
    return times


if __name__ == "__main__":
    main()
