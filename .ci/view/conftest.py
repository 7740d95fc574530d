"""Fixtures for the page's tests: a local endpoint and a headless Chromium for each test.

ATTEST is the path of the command, and CHROMIUM that of the browser. If SCREENSHOTS is a folder, tests save screenshots in it.
"""

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import agent
import pytest
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))
import endpoint  # noqa: E402

# Generous, because a machine that also compiles is slow. A working page responds much sooner.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


def talk(*contents, **more):
    """Returns a trace whose messages alternate between the user and the assistant."""
    roles = ["user", "assistant"]
    messages = [{"role": roles[place % 2], "content": content} for place, content in enumerate(contents)]
    return {"model": "gpt-4o", "created": 1_795_305_600, "messages": messages, **more}


def unfold(page):
    """Unfolds everything on the page."""
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")


class Site:
    """A local endpoint with its own folder, and its page."""

    def __init__(self, folder):
        self.folder = folder
        self.process, self.endpoint_url, s3 = endpoint.start(folder, "view")
        self.s3, self.aws = s3.url, s3.environment
        self.url = self.endpoint_url.removesuffix("prod")
        self.views = []

    def post(self, trace):
        """Stores a trace through the endpoint and returns its key."""
        headers = {"x-api-key": "view", "content-type": "application/json"}
        request = urllib.request.Request(self.endpoint_url, data=json.dumps(trace).encode(), headers=headers)
        return json.load(urllib.request.urlopen(request))["key"]

    def put(self, key, content):
        """Writes a file into the folder, as another program could."""
        file = self.folder / f"{key}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return key

    def list_url(self, q="", **more):
        pairs = {name: value for name, value in {"q": q, **more}.items() if value}
        return f"{self.url}traces?{urllib.parse.urlencode(pairs)}"

    def trace_url(self, key, **more):
        return f"{self.url}trace?{urllib.parse.urlencode({'key': key, **more})}"

    def view(self, *options):
        """Starts `view` over this site's S3, and returns the URL of its page."""
        command = [os.environ["ATTEST"], "view", "--port", "0", *options]
        environment = {**os.environ, **self.aws}
        view = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.views.append(view)
        return view.stdout.readline().split()[-1]

    def stop(self):
        for process in [*self.views, self.process]:
            process.kill()
            process.wait()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "traces")
    yield site
    site.stop()


@pytest.fixture
def kinds(site):
    """Stores traces, and returns the path of a page of every kind."""
    key, other = site.post(agent.chat()), site.post(agent.chat(id="other"))
    choice = lambda text: {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    several = site.post(talk("a", "b", id="several", choices={"0": choice("b"), "1": choice("c")}))
    failed = site.post(talk("a", "b" * 3_000, id="failed", error={"status": 429}, incomplete="closed"))
    spans = [site.post(trace) for trace in agent.spans()]
    long = site.post(talk(*["turn"] * 30, id="long"))
    lists = ["", "traces", "traces?q=nothing", "traces?q=since:x", f"traces?with={key}"]
    traces = [f"trace?key={key}{more}" for more in ["", "&plain=true", "&unfolded=true", "&show=tool", f"&with={other}"]]
    traces += [f"trace?key={several}", f"trace?key={failed}", f"trace?key={spans[0]}", f"trace?key={long}"]
    sessions = [f"session?id={agent.TRACE}", "session?id=session-5", "session?id=none"]
    return [*lists, *traces, *sessions, "trace?key=none/none", "trace", "nothing"]


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context):
    """A page that may not open a dialog, raise an error, or send requests beyond loopback."""
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    requests, dialogs, errors = [], [], []
    context.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and "status of 4" not in message.text and errors.append(message.text))
    yield page
    assert not dialogs and not errors, (dialogs, errors)
    own = ("http://127.0.0.1:", "data:", "file:", "blob:")
    others = [asked for asked in requests if not asked.startswith(own)]
    assert not others, others


@pytest.fixture
def picture(page):
    """Returns a function that saves a screenshot of the page if SCREENSHOTS is set."""

    def take(name, full_page=True):
        if pictures := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{pictures}/{name}.png", full_page=full_page)

    return take
