"""Kills the local endpoint ten times while a standard SDK exports 5,000 spans.

    ATTEST=target/debug/attest python3 crates/otlp/recordings/kills.py [python|node]

Each SDK runs in its own environment. Every span in a batch that the exporter reports as exported must be stored once and complete.
The exporter may drop other batches, and reports those.
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / ".ci"))

import endpoint
from record import node_command, python_command

SPANS, BATCH, KILLS, KEY = 5_000, 50, 10, "kills"
NODE_PACKAGES = ["@opentelemetry/sdk-trace@3.1.0", "@opentelemetry/exporter-trace-otlp-proto@0.301.0"]
COMMANDS = {
    "python": lambda: python_command("sdk", [], "exporter.py"),
    "node": lambda: node_command("sdk-node", NODE_PACKAGES, "exporter.cjs"),
}


def files(receiver):
    folder = f"{receiver.folder}/m"  # the spans' model
    return len(os.listdir(folder)) if os.path.exists(folder) else 0


def export(sdk, receiver):
    """Exports the spans, and kills the receiver during some batches, every other time after it has stored a part of the batch.

    Returns the span numbers by id, first of the exported spans, then of the dropped ones.
    """
    arguments = [f"{receiver.url}/v1/traces", KEY, str(SPANS), str(BATCH)]
    exported, dropped, batches, kills, parts = {}, {}, 0, 0, 0
    with subprocess.Popen([*COMMANDS[sdk](), *arguments], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            result, *spans = line.split()
            if result == "begins":
                if batches % (SPANS // BATCH // KILLS) == 0 and kills < KILLS:
                    before = files(receiver)
                    while kills % 2 and files(receiver) == before:
                        pass  # until the first span of the batch is stored
                    receiver.kill()
                    parts += 0 < (files(receiver) - before) % BATCH
                    receiver.start()
                    kills += 1
                batches += 1
                continue
            numbers = dict(span.split("=") for span in spans)
            {"exported": exported, "dropped": dropped}[result].update(numbers)
    assert process.returncode == 0 and kills == KILLS
    assert parts, "no kill interrupted a batch"
    print(f"{sdk}: {parts} of {kills} kills left a part of a batch")
    return exported, dropped


def check(sdk):
    with endpoint.temporary(KEY) as receiver:
        exported, dropped = export(sdk, receiver)
        stored = receiver.traces()
    by_id = {trace["id"]: trace for trace in stored}
    print(f"{sdk}: {len(exported)} exported, {len(dropped)} reported as dropped, {len(stored)} stored", flush=True)
    sent = exported | dropped
    assert len(exported) + len(dropped) == len(sent) == SPANS
    assert len(exported) > SPANS // 2, "the exporter dropped most spans"
    assert len(by_id) == len(stored), "an id is stored twice"
    assert by_id.keys() <= sent.keys(), "an id is not that of a span"
    missing = exported.keys() - by_id.keys()
    assert not missing, f"{len(missing)} exported spans are not stored"
    for key, trace in by_id.items():
        assert trace["messages"] == [{"role": "user", "content": f"call {sent[key]}"}], trace


if __name__ == "__main__":
    for name in sys.argv[1:] or COMMANDS:
        check(name)
