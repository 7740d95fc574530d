"""Tests that hostile content stays text: no dialog, no error, and no request to other hosts (the `page` fixture checks this)."""

import urllib.error
import urllib.request

import pytest
from conftest import talk
from playwright.sync_api import expect

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


@pytest.mark.parametrize("text", HOSTILE)
def test_content_stays_text(site, page, text):
    first = site.post(talk("Where is my refund?"))
    clean = text.replace("\0", "")
    key = site.post({**talk(text, text), "model": text, "id": clean, text: {text: text}})
    for more in [{}, {"plain": "true"}, {"with": first}]:
        page.goto(site.trace_url(key, **more))
        assert page.locator("h1").count() == 1
    page.goto(site.trace_url(key))
    assert page.locator("[data-role=user] pre.content").text_content() == clean


@pytest.mark.parametrize("text", HOSTILE)
def test_roles_stay_text(site, page, text):
    """The endpoint stores only the schema's roles, but a folder may contain files of other programs."""
    key = site.put("roles/0", {**talk(text), "messages": [{"role": text, "content": text, text: text}]})
    page.goto(site.trace_url(key))
    expect(page.locator(".message h2")).to_have_count(1)


def test_searches_and_the_list_stay_text(site, page, picture):
    for number, text in enumerate(HOSTILE):
        site.post({**talk(text, text), "model": text, "id": f"{number}{text}".replace("\0", "")})
    for q in ["", *HOSTILE, *(f'model:"{text}"' for text in HOSTILE)]:
        page.goto(site.list_url(q))
        expect(page.locator("h1")).to_have_count(1)
        assert page.locator("[name=q]").input_value() == q.replace("\0", "\ufffd")
    page.goto(site.list_url(**{"from": "x"}))
    expect(page.locator("h1")).to_have_count(1)
    page.goto(site.list_url())
    picture("hostile")


@pytest.mark.parametrize("host, status", [("evil.test", 421), ("127.0.0.1.evil.test:80", 421), ("localhost:9", 200)])
def test_a_page_of_another_host_that_resolves_to_loopback_reads_nothing(site, host, status):
    request = urllib.request.Request(site.url, headers={"Host": host})
    try:
        got = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        got = error
    assert got.status == status, (host, got.status)
    assert "script-src 'self'" in got.headers["content-security-policy"]

