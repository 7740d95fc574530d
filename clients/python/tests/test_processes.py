"""Tests processes that end in various ways, fork, or start other processes."""

import os
import random
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

import attest_client
from attest_client import spool
from stand_ins import wait_until

PREPARE = """
import os, sys, signal, multiprocessing, threading, atexit
import attest_client
def log(number):
    attest_client.log_trace({"model": "m", "messages": []}, {"created": number})
"""


def files(tmp_path):
    return [path for path in (tmp_path / "spool").glob("*.jsonl") if path.name != spool.REJECTED]


def run(program, variables, tmp_path, **options):
    script = tmp_path / "program.py"
    script.write_text(PREPARE + program)
    return subprocess.run([sys.executable, script], env=variables, capture_output=True, text=True, timeout=120, **options)


def created(endpoint):
    return [trace["created"] for trace in endpoint.traces()]


ENDS = {
    "the end of the program": "log(1); log(2)",
    "sys.exit": "log(1); log(2); sys.exit(3)",
    "an exception": "log(1); log(2); 1 / 0",
    "os._exit": "log(1); log(2); os._exit(0)",
    "SIGKILL": "log(1); log(2); os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "log(1); log(2); os.kill(os.getpid(), signal.SIGTERM)",
    "a handler at exit": "atexit.register(log, 2); log(1)",
    "a handler at exit that runs last": "atexit.register(log, 1); import attest_client.client; log(2)",
    "an object's finalizer": "class A:\n    def __del__(self): log(2)\na = A(); log(1)",
    "an object's finalizer that makes the first call": "class A:\n    def __del__(self): log(1); log(2)\na = A()",
    "a thread that outlives the main thread": (
        "main = threading.current_thread()\nthreading.Thread(target=lambda: (main.join(), log(2))).start()\nlog(1)"
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_end_of_a_process_loses_a_trace(endpoint, environment, tmp_path, end):
    done = run(ENDS[end], environment(endpoint.url), tmp_path)
    assert "Traceback" not in done.stderr or end == "an exception", done.stderr
    assert attest_client.flush(20)
    assert created(endpoint) == [1, 2]
    assert files(tmp_path) == []


FORKS = {
    "os.fork before the first call": "pid = os.fork()\nlog(1 if pid else 2)\nif pid: os.waitpid(pid, 0)",
    "os.fork after the first call": "log(1)\npid = os.fork()\nif pid == 0:\n    log(2)\n    os._exit(0)\nos.waitpid(pid, 0)",
    "a child that outlives its parent": (
        "log(1)\nparent = os.getpid()\nif os.fork() == 0:\n"
        "    while os.getppid() == parent:\n        threading.Event().wait(0.01)\n    log(2)\n    sys.exit()"
    ),
    "multiprocessing with fork": (
        "if __name__ == '__main__':\n    multiprocessing.set_start_method('fork')\n    log(1)\n"
        "    child = multiprocessing.Process(target=log, args=(2,))\n    child.start(); child.join()"
    ),
    "multiprocessing with spawn": (
        "if __name__ == '__main__':\n    multiprocessing.set_start_method('spawn')\n    log(1)\n"
        "    child = multiprocessing.Process(target=log, args=(2,))\n    child.start(); child.join()"
    ),
    "multiprocessing with forkserver": (
        "if __name__ == '__main__':\n    multiprocessing.set_start_method('forkserver')\n    log(1)\n"
        "    child = multiprocessing.Process(target=log, args=(2,))\n    child.start(); child.join()"
    ),
    "a pool": (
        "if __name__ == '__main__':\n    with multiprocessing.get_context('fork').Pool(4) as pool:\n"
        "        pool.map(log, [1, 2])"
    ),
    "a fork while threads log": (
        "threads = [threading.Thread(target=lambda: [log(1) for _ in range(200)]) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "children = []\nfor _ in range(10):\n    pid = os.fork()\n    if pid == 0:\n        log(2)\n        os._exit(0)\n"
        "    children.append(pid)\n[os.waitpid(pid, 0) for pid in children]\n[thread.join() for thread in threads]"
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
def test_no_fork_loses_a_trace(endpoint, environment, tmp_path, fork):
    done = run(FORKS[fork], environment(endpoint.url), tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    expected = [1] * 800 + [2] * 10 if fork == "a fork while threads log" else [1, 2]

    def stored():
        assert attest_client.flush(20)
        return len(endpoint.paths()) == len(expected)

    wait_until(stored)
    assert created(endpoint) == expected and files(tmp_path) == []


def test_children_of_multiprocessing_send_before_they_end(endpoint, environment, tmp_path):
    program = FORKS["multiprocessing with fork"].replace("    log(1)\n", "")
    assert run(program, environment(endpoint.url), tmp_path).returncode == 0
    assert created(endpoint) == [2] and files(tmp_path) == []


WEB = """
import attest_client
def log(number):
    attest_client.log_trace({"model": "m", "messages": []}, {"created": number})
if "PRELOADED_CALL" in __import__("os").environ:
    log(1_000)
def app(environ, start_response):
    log(int(environ["PATH_INFO"][1:]))
    start_response("200 OK", [("content-length", "0")])
    return [b""]
"""


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn_loses_no_trace(endpoint, environment, tmp_path, options, signal_):
    (tmp_path / "web.py").write_text(WEB)
    variables = {**environment(endpoint.url), "PRELOADED_CALL": "1"} if options else environment(endpoint.url)
    command = [sys.executable, "-m", "gunicorn", "web:app", "--workers", "3", "--bind", "127.0.0.1:0", *options]
    server = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True)
    url = next(line for line in server.stderr if "Listening at" in line).split("Listening at: ")[1].split()[0]
    threading.Thread(target=server.stderr.read, daemon=True).start()
    for number in range(1, 31):
        urllib.request.urlopen(f"{url}/{number}", timeout=30).close()
    if signal_ == signal.SIGKILL:
        os.killpg(server.pid, signal.SIGKILL)
    else:
        server.send_signal(signal_)
    server.wait(30)
    expected = {*range(1, 31), *([1_000] if options else [])}

    def stored():
        assert attest_client.flush(20)
        return set(created(endpoint)) == expected

    wait_until(stored)
    assert files(tmp_path) == []


WORKER = """
first, count = int(sys.argv[1]), int(sys.argv[2])
for number in range(first, first + count):
    log(number)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_no_trace_is_lost_if_processes_and_the_endpoint_are_killed(endpoint, environment, tmp_path):
    """Eight processes log traces. Each is killed repeatedly with SIGKILL at random times. The endpoint is killed five times."""
    total = int(os.environ.get("ATTEST_KILL_TRACES", "800"))
    most = int(os.environ.get("ATTEST_KILL_WITHIN", total // 8 // 3 + 1))  # the most traces that a process logs before it is killed
    variables = environment(endpoint.url)
    script = tmp_path / "worker.py"
    script.write_text(PREPARE + WORKER)
    random.seed(22)
    share = total // 8
    acknowledged, kills, lock = set(), [0], threading.Lock()

    def worker(place):
        """Logs one process's share of the numbers. After a kill, the next process starts with the first unacknowledged number."""
        number, end = place * share + 1, (place + 1) * share + 1
        while number < end:
            command = [sys.executable, script, str(number), str(end - number)]
            process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            victim = random.randrange(most) + number
            for output in process.stdout:
                number = int(output) + 1
                acknowledged.add(number - 1)
                if number > victim and number < end:
                    process.send_signal(signal.SIGKILL)
                    with lock:
                        kills[0] += 1
                    for rest in process.stdout:
                        if rest.endswith(b"\n"):
                            number = int(rest) + 1
                            acknowledged.add(number - 1)
                    break
            process.wait()

    threads = [threading.Thread(target=worker, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for nth in range(1, 6):
        wait_until(lambda nth=nth: len(acknowledged) >= total * nth // 6, 300)
        endpoint.kill()
        endpoint.start()
    for thread in threads:
        thread.join()
    assert acknowledged == set(range(1, total + 1)) and kills[0] >= 8
    wait_until(lambda: attest_client.flush(30) and not files(tmp_path), 300)
    stored = created(endpoint)
    assert set(stored) >= acknowledged
    assert len({trace["id"] for trace in endpoint.traces()}) == len(stored)
    # A call that a SIGKILL interrupted before it returned may be stored too, and its number is logged again.
    assert len(stored) - len(set(stored)) <= kills[0]
    print(f"\n{total} traces, {kills[0]} processes killed, endpoint killed 5 times: {len(set(stored))} stored, spool empty")


def test_every_file_of_the_spool_can_be_imported(endpoint, environment, tmp_path):
    program = "from attest_client import client as l; l.THREADS = 0; l.EXIT_SECONDS = 0; log(1); log(2)"
    run(program, environment(endpoint.url), tmp_path)
    [file] = files(tmp_path)
    endpoint.imports(file)
    assert created(endpoint) == [1, 2]
    assert attest_client.flush(20)
    assert created(endpoint) == [1, 2], "each once"
