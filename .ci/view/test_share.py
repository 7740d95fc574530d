"""Tests sharing a trace as a file and as commands."""

import os
import subprocess
import urllib.request

import agent
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import talk, unfold
from playwright.sync_api import expect
from test_hostile import HOSTILE


def share(site, *options, expected=0):
    command = [os.environ["ATTEST"], "share", *options]
    environment = {**os.environ, **site.aws}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == expected, done.stderr
    return done


def test_a_shared_file_opens_from_the_disk_without_scripts(site, page, tmp_path, picture):
    key = site.post(agent.chat())
    file = tmp_path / "trace.html"
    share(site, key, "--folder", str(site.folder), "-o", str(file))
    assert "<script" not in file.read_text()
    page.goto(file.as_uri())
    expect(page.locator(".call")).to_have_count(2)
    assert page.locator("figure img").evaluate("image => image.naturalWidth") == 160
    expect(page.locator(".message").first).to_have_css("border-left-width", "4px")  # the style is allowed
    assert page.locator("#raw").text_content() == (site.folder / f"{key}.json").read_text()
    picture("shared")
    before = file.read_text()
    failed = share(site, key, "--folder", str(site.folder), "-o", str(file), expected=1)
    assert "choose another file" in failed.stderr and file.read_text() == before


def test_a_shared_file_switches_to_plain_text_without_a_script(site, page, tmp_path):
    key = site.post(agent.chat())
    file = tmp_path / "trace.html"
    share(site, key, "--folder", str(site.folder), "-o", str(file))
    page.goto(file.as_uri())
    rendered, exact = page.locator(".markdown"), page.locator("pre.exact")
    expect(rendered).to_be_visible()
    expect(exact).to_be_hidden()
    page.get_by_label("Plain text").check()
    expect(rendered).to_be_hidden()
    expect(exact).to_be_visible()
    assert exact.text_content() == agent.ANSWER
    page.keyboard.press("Space")
    expect(rendered).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.locator(".outline a").last.click()
    expect(page.locator("#turn-4")).to_be_in_viewport()


def test_the_button_downloads_the_same_file(site, page, tmp_path):
    key = site.post(agent.chat())
    page.goto(site.trace_url(key))
    with page.expect_download() as download:
        page.get_by_role("link", name="Share as a file").click()
    assert download.value.suggested_filename == "trace-order-17.html"
    file = tmp_path / "trace.html"
    share(site, key, "--folder", str(site.folder), "-o", str(file))
    assert download.value.path().read_text() == file.read_text()


def test_a_shared_object_is_read_through_a_url_that_expires(site, page):
    key = site.post(talk("Hello", "Hi"))
    place = "s3://traces/shared/one.html"
    url = share(site, key, "--bucket", "traces", "-o", place, "--expires", "1h").stdout.strip()
    assert "X-Amz-Expires=3600" in url
    assert "Hello" in urllib.request.urlopen(url).read().decode()
    assert "an object with this key may exist" in share(site, key, "--bucket", "traces", "-o", place, expected=1).stderr
    assert "there is no trace" in share(site, "a/b", "--bucket", "traces", "-o", "-", expected=1).stderr


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_content_stays_text_in_every_new_place(site, page, tmp_path, text):
    clean = text.replace("\0", "")
    image = {"type": "image_url", "image_url": {"url": text}}
    encoded = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}}
    file = {"type": "file", "file": {"filename": text, "file_data": f"data:{text};base64,PHNjcmlwdD4="}}
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": f'{{"a": "{text}"}}'}}
    trace = talk(text, text, id=clean, model=text, error=text, incomplete=text, api=text, log={"session_id": text, "duration": text})
    trace["messages"] += [
        {"role": "user", "content": "", "name": text, "original": {"role": text, "content": [image, encoded, file, {"type": text, text: text}]}},
        {"role": "assistant", "content": f"```{text}\n{text}\n```\n# {text}", "reasoning_content": text, "refusal": text, "tool_calls": [call],
         "annotations": [{"type": "url_citation", "url_citation": {"title": text, "url": text}}]},
        {"role": "user", "content": text, "tool_call_id": text, "original": {"role": "tool", "content": [{"type": "text", "text": text}]}},
        {"role": "assistant", "content": text},
    ]
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": text}
    trace["choices"] = {text: choice, f"{text}2": choice}
    key = site.post(trace)
    for more in [{}, {"plain": "true"}, {"q": text}]:
        page.goto(site.trace_url(key, **more))
        assert page.locator("h1").count() == 1
        unfold(page)
    expect(page.locator(".call h3").first).to_contain_text(clean.strip()[:12])
    page.goto(site.url)
    assert page.locator("h1").count() == 1
    page.goto(site.list_url(f'tool:"{text}"'))
    assert page.locator("h1").count() == 1
    shared = tmp_path / "shared.html"
    share(site, key, "--folder", str(site.folder), "-o", str(shared))
    page.goto(shared.as_uri())
    assert page.locator("h1").count() == 1
    for _ in range(2):
        assert page.locator("script, iframe, base, link, form, object, embed").count() == 0
        unfold(page)
        page.get_by_label("Plain text", exact=True).check()
    expect(page.locator(".markdown:visible")).to_have_count(0)
    assert page.locator("pre.exact").last.text_content() == clean


def test_the_curl_command_stores_the_same_trace(site, page):
    key = site.post(talk("it's", "\"quoted\" $HOME `x`", own=1.50))
    page.goto(site.trace_url(key))
    page.locator("details.take summary").click()
    command = page.locator("#curl").text_content()
    (site.folder / f"{key}.json").unlink()
    environment = {**os.environ, "ATTEST_URL": site.endpoint_url, "ATTEST_API_KEY": "view"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert f'"key":"{key}"' in done.stdout.replace(" ", ""), done.stdout
    expect(page.locator("#python")).to_contain_text("openai.OpenAI().chat.completions.create(**request)")
    compile(page.locator("#python").text_content(), "request.py", "exec")
