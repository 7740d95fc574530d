"""Tests that `attest check` confirms each promise of the default stack, or states why it cannot check the promise here."""

from check import check, failures, unchecked


def test_every_promise_holds_or_says_why_it_is_not_checked(stack):
    lines, left = check(stack)
    assert not failures(lines)
    assert unchecked(lines) == {
        "an unsigned request with a valid API key gets 403": "requests are not signed",
        "TLS below 1.2 is refused": "the URL is not HTTPS",
        "a put without If-None-Match is denied": "this stand-in for AWS does not enforce policies",
        "the alarms exist and are enabled": "AlarmEmail is none",
        "no alarm is in state ALARM": "AlarmEmail is none",
        "the e-mail subscription of the alarms is confirmed": "AlarmEmail is none",
        "the metrics arrive": "this stand-in for AWS does not read metrics from the log",
        "the bucket reports stored and removed objects to the lake": "Queries is off",
        "the schedules of the lake are enabled": "Queries is off",
        "a run of the lake succeeds": "Queries is off",
        "each task of the lake has succeeded in time": "Queries is off",
        "the lake has no dead letters": "Queries is off",
        "a stored trace becomes one row of the lake": "Queries is off",
        "the saved queries run": "Queries is off",
    }
    assert left == []
    assert not [key for key in stack.keys() if key.startswith("attest-check/")]
