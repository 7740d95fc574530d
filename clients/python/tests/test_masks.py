"""Tests that credentials are masked, and that the ready-made masks change every string. The TypeScript client shares the cases."""

import pathlib

import pytest
from test_capture import provider

import attest_client
from attest_client import masks, values
from attest_client.secrets import without_secrets
from stand_ins import Server

FOLDER = pathlib.Path(__file__).parents[3] / "examples" / "masking"
TEXTS = masks.all_of(masks.texts(masks.EMAIL, masks.CARD), masks.texts(masks.PHONE, masks.KEY))


def cases(name):
    return [pytest.param(case["trace"], case["masked"], id=case["name"]) for case in values.loads((FOLDER / name).read_bytes())]


@pytest.mark.parametrize(("trace", "masked"), cases("secrets.json"))
def test_members_that_hold_credentials_are_masked(trace, masked):
    before = values.dumps(trace)
    assert values.dumps(without_secrets(trace)) == values.dumps(masked)
    assert values.dumps(trace) == before


@pytest.mark.parametrize(("trace", "masked"), cases("texts.json"))
def test_the_masks_change_every_text(trace, masked):
    assert values.dumps(TEXTS(trace)) == values.dumps(masked)


TOOL = {"type": "mcp", "server_label": "crm", "authorization": "SECRET-1", "headers": {"Authorization": "Bearer SECRET-2"}}


@pytest.mark.parametrize("keep_secrets", [False, True])
def test_no_credential_is_written_unless_it_is_asked_for(logged, endpoint, keep_secrets):
    request = {"model": "gpt-5", "input": "Hi jo@b.example", "tools": [TOOL]}
    seen = []
    mask = masks.all_of(lambda trace: seen.append(values.dumps(trace)) or trace, masks.texts(masks.EMAIL))
    with Server(lambda *call: seen.append(call[2]) or provider(*call)) as server:
        client = attest_client.http_client(mask=mask, keep_secrets=keep_secrets, extra={"user": "u-1", "api_key": "SECRET-3"})
        client.post(f"{server.url}/v1/responses", json=request)
    attest_client.log_trace(request, {}, mask=mask, keep_secrets=keep_secrets, user="u-1", api_key="SECRET-3")
    assert len(logged()) == 2
    sent, *masked = seen
    assert b"SECRET-1" in sent
    for text in [*masked, *(path.read_bytes() for path in endpoint.paths())]:
        assert (b"SECRET" in text) == keep_secrets
        assert b'"user":"u-1"' in text
    assert all(b"Hi [email]" in path.read_bytes() for path in endpoint.paths())
