"""Tests the page in dark mode and on a phone."""

from conftest import talk


def test_nothing_is_wider_than_a_telephone_and_dark_follows_the_system(site, page, picture):
    first = site.post(talk("Where is my refund?", "It is **on** its way.\n\n" + "x" * 500))
    second = site.post(talk("Where is my refund?", "`" + "y" * 500 + "`", id="second", system_fingerprint="z" * 200))
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 375, "height": 700})
    for path in ["", "traces", f"trace?key={first}", f"trace?key={second}", f"trace?key={first}&with={second}"]:
        page.goto(site.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path
    page.goto(site.list_url())
    picture("telephone-dark")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme").startswith("light dark")
