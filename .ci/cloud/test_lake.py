"""With Queries=on, the lake keeps itself: the stack's own function, queues and schedules make it equal to the bucket."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from check import check, failures
from stack import ROOT, Stack, trace
from test_variants import EVENTS, reported_events

TRACES = 2_000

# DuckDB's names of processors.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# S3 encodes these keys in its notifications.
MODELS = ["gpt-4o", "my model+1", "Grüße/ß", "a%2Fb"]


@pytest.fixture(scope="module")
def lake(aws):
    return Stack(aws, "lake").deploy(Queries="on")


def post(stack, count):
    """Stores traces and returns their keys."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: stack.post(trace(model=MODELS[n % len(MODELS)])), range(count)))
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json()["key"] for answer in answers]


def schedules(stack):
    """Returns the targets of the schedules by their task."""
    events = boto3.client("events")
    rules = [of["PhysicalResourceId"] for of in stack.resources().values() if of["ResourceType"] == "AWS::Events::Rule"]
    targets = [target for rule in rules for target in events.list_targets_by_rule(Rule=rule)["Targets"]]
    return {json.loads(target["Input"])["task"]: target for target in targets}


def run(stack, task):
    """Invokes the function as the schedule of this task does, and returns its report."""
    target = schedules(stack)[task]
    client = boto3.client("lambda", config=Config(read_timeout=900, retries={"max_attempts": 0}))
    answer = client.invoke(FunctionName=target["Arn"], Payload=target["Input"])
    report = json.load(answer["Payload"])
    assert "FunctionError" not in answer, report
    return report


def run_until(stack, task, rows, seconds=120):
    """Repeats a run until the lake has this number of rows, because notifications arrive later than the objects.

    The schedule may run the task at the same time.
    """
    deadline = time.monotonic() + seconds
    while (report := run(stack, task))["rows"] != rows:
        assert time.monotonic() < deadline, report


def keys(stack):
    """Returns the keys of the rows, as two independent readers of Delta find them."""
    command = [os.environ["LAKE_READERS"], ROOT / ".ci/lake_readers.py", stack.outputs["LakeUrl"], stack.aws.removeprefix("http://")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_trace_is_in_the_lake_once_and_a_deleted_one_is_gone_after_the_nightly_run(lake):
    assert reported_events(lake) == EVENTS
    stored = post(lake, TRACES)
    run_until(lake, "ingest", TRACES)
    assert keys(lake) == sorted(stored) == sorted(lake.keys())
    deleted = stored[:100]
    lake.s3.delete_objects(Bucket=lake.bucket, Delete={"Objects": [{"Key": key} for key in deleted]})
    run_until(lake, "maintain", TRACES - len(deleted))
    assert keys(lake) == sorted(stored[100:])
    # The monthly run finds nothing to do.
    report = run(lake, "sync")
    assert (report["added"], report["removed"], report["rows"]) == (0, 0, TRACES - 100)


def test_forget_deletes_the_traces_for_which_a_condition_holds(lake, tmp_path):
    before = keys(lake)
    [stored] = post(lake, 1)
    run_until(lake, "ingest", len(before) + 1)
    # DuckDB's CLI finds its extensions in the home directory.
    packages = Path(os.environ["LAKE_READERS"]).parents[1].glob("lib/*/site-packages/duckdb_extension_*/extensions/*/*")
    for extension in packages:
        folder = tmp_path / ".duckdb/extensions" / extension.parent.name / f"linux_{ARCHITECTURES[platform.machine()]}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(extension, folder)
    path = f"{Path(os.environ['LAKE_READERS']).parent}:{os.environ['PATH']}"
    command = [os.environ["ATTEST"], "forget", "--where", f"key = '{stored}'", "--yes", "--bucket", lake.bucket]
    command += ["--lake", lake.outputs["LakeUrl"]]
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "forgotten.json").read_text())["keys"] == [stored]
    assert keys(lake) == before
    assert stored not in lake.keys()


def test_the_monthly_run_finds_what_no_notification_reported(lake):
    before = keys(lake)
    lake.s3.put_bucket_notification_configuration(Bucket=lake.bucket, NotificationConfiguration={})
    [unreported] = post(lake, 1)
    run(lake, "sync")
    assert keys(lake) == sorted([*before, unreported])
    lake.deploy(Queries="off")
    lake.deploy(Queries="on")
    assert reported_events(lake) == EVENTS


def test_an_existing_bucket_reports_to_the_lake_after_the_command_of_the_output(aws):
    boto3.client("s3").create_bucket(Bucket="existing-lake")
    stack = Stack(aws, "existing-lake").deploy(BucketName="existing-lake", Queries="on")
    post(stack, 3)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", stack.outputs["NotificationsCommand"]], env=environment, check=True)
    assert reported_events(stack) == EVENTS
    assert run(stack, "sync")["rows"] == 3
    post(stack, 2)
    run_until(stack, "ingest", 5)
    assert keys(stack) == sorted(stack.keys())


def test_the_check_finds_the_notifications_and_the_schedules(lake):
    lines, _ = check(lake)
    assert not failures(lines)
    for promise in ["the bucket reports stored and removed objects to the lake", "the schedules of the lake are enabled"]:
        assert lines[promise]["verdict"] == "holds", lines[promise]


def test_a_message_that_is_no_notification_does_not_stop_the_others(lake):
    boto3.client("sqs").send_message(QueueUrl=lake.named("StoredQueue"), MessageBody="hello")
    rows = run(lake, "ingest")["rows"]
    [stored] = post(lake, 1)
    run_until(lake, "ingest", rows + 1)
    assert stored in keys(lake)
