"""Takes the screenshots in docs/reading.md that no other test takes, and checks the size of all of them."""

import re
from pathlib import Path

import agent
from conftest import talk
from playwright.sync_api import expect
from test_share import share

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_list_the_comparison_and_a_shared_file(site, page, tmp_path, picture):
    page.set_viewport_size({"width": 1200, "height": 400})
    for number, (model, question) in enumerate([
        ("gpt-4o", "Can I get a refund for the blue one?"),
        ("claude-sonnet-4-5", "The refund has not arrived yet. Where is it?"),
        ("OLMoE", "How long do I have to ask for a refund?"),
        ("gpt-4o", "Refund only the shipping, please."),
    ]):
        usage = {"prompt_tokens": 900 + 37 * number, "completion_tokens": 120 + number}
        error = {"error": {"status": 429}} if number == 2 else {}
        site.post(talk(question, "It is on its way.", id=f"r{number}", model=model, usage=usage, **error))
    key = site.post(agent.chat())
    answer = agent.ANSWER.replace("Friday", "Saturday").replace("Hamburg", "Bremen")
    other = agent.chat(id="order-18")
    other["messages"][-1]["content"] = answer
    other = site.post(other)
    page.goto(site.list_url("refund since:2026-01-01"))
    expect(page.locator("#rows li")).to_have_count(6)
    picture("list-docs", full_page=False)
    page.set_viewport_size({"width": 1000, "height": 860})
    page.goto(site.trace_url(key, **{"with": other}))
    expect(page.locator("mark").first).to_be_visible()
    picture("compare-docs", full_page=False)
    file = tmp_path / "trace.html"
    share(site, key, "--folder", str(site.folder), "-o", str(file))
    page.goto(file.as_uri())
    expect(page.get_by_label("Plain text")).to_be_visible()
    picture("shared-docs", full_page=False)


def test_the_pictures_of_the_documentation_are_small():
    names = re.findall(r"\(images/([\w-]+\.png)\)", (DOCS / "reading.md").read_text())
    assert len(names) == 6, names
    for name in names:
        assert (DOCS / "images" / name).stat().st_size < 150_000, name
