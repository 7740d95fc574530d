"""Uses the page of traces in a headless Chromium, over what the local endpoint stored: each flow, and hostile content.

ATTEST names the program, CHROMIUM the browser. With SCREENSHOTS, a folder, it leaves pictures of the page there.
"""

import atexit
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import endpoint
from playwright.sync_api import expect, sync_playwright

folder = Path(tempfile.mkdtemp()) / "traces"
process, url, s3 = endpoint.start(folder, "view")
page_url = url.removesuffix("prod")


def post(trace):
    headers = {"x-api-key": "view", "content-type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(trace).encode(), headers=headers)
    return json.load(urllib.request.urlopen(request))["key"]


def talk(*contents, **more):
    messages = [{"role": ["user", "assistant"][place % 2], "content": content} for place, content in enumerate(contents)]
    return {"model": "gpt-4o", "created": 1_795_305_600, "messages": messages, **more}


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "\"><script src='http://evil.test/x.js'></script>",
    "'-alert(1)-'",
    "javascript:alert(1)",
    "</pre></textarea></title></style><script>alert(1)</script>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<link rel=stylesheet href=http://evil.test/a.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.test'>",
    "<a href=javascript:alert(1)>x</a>",
    "[x](javascript:alert(1)) ![x](http://evil.test/a.png)",
    "<base href=http://evil.test>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "\u2028\u202e<script>alert(1)</script>\u0000",
    "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "<details open ontoggle=alert(1)>",
    "<form action=http://evil.test><button autofocus onfocus=alert(1)>",
]

long = "line of a long message\n" * 400
code = "def f():\n    return  1\n"
first = post(talk("Where is my refund?", "It is **on** its way.\n\n" + code, usage={"total_tokens": 12}, own=2**80))
second = post(talk("Where is my refund?", "It was **sent** yesterday.", id="second"))
post(talk("Hello", long, id="long", system_fingerprint="other/fingerprint"))
for age, key in [(2, first), (1, second)]:  # a file system may give files the same time that are written within milliseconds
    os.utime(folder / f"{key}.json", (time.time() - age, time.time() - age))

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
    )
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    requests, dialogs, errors = [], [], []
    context.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: errors.append(str(error)))

    def picture(name):
        if pictures := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{pictures}/{name}.png", full_page=True)

    # The list: newest first, with the fingerprints and their counts; what arrives is shown without a reload.
    page.goto(page_url)
    rows = page.locator("#rows li")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("Hello")
    expect(page.locator("nav")).to_contain_text("gpt-4o 2")
    expect(page.locator("nav")).to_contain_text("other 1")
    picture("list")
    post(talk("Just arrived", id="arrived"))
    expect(rows.first).to_contain_text("Just arrived")
    expect(rows).to_have_count(4)

    # The tree: a branch shows what is below it, and its traces.
    page.locator("nav").get_by_role("link", name="other", exact=True).click()
    expect(page.locator("nav ul ul")).to_have_text("fingerprint 1")
    expect(rows).to_have_count(1)
    page.locator("nav").get_by_role("link", name="fingerprint", exact=True).click()
    expect(page.locator("nav [aria-current=page]")).to_have_text("fingerprint")
    expect(rows).to_have_count(1)
    page.goto(page_url)

    # The keyboard: j and k move, Enter opens, / searches.
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator(".message")).to_have_count(1)
    expect(page.locator(".message")).to_contain_text("Just arrived")
    page.go_back()
    page.keyboard.press("/")
    page.keyboard.type("REFUND")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    assert "text=REFUND" in page.url
    post(talk("Whose name has a space", id="space", system_fingerprint="my model"))
    for query, count in [
        ("prefix=other/", 1),
        ("prefix=other/finger", 1),
        ("prefix=my model", 1),
        ("prefix=my%2520model/", 1),
        ("id=second", 1),
        ("model=gpt-4o", 5),
        ("model=none", 0),
        ("role=system", 0),
        ("role=assistant", 3),
        ("since=2000-01-01", 5),
        ("until=2000-01-01", 0),
    ]:
        page.goto(f"{page_url}?{query}")
        expect(rows).to_have_count(count)
    assert page.goto(f"{page_url}?since=yesterday").status == 400

    # A trace: roles, white space, the folded message, other members, the raw JSON, its command; Markdown when asked for.
    page.goto(f"{page_url}trace?key={first}")
    expect(page.locator("[data-role=user]")).to_contain_text("Where is my refund?")
    assert page.locator("[data-role=assistant] pre.content").text_content() == "It is **on** its way.\n\n" + code
    expect(page.locator("main")).to_contain_text("total_tokens")
    expect(page.locator("dt:text-is('own') + dd")).to_have_text(str(2**80))
    expect(page.locator("#command")).to_contain_text(f"'s3://traces/{first}' -")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == (folder / f"{first}.json").read_text()
    picture("trace")
    page.get_by_role("link", name="Render Markdown").click()
    expect(page.locator("[data-role=assistant] strong")).to_have_text("on")
    assert "markdown=true" in page.url
    page.goto(f"{page_url}trace?key=other/fingerprint/long")
    folded = page.locator("[data-role=assistant] pre.content")
    expect(folded).to_be_hidden()
    page.locator("[data-role=assistant] summary").first.click()
    expect(folded).to_be_visible()

    # Side by side: what differs is marked.
    page.goto(f"{page_url}trace?key={first}")
    page.get_by_role("link", name="Compare with another").click()
    page.get_by_label("Text").fill("refund")
    page.keyboard.press("Enter")
    expect(page.locator("main p").first).to_contain_text(first)
    expect(rows).to_have_count(2)
    rows.first.locator("a").click()
    assert page.url.endswith(f"with={urllib.request.quote(second, safe='')}")
    expect(page.locator("article")).to_have_count(2)
    expect(page.locator("mark").filter(has_text="sent")).to_have_count(1)
    expect(page.locator("mark").filter(has_text="refund")).to_have_count(0)
    picture("compare")

    # Dark, and on a telephone: nothing is wider than the screen.
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 375, "height": 700})
    for path in ["", f"trace?key={first}", f"trace?key={first}&with={second}"]:
        page.goto(page_url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path
    page.goto(page_url)
    picture("telephone-dark")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme").startswith("light dark")
    page.set_viewport_size({"width": 1200, "height": 800})

    # Hostile content stays text, wherever it stands.
    for number, text in enumerate(HOSTILE):
        clean = text.replace("\0", "")
        key = post({**talk(text, text), "model": text, "id": clean, text: {text: text}})
        for query in ["", "&markdown=true", f"&with={urllib.request.quote(first)}"]:
            page.goto(f"{page_url}trace?key={urllib.request.quote(key)}{query}")
            assert page.locator("h1").count() == 1
        page.goto(f"{page_url}trace?key={urllib.request.quote(key)}")
        assert page.locator("[data-role=user] pre.content").text_content() == clean, text
    # No role but the schema's is stored by the endpoint; the folder may have what somebody else put there.
    for number, text in enumerate(HOSTILE):
        file = folder / "roles" / f"{number}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**talk(text), "messages": [{"role": text, "content": text, text: text}]}))
        page.goto(f"{page_url}trace?key=roles/{number}")
        expect(page.locator(".message h2")).to_have_count(1)
    for query in ["", "?from=x", *(f"?text={urllib.request.quote(text)}" for text in HOSTILE)]:
        page.goto(page_url + query)
        expect(page.locator("h1")).to_have_count(1)
    page.goto(page_url)
    picture("hostile")
    assert not dialogs and not errors, (dialogs, errors)
    others = [asked for asked in requests if not asked.startswith(page_url)]
    assert not others, others

    # Nothing found, and then something arrives.
    page.goto(f"{page_url}?prefix=late")
    expect(page.locator(".none")).to_be_visible()
    post(talk("Late", system_fingerprint="late"))
    expect(rows).to_have_count(1)
    expect(page.locator(".none")).to_be_hidden()

    # 100,000 traces, and more than a page that arrive at once; the first page within a second.
    many = json.dumps(talk("Hello"))
    for fingerprint in range(100):
        (folder / f"many-{fingerprint}").mkdir()
        for number in range(1_000):
            (folder / f"many-{fingerprint}" / f"{number}.json").write_text(many)
    # A page that is open: a page of arrivals takes the place of what it showed.
    page.goto(page_url)
    later = Path(tempfile.mkdtemp(dir=folder.parent)) / "later"
    later.mkdir()
    for number in range(60):
        (later / f"late-{number}.json").write_text(many)
    later.rename(folder / "later")
    expect(page.locator("#rows li a[href*=late-]")).to_have_count(50)
    expect(page.locator("#rows li")).to_have_count(50)
    for _ in range(3):
        start = time.monotonic()
        page.goto(page_url)
        expect(page.locator("#rows li")).to_have_count(50)
        print(f"first page of 100,000: {time.monotonic() - start:.2f} s")
    page.get_by_role("link", name="Further").click()
    expect(page.locator("#rows li")).to_have_count(50)

    # The same over a bucket, without the endpoint: page by page, in the order of the keys.
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": s3}

    def look(*options):
        view = [os.environ["ATTEST"], "view", "--bucket", "traces", "--port", "0", *options]
        view = subprocess.Popen(view, stdout=subprocess.PIPE, text=True, env={**os.environ, **keys})
        atexit.register(view.kill)
        return view.stdout.readline().removeprefix("Look at ").strip()

    bucket_url = look()
    page.goto(f"{bucket_url}?prefix=many-7/")
    expect(page.locator("#rows li")).to_have_count(50)
    first_of_page = page.locator("#rows li a").first.get_attribute("href")
    page.get_by_role("link", name="Further").click()
    expect(page.locator("#rows li")).to_have_count(50)
    assert page.locator("#rows li a").first.get_attribute("href") != first_of_page
    page.goto(bucket_url)
    expect(page.locator("nav")).to_contain_text("many-99")
    page.locator("#rows li a").first.click()
    expect(page.locator(".message").first).to_be_visible()
    assert f"aws s3 cp --endpoint-url {s3} 's3://traces/" in page.locator("#command").text_content()
    page.goto(look("--prefix", "other/fingerprint"))
    expect(page.locator("#rows li")).to_have_count(1)
    expect(page.locator("nav li")).to_have_count(0)
    memory = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) // 1024
    assert memory < 200, f"{memory} MiB"
    browser.close()

# DNS rebinding: a page of another host that resolves to loopback reads nothing.
for host, status in [("evil.test", 421), ("127.0.0.1.evil.test:80", 421), ("localhost:9", 200)]:
    request = urllib.request.Request(page_url, headers={"Host": host})
    try:
        got = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        got = error
    assert got.status == status, (host, got.status)
    assert "script-src 'self'" in got.headers["content-security-policy"]
print(f"the page of traces: every flow works, {len(HOSTILE)} hostile strings stay text, {memory} MiB with 100,000 traces")
