"""A call through any other library: `log_trace` takes the request and the response."""

import attest_client

request = {"model": "my-model", "messages": [{"role": "user", "content": "Say hello."}]}
response = {
    "created": 1795305600,
    "model": "my-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}
attest_client.log_trace(request, response, user="u-1")
