"""Tests reading a conversation: its title and facts, copying, folding, filters, printing, and wrong addresses."""

import json
import subprocess
import urllib.error
import urllib.request

import agent
import pytest
from conftest import talk
from playwright.sync_api import expect


def failing(**more):
    """Returns a conversation in which two of three tools fail."""
    messages = [{"role": "system", "content": "Be brief.\n" * 30}, {"role": "user", "content": "Where  is\nmy order?"}]
    for number, is_error in enumerate([True, False, True]):
        use = {"type": "tool_use", "id": f"t{number}", "name": "track", "input": {"order": number}}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "is_error": is_error, "content": "line\n" * 80}
        messages.append({"role": "assistant", "content": "", "original": {"role": "assistant", "content": [use]}})
        messages.append({"role": "user", "content": "", "original": {"role": "user", "content": [result]}})
    messages.append({"role": "assistant", "content": "**Soon**, says `track`: [here](https://shop.test).\n\n```python\nx = 1\n```"})
    return {"model": "claude", "created": 1_795_305_600, "api": "anthropic", "messages": messages, **more}


@pytest.fixture
def clipboard(context, page):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return lambda: page.evaluate("navigator.clipboard.readText()")


@pytest.fixture
def without_scripts(browser):
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_the_title_is_the_first_question_and_the_key_is_a_fact(site, page, clipboard):
    key = site.post(failing(id="f/1"))
    page.goto(site.trace_url(key))
    expect(page.locator("h1")).to_have_text("Where is my order?")
    expect(page).to_have_title("Where is my order?")
    for name, value in [("key", key), ("fingerprint", "claude"), ("id", "f/1")]:
        expect(page.locator(f"#fact-{name}")).to_have_text(value)
        page.get_by_title(f"Copy the {name}", exact=True).click()
        expect(page.get_by_role("button", name="Copied")).to_have_count(1)
        assert clipboard() == value
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)
    long = site.post(talk("word " * 100, id="long"))
    page.goto(site.trace_url(long))
    title = page.locator("h1").text_content()
    assert len(title) == 161 and title.endswith("…"), title
    silent = site.post({"model": "m", "created": 1, "messages": [], "id": "silent"})
    page.goto(site.trace_url(silent))
    expect(page.locator("h1")).to_have_text(silent)


def test_a_turn_a_call_and_code_are_copied_and_linked(site, page, clipboard):
    page.goto(site.trace_url(site.post(failing())))
    for anchor, expected in [
        ("#turn-2", "## user\n\nWhere  is\nmy order?\n"),
        ("#turn-3-1", "**Call** `track` `t0`\n\n```json\n{\n  \"order\": 0\n}\n```\n\n**Error** of `t0`\n\n```\n" + "line\n" * 80 + "```\n"),
        ("#code-4", "x = 1\n"),
    ]:
        link = page.locator(f"a.anchor[href='{anchor}']")
        page.locator("button.copy:has(+ .anchor[href='%s'])" % anchor).click()
        expect(page.get_by_role("button", name="Copied")).to_have_count(1)
        assert clipboard() == expected
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)
        link.click()
        assert page.url.endswith(anchor)
        expect(page.locator(anchor)).to_be_in_viewport()
    page.goto(page.url)
    expect(page.locator("#code-4")).to_be_in_viewport()


def test_a_link_to_another_answer_selects_its_tab(site, page):
    choice = lambda text: {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    key = site.post(talk("A name?", "Ada", choices={"0": choice("Ada"), "1": choice("Grace")}))
    page.goto(site.trace_url(key) + "#answer-2")
    expect(page.locator("#answer-2")).to_be_visible()
    expect(page.locator("#answer-1")).to_be_hidden()


def test_a_long_conversation_is_copied_as_markdown(site, page, clipboard):
    trace = talk(*[f"turn {number}: {'word ' * 400}" for number in range(1_000)])
    key = site.post(trace)
    page.goto(site.trace_url(key))
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    text = clipboard()
    assert text.startswith("# turn 0: word")
    assert f"- key: `{key}`\n" in text
    contents = [f"\n## {message['role']}\n\n{message['content']}\n" for message in trace["messages"]]
    assert text.endswith("".join(contents))


def test_long_prompts_are_folded_and_everything_unfolds_and_folds(site, page, without_scripts):
    url = site.trace_url(site.post(failing()))
    page.goto(url)
    prompt = page.locator("[data-role=system] pre")
    expect(prompt).to_be_hidden()
    folds = page.locator(".turns details")
    assert folds.count() >= 5
    is_open = lambda: {fold.evaluate("fold => fold.open") for fold in folds.all()}
    page.get_by_role("link", name="Unfold all").click()
    assert is_open() == {True}
    page.get_by_role("link", name="Fold all", exact=True).click()
    assert is_open() == {False}
    page.keyboard.press("f")
    assert is_open() == {True}
    without_scripts.goto(url)
    without_scripts.get_by_role("link", name="Unfold all").click()
    expect(without_scripts.locator("[data-role=system] pre")).to_be_visible()
    expect(without_scripts.locator("details:not(.take):not([open])")).to_have_count(0)
    expect(without_scripts.locator("button:visible")).to_have_text(["Search"])
    without_scripts.get_by_role("link", name="Fold all", exact=True).click()
    expect(without_scripts.locator("[data-role=system] pre")).to_be_hidden()


def test_turns_are_filtered_by_role_and_errors(site, without_scripts):
    page = without_scripts
    page.goto(site.trace_url(site.post(failing())))
    expect(page.locator(".tools a[href*='/trace']").filter(has=page.locator("small"))).to_have_text(
        ["all 6", "system 1", "user 1", "assistant 4", "tool 3", "errors 2"])
    for name, ids in [("errors 2", ["turn-3", "turn-5"]), ("tool 3", ["turn-3", "turn-4", "turn-5"]), ("user 1", ["turn-2"])]:
        page.get_by_role("link", name=name).click()
        assert [turn.get_attribute("id") for turn in page.locator(".message").all()] == ids
        expect(page.locator(".tools [aria-current]")).to_have_text(name)
    page.get_by_role("link", name="all 6").click()
    expect(page.locator(".message")).to_have_count(6)


def test_a_filter_covers_turns_of_later_pages(site, page):
    turns = [f"turn {number}" for number in range(1_200)]
    page.goto(site.trace_url(site.post(talk(*turns)), show="user"))
    expect(page.locator(".message")).to_have_count(500)
    page.get_by_role("link", name="Further turns").click()
    expect(page.locator(".message")).to_have_count(100)
    expect(page.locator(".message").last).to_contain_text("turn 1198")


def test_a_key_goes_to_the_next_error(site, page, without_scripts):
    key = site.post(failing(error={"status": 500}))
    page.goto(site.trace_url(key))
    page.keyboard.press("e")
    expect(page.locator(".alert")).to_be_focused()
    for turn in ["#turn-3", "#turn-5"]:
        page.keyboard.press("e")
        expect(page.locator(f"{turn} .result[data-error]")).to_be_focused()
        expect(page.locator(f"{turn} .result[data-error]")).to_be_in_viewport()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("go to the next error")
    without_scripts.goto(site.trace_url(key))
    without_scripts.get_by_role("link", name="Next error").click()
    expect(without_scripts.locator("#turn-3")).to_be_in_viewport()


def test_the_next_error_may_be_on_a_later_page(site, page):
    trace = failing()
    trace["messages"] = talk(*["hello"] * 700)["messages"] + trace["messages"]
    page.goto(site.trace_url(site.post(trace)))
    expect(page.locator(".message")).to_have_count(500)
    page.keyboard.press("e")
    expect(page.locator("#turn-703")).to_be_in_viewport()
    page.keyboard.press("e")
    expect(page.locator("#turn-703 .result[data-error]")).to_be_focused()


def test_the_outline_shows_no_markdown(site, page):
    page.goto(site.trace_url(site.post(failing())))
    entries = page.locator(".outline a").all_text_contents()
    assert entries[-1] == "assistant Soon, says track: here. x = 1", entries
    titles = ["## A *heading*", "- [ ] one\n- two", "> quoted **words**", "| a | b |\n|---|---|\n| 1 | 2 |"]
    page.goto(site.trace_url(site.post(talk(*titles, id="markdown"))))
    for entry in page.locator(".outline a").all_text_contents():
        assert not set("*#`|>_[") & set(entry.replace("[ ] one", "")), entry


def test_printing_unfolds_the_conversation(site, page, tmp_path):
    page.goto(site.trace_url(site.post(failing())))
    page.emulate_media(media="print")
    for folded in ["[data-role=system] pre", "#turn-3 .result pre"]:
        expect(page.locator(folded).last).to_be_visible()
        assert page.locator(folded).last.evaluate("text => text.getBoundingClientRect().height") > 100, folded
    for hidden in [".banner", ".tools", ".outline", ".actions", ".anchor >> nth=0", "button.copy >> nth=0"]:
        expect(page.locator(hidden)).to_be_hidden()


def test_an_empty_store_shows_the_command_that_stores_a_first_trace(site, page):
    environment = {"ATTEST_URL": site.endpoint_url, "ATTEST_API_KEY": "view", "PATH": "/usr/bin:/bin"}
    for url in [site.url, site.list_url()]:
        page.goto(url)
        command = page.locator("#first").text_content()
    page.goto(site.list_url("nothing"))
    expect(page.locator("#first")).to_have_count(0)
    page.goto(site.list_url())
    stored = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert json.loads(stored.stdout)["key"].startswith("gpt-4o/"), stored.stdout
    expect(page.locator("#rows li")).to_have_count(1)  # it arrives without a reload
    expect(page.locator("#first")).to_be_hidden()


@pytest.mark.parametrize("path, status", [
    ("nothing", 404), ("trace/x", 404), ("trace", 400), ("trace?key=a&turn=x", 400), ("raw", 400), ("step?key=a&to=up", 400),
    ("markdown?key=none/none", 404), ("session", 400),
])
def test_a_wrong_address_gets_a_page(site, page, path, status):
    for base in [site.url, site.view("--folder", str(site.folder))]:
        answer = page.goto(base + path)
        assert answer.status == status
        assert answer.headers["content-type"].startswith("text/html"), path
        assert answer.headers["content-security-policy"]
        expect(page.locator("h1")).to_have_count(1)
        expect(page.get_by_role("link", name="Traces", exact=True)).to_be_visible()


def test_an_api_client_gets_problem_details_at_a_wrong_address(site):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(site.url + "nothing")
    assert refused.value.status == 403
    assert refused.value.headers["content-type"] == "application/problem+json"


def test_the_list_is_first_on_a_telephone(site, page):
    site.post(agent.chat())
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(site.list_url())
    top = lambda selector: page.locator(selector).bounding_box()["y"]
    assert top("#rows li") < top("nav.tree")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
