"""Tests that axe-core reports no violation on any page, in light and dark mode, on a desktop and on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import unfold


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_axe_finds_nothing(site, kinds, page, scheme, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for path in kinds:
        page.goto(site.url + path)
        unfold(page)
        results = Axe().run(page)
        assert results.violations_count == 0, (path, results.generate_report())
        page.keyboard.press("?")
        results = Axe().run(page)
        assert results.violations_count == 0, (path, results.generate_report())
