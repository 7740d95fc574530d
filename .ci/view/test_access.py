"""Every kind of page: with the keyboard alone, without scripts, and on narrow screens."""

import pytest
from playwright.sync_api import expect

# The elements that Tab has to reach. Arrow keys choose among the radio buttons of a group, so Tab reaches only the chosen one.
REACHED = "a[href], button, summary, audio, input:not([type=hidden]):not([type=radio]), input[type=radio]:checked"


@pytest.fixture
def without_scripts(browser):
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(site, kinds, page):
    for path in kinds:
        page.goto(site.url + path)
        page.evaluate("document.activeElement.blur()")
        expected = page.evaluate(
            """selector => [...document.querySelectorAll(selector)].filter(item => item.checkVisibility()).map((item, place) => (
                item.dataset.place = place))""", REACHED)
        assert len(expected) > 5, path
        reached = []
        for _ in range(len(expected) + 20):
            page.keyboard.press("Tab")
            place, is_marked = page.evaluate(
                """() => {
                    const item = document.activeElement, style = getComputedStyle(item);
                    const marked = item.matches(".hit, svg a") || style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
                    const label = item.matches("[type=radio]") ? getComputedStyle(item.labels[0]).outlineStyle !== "none" : false;
                    return [item.dataset.place, marked || label];
                }""")
            if place is None and reached:
                break
            if place is not None:
                assert is_marked, (path, page.evaluate("document.activeElement.outerHTML"))
                reached.append(int(place))
        missing = sorted(set(expected) - set(reached))
        assert not missing, (path, page.locator(f"[data-place='{missing[0]}']").evaluate("item => item.outerHTML"))


def test_without_scripts_every_page_has_its_content_and_no_dead_button(site, kinds, page, without_scripts):
    for path in kinds:
        page.goto(site.url + path)
        expect(page.locator("h1")).to_have_count(1)
        title = page.locator("h1").text_content()
        without_scripts.goto(site.url + path)
        assert without_scripts.locator("h1").text_content() == title, path
        for button in without_scripts.locator("button:visible").all():
            assert button.evaluate("button => button.form !== null"), (path, button.text_content())


def test_every_link_leads_to_a_page(site, kinds, without_scripts):
    page, known = without_scripts, {}
    for path in kinds:
        page.goto(site.url + path)
        for link in page.locator("a[href]").all():
            address, _, fragment = link.get_attribute("href").partition("#")
            if fragment and not address:
                assert page.locator(f"[id='{fragment}']").count() == 1, (path, fragment)
            elif address and not address.startswith("data:"):
                if address not in known:
                    known[address] = page.request.get(site.url.rstrip("/") + address, max_redirects=5).status
                assert known[address] == 200, (path, address, known[address])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_telephone(site, kinds, page, scheme):
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for path in kinds:
        page.goto(site.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 26)"}[scheme], path
