"""Tests two traces side by side: aligned turns, marked words, facts, and their selection in the list."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import talk, unfold
from playwright.sync_api import expect


def usage(tokens_in, tokens_out, seconds):
    return {"usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}, "log": {"duration": seconds}}


@pytest.fixture
def keys(site):
    one = talk("Where is my order?", "It left Hamburg and arrives on Friday.", "Thanks", "You are welcome.", id="one", **usage(900, 40, 1.5))
    other = talk("Where is my order?", "Which order?", "Order 17", "It left Bremen and arrives on Friday.", "Thanks", "You are welcome.",
                 id="other", **usage(1_200, 70, 2.25))
    return site.post(one), site.post(other)


def test_turns_are_aligned_and_words_marked(site, keys, page):
    page.goto(site.trace_url(keys[0], **{"with": keys[1]}))
    expect(page.locator("details.same")).to_have_count(3)
    expect(page.locator("details.same summary")).to_contain_text(["Where is my order?", "Thanks", "You are welcome."])
    changed = page.locator("article[data-role=assistant] mark").all_text_contents()
    assert "Hamburg" in changed or "It left Hamburg and arrives on Friday." in changed, changed
    expect(page.locator("article", has_text="Order 17").first).to_be_visible()


def test_only_the_words_that_differ_are_marked(site, page):
    one, other = (site.post(talk("q", f"It left {place} this morning and arrives on Friday.", id=place)) for place in ["Hamburg", "Bremen"])
    page.goto(site.trace_url(one, **{"with": other}))
    expect(page.locator("article[data-role=assistant] mark")).to_have_text(["Hamburg", "Bremen"])


def test_a_turn_of_one_trace_stands_alone(site, page):
    one = site.post(talk("a", "b", id="one"))
    trace = talk("a", "b", id="other")
    trace["messages"].insert(0, {"role": "system", "content": "Be brief."})
    page.goto(site.trace_url(one, **{"with": site.post(trace)}))
    expect(page.locator("details.same")).to_have_count(2)
    alone = page.locator(".pairs > .sides").first
    expect(alone.locator("article")).to_have_count(1)
    expect(alone.locator("mark")).to_have_text("Be brief.")
    expect(alone.locator(".absent")).to_have_count(1)


def test_tokens_and_times_are_compared(site, keys, page):
    page.goto(site.trace_url(keys[0], **{"with": keys[1]}))
    row = lambda name: page.locator("table tr", has=page.get_by_role("rowheader", name=name, exact=True)).locator("td")
    expect(row("tokens")).to_have_text(["900 in, 40 out", "1,200 in, 70 out"])
    expect(row("duration")).to_have_text(["1.50 s", "2.25 s"])
    expect(row("tokens").locator("mark")).to_have_count(2)
    expect(row("model")).to_have_text(["gpt-4o", "gpt-4o"])
    expect(row("model").locator("mark")).to_have_count(0)


def test_two_traces_are_chosen_in_the_list(site, keys, page, browser):
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    for tab in [page, plain]:
        tab.goto(site.list_url())
        boxes, button = tab.get_by_role("checkbox"), tab.get_by_role("button", name="Compare the two chosen traces")
        expect(button).to_be_hidden()
        boxes.nth(0).check()
        boxes.nth(1).check()
        button.click()
        expect(tab.locator("h1")).to_have_text("Side by side")
        expect(tab.locator("thead a")).to_have_text([keys[1], keys[0]])
    context.close()
    page.goto(site.list_url())
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare the two chosen traces").click()
    expect(page.locator("main")).to_contain_text("A comparison needs two traces, and 1 were chosen.")


def test_the_keyboard_chooses_and_compares(site, keys, page):
    site.post(talk("another"))
    page.goto(site.list_url())
    for _ in range(3):
        page.keyboard.press("j")
        page.keyboard.press("c")
    boxes = page.get_by_role("checkbox")
    assert [box.is_checked() for box in boxes.all()] == [False, True, True]
    page.keyboard.press("C")
    expect(page.locator("h1")).to_have_text("Side by side")
    expect(page.locator("thead a")).to_have_count(2)


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_axe_finds_nothing_in_a_choice_and_a_comparison(site, keys, page, scheme, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(site.list_url())
    page.get_by_role("checkbox").first.check()
    for url in [None, site.trace_url(keys[0], **{"with": keys[1]})]:
        if url:
            page.goto(url)
            unfold(page)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
