"""Counts the calls that SIGKILL loses: processes call a model through an SDK, and are killed at random times.

    ATTEST=target/debug/attest ROUNDS=200 python bench/kills.py openai|litellm

Half of the calls are streams. A call counts once it has returned, or its stream has ended. The processes are forked, so that an
SDK is imported once. Every call that counts must be stored, and none twice. SEED repeats a run.
"""

import importlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
LONGEST = 0.4  # the latest kill, in seconds after a process's first call
MESSAGES = [{"role": "user", "content": "Hi"}]
ROUNDS = int(os.environ.get("ROUNDS", "200"))


def openai_call(url):
    import openai

    import attest_client

    create = openai.OpenAI(base_url=url, api_key="x", http_client=attest_client.http_client()).chat.completions.create
    return lambda **options: create(model="gpt-4o", messages=MESSAGES, **options)


def litellm_call(url):
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    import attest_client.litellm

    litellm.callbacks = [attest_client.litellm.logger]
    litellm.suppress_debug_info = True
    return lambda **options: litellm.completion("openai/gpt-4o", api_base=url, api_key="x", messages=MESSAGES, **options)


def call_forever(call, name, pipe):
    number = 0
    while True:
        number += 1
        options = {"stream": True} if number % 2 else {}
        answer = call(user=f"{name}-{number}", **options)
        if options:
            for _ in answer:
                pass
        os.write(pipe, f"{name}-{number}\n".encode())


def import_what_a_call_imports(call):
    """Makes two calls in another process, and imports their modules into this one, because LiteLLM's first call takes seconds."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        call(user="first")
        for _ in call(user="second", stream=True):
            pass
        os.write(writer, "\n".join(sys.modules).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with open(reader) as modules:
        for name in modules.read().split("\n"):
            try:
                importlib.import_module(name)
            except Exception:
                pass  # a module that cannot be imported by itself
    os.wait()


def killed(call, name):
    """Forks a process, kills it, and returns the calls that it had completed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            call_forever(call, name, writer)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(writer)
    with open(reader, "rb") as output:
        calls = [output.readline()]
        time.sleep(random.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "the process ended by itself"
        calls += output.readlines()
    return [line.decode().strip() for line in calls if line.endswith(b"\n")]


def main():
    from stand_ins import Endpoint

    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    random.seed(seed)
    folder = pathlib.Path(tempfile.mkdtemp())
    endpoint = Endpoint(folder / "traces")
    script = HERE.parents[1] / "libraries" / "provider.py"
    server = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    os.environ |= {"ATTEST_URL": endpoint.url, "ATTEST_API_KEY": "recipe", "ATTEST_SPOOL": str(folder / "spool")}
    call = {"openai": openai_call, "litellm": litellm_call}[sys.argv[1]](server.stdout.readline().strip() + "/v1")
    import_what_a_call_imports(call)
    returned = [name for place in range(ROUNDS) for name in killed(call, f"r{place}")]

    import attest_client

    end = time.monotonic() + 120
    while not (attest_client.flush(30) and not any(folder.joinpath("spool").iterdir())):
        assert time.monotonic() < end, "the spool is not empty"
    stored = [trace["request"]["user"] for trace in endpoint.traces()]
    lost = set(returned) - set(stored)
    print(f"{sys.argv[1]}: {ROUNDS} kills, {len(returned)} calls returned, {len(lost)} lost; {len(stored)} stored (seed {seed})")
    server.kill()
    endpoint.kill()
    sys.exit(bool(lost) or len(set(stored)) != len(stored))


if __name__ == "__main__":
    main()
