"""axe-core reports no violation on any page, in light and dark mode, and on a telephone."""

import agent
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import talk, unfold


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 390)])
def test_axe_finds_nothing(site, page, scheme, width):
    page.set_viewport_size({"width": width, "height": 800})
    key = site.post(agent.chat())
    other = site.post(agent.chat(id="other"))
    choice = lambda text: {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    several = site.post(talk("a", "b", id="several", choices={"0": choice("b"), "1": choice("c")}))
    failed = site.post(talk("a", "b" * 3_000, id="failed", error={"status": 429}, incomplete="closed"))
    spans = [site.post(trace) for trace in agent.spans()]
    long = site.post(talk(*["turn"] * 30, id="long"))
    page.emulate_media(color_scheme=scheme)
    paths = ["", "traces", "traces?q=nothing", "traces?q=since:x", "trace?key=none/none", f"trace?key={key}"]
    paths += [f"trace?key={key}&plain=true", f"trace?key={several}", f"trace?key={failed}", f"trace?key={key}&with={other}"]
    paths += [f"session?id={agent.TRACE}", "session?id=session-5", "session?id=none", f"trace?key={spans[0]}", f"trace?key={long}"]
    for path in paths:
        page.goto(site.url + path)
        unfold(page)
        results = Axe().run(page)
        assert results.violations_count == 0, (path, results.generate_report())
        page.keyboard.press("?")
        results = Axe().run(page)
        assert results.violations_count == 0, (path, results.generate_report())
