#!/usr/bin/env python3
"""Measures searches of the page over many traces in a folder, or in a lake.

    .ci/search_times.py ATTEST [--traces 50000] [--lake] [--runs 3]

ATTEST is a release build with the feature `lake`. The traces are conversations of 1 to 3 KB. One of them in a thousand is
about a refund, and the oldest one contains a word that no other one has. Prints the seconds until the first hit arrived and until the
search had read everything, as medians of the runs, and the peak memory of the process.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

WORDS = "the order was sent to your address yesterday and should arrive within three days please wait".split()
RARE = "quokka"
FOLDERS = 100
DAY = 24 * 60 * 60

QUERIES = [RARE, "refund", "order", "log.rating>=4", "usage.total_tokens>1000", "model:gpt-4o created:2026-11", "nowhere"]


def trace(number, count):
    """Returns a conversation of four turns whose words depend on the number only."""
    text = lambda salt: " ".join(WORDS[(number * salt + place) % len(WORDS)] for place in range(60 + number * salt % 100))
    contents = [f"Question {number}: {text(3)}", text(5), text(7), text(11)]
    if number % 1_000 == 500:
        contents[2] += " I want a refund"
    if number == count - 1:
        contents[0] += f" {RARE}"
    messages = [{"role": ["user", "assistant"][place % 2], "content": content} for place, content in enumerate(contents)]
    return {
        "id": str(number),
        "model": ["gpt-4o", "claude-sonnet-4-5", "OLMoE"][number % 3],
        "created": 1_796_000_000 - number * 60,
        "messages": messages,
        "usage": {"prompt_tokens": number % 900, "completion_tokens": 400, "total_tokens": number % 900 + 400},
        "log": {"rating": number % 5, "session_id": f"s-{number // 10}"},
    }


def fill(folder, count):
    """Writes the traces. Each is one second older than the one before."""
    now = time.time()
    for number in range(count):
        parent = folder / f"fingerprint-{number % FOLDERS}"
        if number < FOLDERS:
            parent.mkdir(parents=True)
        file = parent / f"{number}.json"
        file.write_text(json.dumps(trace(number, count)))
        os.utime(file, (now - number, now - number))


def search(url, query):
    """Returns the seconds until the first hit and until the end, and what the page says at the end."""
    start = time.monotonic()
    first, text = None, b""
    with urllib.request.urlopen(f"{url}traces?{urllib.parse.urlencode({'q': query})}") as response:
        while part := response.read1():
            text += part
            if first is None and b"data-key" in text:
                first = time.monotonic() - start
    end = time.monotonic() - start
    said = re.search(r'<p class="more">(.*?)<', text.decode(), re.DOTALL)
    return first, end, said[1].strip() if said else "no end"


def peak(process):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) // 1024


def measure(attest, options, runs):
    """Prints one row for each query."""
    command = [attest, "view", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as view:
        url = view.stdout.readline().split()[-1]
        search(url, "fingerprint:none")  # opens the place
        print("| query | first hit | end | result |\n|---|---|---|---|")
        for query in QUERIES:
            # The page remembers a result by its text, so each run has another one.
            times = [search(url, f"{query}{' ' * run}") for run in range(runs)]
            first = [first for first, _, _ in times if first is not None]
            shown = f"{statistics.median(first):.2f} s" if first else "none"
            print(f"| `{query}` | {shown} | {statistics.median(end for _, end, _ in times):.2f} s | {times[0][2]} |", flush=True)
        print(f"\nMemory at the peak: {peak(view)} MiB")
        view.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attest")
    parser.add_argument("--traces", type=int, default=50_000)
    parser.add_argument("--lake", action="store_true", help="search a lake of the traces")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, lake = Path(place, "traces"), Path(place, "lake")
        fill(folder, options.traces)
        if options.lake:
            subprocess.run([options.attest, "lake", "sync", "--quiet", "--folder", folder, "-o", lake], check=True)
        measure(options.attest, ["--folder", folder, *(["--lake", lake] if options.lake else [])], options.runs)


if __name__ == "__main__":
    main()
