"""Takes the pictures of the report that README.md shows, with the Chromium of the system.

make run && python benchmarks/report_pictures.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports/index.html"
FOLDER = ROOT / "docs/pictures"
WIDTH, MARGIN = 1200, 12  # pixels
PARTS = {"leaderboard": ("verdict", "leaderboard"), "features": ("features", "features")}
"""Picture -> the first and the last section in it."""


def main() -> None:
    browser_file = shutil.which("chromium")
    if browser_file is None or not REPORT.exists():
        raise SystemExit("this needs Chromium, and a report: make run")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_file, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        page.goto(REPORT.as_uri())
        for name, (first, last) in PARTS.items():
            top, bottom = (page.locator(f"#{part}").bounding_box() for part in (first, last))
            assert top and bottom, f"the report has no section {first} or {last}"
            start, end = top["y"] - MARGIN, bottom["y"] + bottom["height"]
            clip = {"x": 0, "y": start, "width": WIDTH, "height": end - start}
            page.screenshot(path=FOLDER / f"{name}.png", clip=clip, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
