"""Prints the trace of every prefix of recorded streams, for comparison with the TypeScript client.

    python prefixes.py FILE...

A line contains the file name, the prefix length, and the trace. Prefixes with the same trace as the previous one are skipped.
"""

import pathlib
import sys

from attest_client import mapping, streams, values


def main():
    for path in map(pathlib.Path, sys.argv[1:]):
        api, body = path.name.partition(".")[0], path.read_bytes()
        last = None
        for end in range(len(body) + 1):
            stream = streams.assemble(api, body[:end])
            trace = mapping.to_trace(
                api,
                {"model": "requested", "messages": [{"role": "user", "content": "a"}]},
                stream.response,
                created=1,
                incomplete=stream.incomplete("broken"),
                error=stream.error,
                unmerged=stream.unmerged,
            )
            line = values.dumps(trace)
            if line != last:
                sys.stdout.buffer.write(b"%s %d %s\n" % (path.name.encode(), end, line))
            last = line


if __name__ == "__main__":
    main()
