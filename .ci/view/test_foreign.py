"""Tests attacks by pages of other sites in a real browser: one on another port, and one whose host name changes to this machine's
address.

The pages try to read, store and delete traces through the page, the endpoint and S3. They even know the API key and the S3 keys, as
if these were stolen.
"""

import http.server
import json
import os
import subprocess
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest
from conftest import talk

REBOUND = "rebound.example"

# Sends one request, and reports what the page learns.
ASK = """async ([method, url, headers, body]) => {
  try {
    const mode = headers ? "cors" : "no-cors";
    const response = await fetch(url, {method, headers: headers || {}, body: body ?? undefined, mode, redirect: "manual"});
    return {status: response.status, type: response.type, text: await response.text()};
  } catch (error) {
    return {status: 0, type: "error", text: String(error)};
  }
}"""

# Loads a URL as an element of the page, and reports the event that follows.
LOAD = """([tag, url]) => new Promise(resolve => {
  const element = document.createElement(tag);
  element.onload = () => resolve("load");
  element.onerror = () => resolve("error");
  element[tag === "link" ? "href" : tag === "object" ? "data" : "src"] = url;
  if (tag === "link") element.rel = "stylesheet";
  document.body.append(element);
})"""

# Submits a form into a frame, which browsers allow any page to do.
FORM = """([url, type, fields]) => new Promise(resolve => {
  const frame = document.createElement("iframe");
  frame.name = "target" + Math.random();
  const form = document.createElement("form");
  Object.assign(form, {method: "POST", action: url, enctype: type, target: frame.name});
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement("textarea");
    Object.assign(field, {name, value});
    form.append(field);
  }
  document.body.append(frame, form);
  frame.onload = () => resolve();
  form.submit();
})"""


class Foreign(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title><body>")

    def log_message(self, *_):
        pass


@pytest.fixture
def foreign():
    """The port of another user's page on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def attacked(tmp_path):
    """Starts an endpoint that logs to a file, so that a test can read the refusals."""
    ready, log = tmp_path / "ready.json", tmp_path / "log"
    os.mkfifo(ready)
    command = [os.environ["ATTEST"], "serve", "--port", "0", "--s3-port", "0", "--folder", tmp_path / "traces"]
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, "--ready-file", ready], stdout=subprocess.DEVNULL, stderr=stderr)
    process.ready = json.loads(ready.read_text())
    process.folder, process.log = tmp_path / "traces", log
    yield process
    process.kill()
    process.wait()


def store(attacked):
    trace = {**talk("the merger closes on Friday"), "model": "m", "id": "a"}
    headers = {"x-api-key": attacked.ready["api_key"]}
    urllib.request.urlopen(urllib.request.Request(attacked.ready["url"], json.dumps(trace).encode(), headers))
    return sorted(attacked.folder.rglob("*.json"))


def attack(page, ready, host):
    """Tries every attack from a page, with `host` as the endpoint's host name. Returns what the page learns."""
    port, s3_port = urlsplit(ready["url"]).port, urlsplit(ready["s3_url"]).port
    site, s3 = f"http://{host}:{port}", f"http://{host}:{s3_port}"
    trace = json.dumps({**talk("forged"), "id": "forged"})
    key = {"x-api-key": ready["api_key"], "content-type": "application/json"}
    keys = "<Delete><Object><Key>m/a</Key></Object></Delete>"
    learned = []
    for request in [
        ["GET", f"{site}/", {}, None],
        ["GET", f"{site}/raw?key=m/a", {}, None],
        ["GET", f"{site}/raw?key=m/a", None, None],
        ["POST", f"{site}/prod", key, trace],
        ["POST", f"{site}/prod", None, trace],
        ["GET", f"{s3}/traces?list-type=2", {}, None],
        ["GET", f"{s3}/traces/m/a", {}, None],
        ["PUT", f"{s3}/traces/m/forged", {"if-none-match": "*"}, trace],
        ["DELETE", f"{s3}/traces/m/a", {}, None],
        ["POST", f"{s3}/traces?delete", None, keys],
    ]:
        learned.append(page.evaluate(ASK, request))
    learned += [page.evaluate(LOAD, [tag, f"{site}/trace?key=m/{name}"]) for tag in ["img", "script", "link"] for name in ["a", "none"]]
    fields = {"key": "m/forged", "if-none-match": "*", "file": trace}
    for url, kind, data in [
        (f"{s3}/traces", "multipart/form-data", fields),
        (f"{s3}/traces?delete", "text/plain", {keys: ""}),
        (f"{site}/prod", "text/plain", {trace: ""}),
    ]:
        page.evaluate(FORM, [url, kind, data])
    return learned


def check(attacked, before, learned, refusal):
    assert "Friday" not in json.dumps(learned), learned
    events = [event for event in learned if isinstance(event, str)]
    assert events == ["error"] * 6, events
    for response in learned:
        if not isinstance(response, str):
            assert response["type"] in ("error", "opaque") or response["status"] in (403, 421), response
    assert sorted(attacked.folder.rglob("*.json")) == before
    assert "Friday" in before[0].read_text()
    refused = [line for line in attacked.log.read_text().splitlines() if refusal in line]
    assert len(refused) >= 13, attacked.log.read_text()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_on_another_port_reads_stores_and_deletes_nothing(attacked, foreign, context, host):
    before = store(attacked)
    page = context.new_page()
    page.goto(f"http://{host}:{foreign}/")
    learned = attack(page, attacked.ready, "127.0.0.1")
    check(attacked, before, learned, "403  foreign-site  ")
    page.goto(f"{attacked.ready['url'].removesuffix('prod')}trace?key=m/a")
    assert "Friday" in page.locator("body").text_content(), "a person still reads the trace"


def test_a_page_whose_name_changes_to_this_machine_reads_stores_and_deletes_nothing(attacked, browser):
    """The browser regards each port as the foreign site itself, so its same-origin policy does not apply."""
    before = store(attacked)
    port, s3_port = (urlsplit(attacked.ready[name]).port for name in ("url", "s3_url"))
    program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    # Disables Chromium's prompt before a page may reach loopback, because other browsers have none.
    unchecked = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    rebound = browser.browser_type.launch(executable_path=program, args=["--no-sandbox", rules, unchecked])
    for own in [port, s3_port]:
        page = rebound.new_page()
        # This page was loaded before the name changed.
        page.route("**/foreign", lambda route: route.fulfill(body="<body>", content_type="text/html"))
        page.goto(f"http://{REBOUND}:{own}/foreign")
        learned = attack(page, attacked.ready, REBOUND)
        check(attacked, before, learned, "421  foreign-host  ")
    rebound.close()


def test_a_link_of_another_site_asks_before_it_shows_a_trace(attacked, foreign, context):
    store(attacked)
    url = f"{attacked.ready['url'].removesuffix('prod')}trace?key=m/a"
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{foreign}/")
    page.evaluate("url => { location.href = url }", url)
    page.get_by_role("link", name="Open this address").click()
    page.wait_for_function("document.body.textContent.includes('Friday')")
