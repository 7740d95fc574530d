"""`log_trace` against the local endpoint."""


import attest_client


def test_smoke(logged):
    attest_client.log_trace({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, {"created": 3}, user="u")
    [trace] = logged()
    assert trace["log"] == {"user": "u"}
    assert trace["created"] == 3
