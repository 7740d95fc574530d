"""Tests that with Queries=on, the stack's function, queues and schedules keep the lake in step with the bucket."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import boto3
import pytest
from check import check, failures
from lake import keys, post, run, run_until
from stack import Stack
from variants import EVENTS, reported_events

TRACES = 2_000

# DuckDB's names for processor architectures.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@pytest.fixture(scope="module")
def lake(aws):
    return Stack(aws, "lake").deploy(Queries="on")


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
    # DuckDB's CLI looks for its extensions in the home directory.
    packages = Path(os.environ["LAKE_READERS"]).parents[1].glob("lib/*/site-packages/duckdb_extension_*/extensions/*/*")
    for extension in packages:
        folder = tmp_path / ".duckdb/extensions" / extension.parent.name / f"linux_{ARCHITECTURES[platform.machine()]}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(extension, folder)
    path = f"{Path(os.environ['LAKE_READERS']).parent}:{os.environ['PATH']}"
    command = [os.environ["ATTEST"], "forget", "--where", f"key = '{stored}'", "--yes", "--bucket", lake.bucket]
    command += ["--lake", lake.outputs["LakeUrl"]]
    # The lake has recorded the S3 address that the function uses, 127.0.0.1, so the command must use the same one.
    s3 = os.environ["AWS_ENDPOINT_URL"].replace("localhost", "127.0.0.1")
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path, "AWS_ENDPOINT_URL": s3}
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


def test_the_check_finds_the_notifications_and_the_schedules(lake):
    lines, _ = check(lake)
    assert not failures(lines)
    for promise in [
        "the bucket reports stored and removed objects to the lake",
        "the schedules of the lake are enabled",
        "a run of the lake succeeds",
        "the lake has no dead letters",
    ]:
        assert lines[promise]["verdict"] == "holds", lines[promise]


def test_a_message_that_is_no_notification_does_not_stop_the_others(lake):
    boto3.client("sqs").send_message(QueueUrl=lake.named("StoredQueue"), MessageBody="hello")
    rows = run(lake, "ingest")["rows"]
    [stored] = post(lake, 1)
    run_until(lake, "ingest", rows + 1)
    assert stored in keys(lake)
