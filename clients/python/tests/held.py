"""Holds a trace and replaces it. Kills itself at a given file operation: opening, writing, closing, renaming or deleting a file.

The arguments are the number of this operation, and `created` of the held trace. The replacement's `created` is one greater.
"""

import os
import signal
import sys

from attest_client import client

left, created = map(int, sys.argv[1:])


def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return call


client.Client.start = lambda _: None  # nothing is sent, and no thread opens a file
assert client.is_configured()
for name in ("open", "write", "close", "rename", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
held = client.hold({"model": "m", "messages": [], "created": created}, 60)
print("held", flush=True)
client.put({"model": "another", "messages": [], "created": created + 1}, held)
print("put", flush=True)
os._exit(0)
