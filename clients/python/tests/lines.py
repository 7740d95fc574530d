"""Maps a line of a provider's log as `import --from` does, so that the shared cases also test this package."""

from attest_client import mapping, times

TIMES = ("created", "created_at", "timestamp")


def to_trace(source, line):
    line = dict(line)
    if source == "litellm":
        return mapping.litellm_to_trace(line)
    if source == "openai-batch":
        request = line.pop("request", {})
        envelope = dict(line["response"])
        response = envelope.pop("body")
        line["response"] = envelope
        api = mapping.OPENAI_RESPONSES if response.get("object") == "response" else mapping.OPENAI_CHAT
        return mapping.to_trace(api, request, response, rest=("log", line))
    if "request" not in line:  # a stored response, which contains the conversation too
        member = "input" if source == mapping.OPENAI_RESPONSES else "messages"
        request = {member: line.pop(member)} if member in line else {}
        return mapping.to_trace(source, request, line)
    request = line.pop("request")
    response = line.pop("response") if isinstance(line.get("response"), dict) else None
    error = line.pop("error") if line.get("error") is not None else None
    incomplete = line.pop("incomplete") if isinstance(line.get("incomplete"), str) and line["incomplete"] else None
    created = next((time for time in map(times.seconds, map(line.get, TIMES)) if time is not None), None)
    return mapping.to_trace(
        source, request, response, created=created, incomplete=incomplete, error=error, rest=("log", line)
    )


def rebuild(source, trace):
    if source == "litellm":
        return mapping.rebuild_litellm(trace)
    request, response = mapping.rebuild(trace)
    line = dict(trace.get("log", {}))
    if source == "openai-batch":
        line["response"] = {**line["response"], "body": response}
        return line | ({"request": request} if request else {})
    line |= {"request": request} | ({"response": response} if response is not None else {})
    return line | {name: trace[name] for name in ("error", "incomplete") if name in trace}


def as_call(source, line):
    """Splits a line with a stored response into a request and a response."""
    if source in (mapping.OPENAI_CHAT, mapping.OPENAI_RESPONSES) and "request" not in line:
        request = {name: line[name] for name in ("messages", "input") if name in line}
        return {"request": request, "response": {name: line[name] for name in line if name not in request}}
    return line
