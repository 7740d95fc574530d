"""Tests real S3 clients against the local endpoint's S3: each lists, reads, writes and deletes as its users do.

ATTEST is the path of the command. The clients are installed beside the Python interpreter, except for rclone.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import botocore
import duckdb
import duckdb_extension_httpfs
import endpoint
import minio
import pytest
import s3fs

BUCKET = "my-traces"
REGION = "us-east-1"
PAGES = 2_050  # more than two pages of a listing
OBJECTS = {
    "gpt-4o/7d4f2a90": b'{"id": "7d4f2a90"}',
    "gpt-4o/2 b,it's": b'{"id": "2 b"}',
    "allenai/OLMoE-1B-7B/1": b'{"id": "1", "text": "%s"}' % (b"x" * 100_000),
    "a%2Fb/\u00fc+&": '{"id": "\u00fc"}'.encode(),
}
BINARIES = Path(sys.executable).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("s3") / BUCKET


@pytest.fixture(scope="module")
def served(folder):
    process, _, s3 = endpoint.start(folder, "s3-clients")
    yield s3
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def url(served):
    return served.url


@pytest.fixture(scope="module")
def boto(served):
    keys = {"aws_access_key_id": served.access_key, "aws_secret_access_key": served.secret_key}
    return boto3.client("s3", endpoint_url=served.url, region_name=REGION, **keys)


@pytest.fixture(autouse=True)
def objects(boto, folder):
    """Gives every test the same initial objects."""
    for key in all_keys(boto):
        boto.delete_object(Bucket=BUCKET, Key=key)
    assert [path.name for path in folder.iterdir() if not path.name.startswith("~")] == []
    for key, body in OBJECTS.items():
        boto.put_object(Bucket=BUCKET, Key=key, Body=body, IfNoneMatch="*")
    return OBJECTS


@pytest.fixture
def many(boto, folder):
    """Creates more objects than fit into two pages of a listing."""
    (folder / "pages").mkdir()
    names = [f"pages/{number:04}" for number in range(PAGES)]
    for name in names:
        (folder / f"{name}.json").write_text("{}")
    yield names
    shutil.rmtree(folder / "pages", ignore_errors=True)


def all_keys(boto):
    pages = boto.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def run(*command, env, fails=False):
    """Runs a program. Returns its standard output, or its standard error if it must fail."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode != 0) == fails, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr + done.stdout if fails else done.stdout


def files_below(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def credentials(served, tmp_path):
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **served.environment,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_MAX_ATTEMPTS": "1",
        "BUCKET": BUCKET,
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }


def test_boto3_lists_in_both_versions(boto, many):
    expected = sorted([*OBJECTS, *many], key=str.encode)
    for operation in ["list_objects_v2", "list_objects", "list_object_versions"]:
        for delimiter in [{}, {"Delimiter": ""}]:
            pages = boto.get_paginator(operation).paginate(Bucket=BUCKET, **delimiter)
            objects = [found for page in pages for found in page.get("Contents", []) + page.get("Versions", [])]
            assert [found["Key"] for found in objects] == expected, operation
    page = boto.list_objects_v2(Bucket=BUCKET, Delimiter="/")
    assert [common["Prefix"] for common in page["CommonPrefixes"]] == ["a%2Fb/", "allenai/", "gpt-4o/", "pages/"]
    assert boto.list_objects_v2(Bucket=BUCKET, MaxKeys=0)["IsTruncated"] is False
    assert boto.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
    assert [bucket["Name"] for bucket in boto.list_buckets()["Buckets"]] == [BUCKET]


def test_boto3_reads_objects_and_ranges_under_conditions(boto):
    for key, body in OBJECTS.items():
        got = boto.get_object(Bucket=BUCKET, Key=key)
        assert (got["Body"].read(), got["ContentType"]) == (body, "application/json")
        head = boto.head_object(Bucket=BUCKET, Key=key)
        assert (head["ContentLength"], head["ETag"]) == (len(body), got["ETag"])
        assert boto.get_object(Bucket=BUCKET, Key=key, Range="bytes=1-5")["Body"].read() == body[1:6]
        boto.get_object(Bucket=BUCKET, Key=key, IfMatch=head["ETag"])
        for condition, status in [
            ({"IfNoneMatch": head["ETag"]}, 304),
            ({"IfModifiedSince": head["LastModified"]}, 304),
            ({"IfMatch": '"another"'}, 412),
        ]:
            with pytest.raises(botocore.exceptions.ClientError) as error:
                boto.get_object(Bucket=BUCKET, Key=key, **condition)
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_boto3_never_overwrites(boto):
    for operation, code in [
        (lambda: boto.put_object(Bucket=BUCKET, Key="m/1", Body=b"{}"), "AccessDenied"),
        (lambda: boto.put_object(Bucket=BUCKET, Key="gpt-4o/7d4f2a90", Body=b"{}", IfNoneMatch="*"), "PreconditionFailed"),
        (lambda: boto.create_multipart_upload(Bucket=BUCKET, Key="m/1"), "AccessDenied"),
        (lambda: boto.copy_object(Bucket=BUCKET, Key="m/1", CopySource=f"{BUCKET}/gpt-4o/7d4f2a90"), "AccessDenied"),
    ]:
        with pytest.raises(botocore.exceptions.ClientError) as error:
            operation()
        assert error.value.response["Error"]["Code"] == code
    boto.copy_object(Bucket=BUCKET, Key="m/1", CopySource={"Bucket": BUCKET, "Key": "a%2Fb/\u00fc+&"}, IfNoneMatch="*")
    assert boto.get_object(Bucket=BUCKET, Key="m/1")["Body"].read() == OBJECTS["a%2Fb/\u00fc+&"]


def write(path, body):
    path.write_bytes(body)
    return path


def test_boto3_deletes_one_and_many(boto, many):
    boto.delete_object(Bucket=BUCKET, Key="gpt-4o/7d4f2a90")
    deleted = boto.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in [*many[:998], "a%2Fb/\u00fc+&", "no/such"]]}
    )
    assert len(deleted["Deleted"]) == 1_000 and "Errors" not in deleted
    assert all_keys(boto) == ["allenai/OLMoE-1B-7B/1", "gpt-4o/2 b,it's", *many[998:]]


def test_aws_lists_reads_and_syncs(credentials, many, tmp_path):
    def aws(*arguments):
        return run("aws", "s3", *arguments, env=credentials)

    assert len(aws("ls", "--recursive", f"s3://{BUCKET}").splitlines()) == len(OBJECTS) + PAGES
    assert "PRE allenai/" in aws("ls", f"s3://{BUCKET}/")
    assert "7d4f2a90" in aws("ls", f"s3://{BUCKET}/gpt-4o/")
    assert aws("cp", f"s3://{BUCKET}/gpt-4o/7d4f2a90", "-") == '{"id": "7d4f2a90"}'
    aws("sync", "--exclude", "pages/*", f"s3://{BUCKET}", tmp_path / "copy")
    assert files_below(tmp_path / "copy") == OBJECTS
    assert "download" not in aws("sync", "--exclude", "pages/*", f"s3://{BUCKET}", tmp_path / "copy")
    api = run("aws", "s3api", "list-objects", "--bucket", BUCKET, env=credentials)
    assert len(json.loads(api)["Contents"]) == len(OBJECTS) + PAGES


def test_aws_is_told_that_it_would_overwrite(credentials, boto, tmp_path):
    file = write(tmp_path / "new.json", b"{}")
    large = write(tmp_path / "large.json", b" " * 9_000_000)  # aws uploads it in parts
    for source in [file, large, f"s3://{BUCKET}/gpt-4o/7d4f2a90"]:
        assert "AccessDenied" in run("aws", "s3", "cp", source, f"s3://{BUCKET}/m/1", env=credentials, fails=True)
    assert "AccessDenied" in run(
        "aws", "s3api", "put-object", "--bucket", BUCKET, "--key", "m/1", "--body", file, env=credentials, fails=True
    )
    conditional = ["s3api", "put-object", "--bucket", BUCKET, "--key", "m/1", "--body", file, "--if-none-match", "*"]
    run("aws", *conditional, env=credentials)
    assert "PreconditionFailed" in run("aws", *conditional, env=credentials, fails=True)
    assert boto.get_object(Bucket=BUCKET, Key="m/1")["Body"].read() == b"{}"


def test_aws_deletes(credentials, boto, many):
    run("aws", "s3", "rm", f"s3://{BUCKET}/gpt-4o/7d4f2a90", env=credentials)
    run("aws", "s3", "rm", "--recursive", f"s3://{BUCKET}/pages/", env=credentials)
    assert sorted(all_keys(boto)) == sorted(set(OBJECTS) - {"gpt-4o/7d4f2a90"})


def test_the_deletion_commands_of_the_documentation_delete(credentials, boto, tmp_path):
    """The commands in docs/reading.md delete the objects whose keys are in keys.txt, in a bucket with versions or without."""
    page = Path("docs/reading.md").read_text()
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    blocks = [block for block in blocks if "<keys.txt" in block]
    assert len(blocks) == 2
    keys = ["gpt-4o/2 b,it's", "a%2Fb/\u00fc+&"]
    for block in blocks:
        (tmp_path / "keys.txt").write_text("".join(f"{key}\n" for key in keys))
        subprocess.run(["bash", "-euo", "pipefail", "-c", block], check=True, cwd=tmp_path, env=credentials)
        assert all_keys(boto) == ["allenai/OLMoE-1B-7B/1", "gpt-4o/7d4f2a90"]
        for key in keys:
            boto.put_object(Bucket=BUCKET, Key=key, Body=OBJECTS[key], IfNoneMatch="*")


def test_s5cmd_lists_copies_and_deletes(credentials, boto, many, tmp_path):
    def s5cmd(*arguments, **options):
        return run("s5cmd", "--endpoint-url", credentials["AWS_ENDPOINT_URL"], *arguments, env=credentials, **options)

    assert len(s5cmd("ls", f"s3://{BUCKET}/*").splitlines()) == len(OBJECTS) + PAGES
    assert s5cmd("cat", f"s3://{BUCKET}/gpt-4o/7d4f2a90") == '{"id": "7d4f2a90"}'
    s5cmd("sync", "--exclude", "*pages/*", f"s3://{BUCKET}/*", f"{tmp_path}/copy/")
    assert files_below(tmp_path / "copy") == OBJECTS
    file = write(tmp_path / "new.json", b"{}")
    assert "AccessDenied" in s5cmd("cp", file, f"s3://{BUCKET}/m/1", fails=True)
    assert "AccessDenied" in s5cmd("cp", f"s3://{BUCKET}/gpt-4o/7d4f2a90", f"s3://{BUCKET}/m/1", fails=True)
    s5cmd("rm", f"s3://{BUCKET}/gpt-4o/7d4f2a90")
    s5cmd("rm", f"s3://{BUCKET}/pages/*")
    assert sorted(all_keys(boto)) == sorted(set(OBJECTS) - {"gpt-4o/7d4f2a90"})


# Not "AWS", which ignores the path-style setting that an IP address requires.
@pytest.mark.parametrize("provider", ["Other", "Minio"])
def test_rclone_lists_syncs_and_deletes(provider, credentials, boto, many, tmp_path):
    def rclone(*arguments, **options):
        remote = {
            "RCLONE_CONFIG": str(tmp_path / "rclone.conf"),
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": provider,
            "RCLONE_CONFIG_S3_ENV_AUTH": "true",
            "RCLONE_CONFIG_S3_ENDPOINT": credentials["AWS_ENDPOINT_URL"],
            "RCLONE_CONFIG_S3_FORCE_PATH_STYLE": "true",
            "RCLONE_RETRIES": "1",
            "RCLONE_LOW_LEVEL_RETRIES": "1",
        }
        return run("rclone", *arguments, env={**credentials, **remote}, **options)

    assert sorted(rclone("lsf", "-R", "--files-only", f"s3:{BUCKET}").splitlines()) == sorted([*OBJECTS, *many])
    assert rclone("cat", f"s3:{BUCKET}/gpt-4o/7d4f2a90") == '{"id": "7d4f2a90"}'
    assert rclone("cat", "--offset", "2", "--count", "2", f"s3:{BUCKET}/gpt-4o/7d4f2a90") == "id"
    rclone("sync", "--exclude", "/pages/**", f"s3:{BUCKET}", tmp_path / "copy")
    assert files_below(tmp_path / "copy") == OBJECTS
    rclone("check", "--exclude", "/pages/**", "--download", f"s3:{BUCKET}", tmp_path / "copy")
    file = write(tmp_path / "new.json", b"{}")
    assert "AccessDenied" in rclone("copyto", file, f"s3:{BUCKET}/m/1", fails=True)
    assert "AccessDenied" in rclone("copyto", f"s3:{BUCKET}/gpt-4o/7d4f2a90", f"s3:{BUCKET}/m/1", fails=True)
    rclone("deletefile", f"s3:{BUCKET}/gpt-4o/7d4f2a90")
    rclone("delete", f"s3:{BUCKET}/pages")
    assert sorted(all_keys(boto)) == sorted(set(OBJECTS) - {"gpt-4o/7d4f2a90"})


def test_s3cmd_lists_syncs_and_deletes(credentials, boto, many, tmp_path):
    def s3cmd(*arguments, **options):
        host = credentials["AWS_ENDPOINT_URL"].removeprefix("http://")
        options_of_s3 = [f"--host={host}", f"--host-bucket={host}", "--no-ssl", f"--region={REGION}", "--max-retries=1"]
        access = [f"--access_key={credentials['AWS_ACCESS_KEY_ID']}", f"--secret_key={credentials['AWS_SECRET_ACCESS_KEY']}"]
        keys = [*access, f"--config={tmp_path}/no-config"]
        return run("s3cmd", *options_of_s3, *keys, *arguments, env=credentials, **options)

    assert f"s3://{BUCKET}" in s3cmd("ls")
    assert len(s3cmd("ls", "--recursive", f"s3://{BUCKET}").splitlines()) == len(OBJECTS) + PAGES
    assert "DIR" in s3cmd("ls", f"s3://{BUCKET}/")
    s3cmd("get", f"s3://{BUCKET}/gpt-4o/7d4f2a90", tmp_path / "one.json")
    assert (tmp_path / "one.json").read_bytes() == OBJECTS["gpt-4o/7d4f2a90"]
    s3cmd("sync", "--exclude", "pages/*", f"s3://{BUCKET}/", f"{tmp_path}/copy/")
    assert files_below(tmp_path / "copy") == OBJECTS
    file = write(tmp_path / "new.json", b"{}")
    assert "AccessDenied" in s3cmd("put", file, f"s3://{BUCKET}/m/1", fails=True)
    s3cmd("put", "--add-header=If-None-Match: *", file, f"s3://{BUCKET}/m/1")
    assert "AccessDenied" in s3cmd("cp", f"s3://{BUCKET}/gpt-4o/7d4f2a90", f"s3://{BUCKET}/m/2", fails=True)
    s3cmd("rm", f"s3://{BUCKET}/m/1")
    s3cmd("rm", "--recursive", "--force", f"s3://{BUCKET}/pages/")
    assert sorted(all_keys(boto)) == sorted(OBJECTS)


def test_s3fs_finds_reads_and_deletes(served, boto, many):
    keys = {"key": served.access_key, "secret": served.secret_key}
    region = {"region_name": REGION}
    fs = s3fs.S3FileSystem(**keys, endpoint_url=served.url, client_kwargs=region, use_listings_cache=False)
    assert sorted(fs.find(BUCKET)) == sorted(f"{BUCKET}/{key}" for key in [*OBJECTS, *many])
    assert sorted(fs.ls(BUCKET)) == sorted(f"{BUCKET}/{name}" for name in ["a%2Fb", "allenai", "gpt-4o", "pages"])
    assert fs.cat(f"{BUCKET}/gpt-4o/7d4f2a90") == OBJECTS["gpt-4o/7d4f2a90"]
    with fs.open(f"{BUCKET}/allenai/OLMoE-1B-7B/1", block_size=1_000) as file:
        file.seek(90_000)
        assert file.read(5) == b"xxxxx"
    assert fs.info(f"{BUCKET}/gpt-4o/7d4f2a90")["size"] == len(OBJECTS["gpt-4o/7d4f2a90"])
    with pytest.raises(PermissionError):
        fs.pipe(f"{BUCKET}/m/1", b"{}")
    fs.pipe(f"{BUCKET}/m/1", b"{}", mode="create")
    with pytest.raises(OSError, match="exists"):
        fs.pipe(f"{BUCKET}/m/1", b"[]", mode="create")
    with pytest.raises(PermissionError):
        fs.copy(f"{BUCKET}/gpt-4o/7d4f2a90", f"{BUCKET}/m/2")
    fs.rm_file(f"{BUCKET}/m/1")
    fs.rm(f"{BUCKET}/pages", recursive=True)
    assert sorted(all_keys(boto)) == sorted(OBJECTS)


@pytest.mark.parametrize("region", [None, REGION])
def test_minio_lists_reads_and_deletes(region, served, boto, many, tmp_path):
    keys = {"access_key": served.access_key, "secret_key": served.secret_key}
    client = minio.Minio(served.url.removeprefix("http://"), **keys, secure=False, region=region)
    assert client.bucket_exists(BUCKET) and not client.bucket_exists("another")
    assert [bucket.name for bucket in client.list_buckets()] == [BUCKET]
    for version_one in [False, True]:
        found = client.list_objects(BUCKET, recursive=True, use_api_v1=version_one)
        assert sorted(object.object_name for object in found) == sorted([*OBJECTS, *many])
    found = client.list_objects(BUCKET)
    assert sorted(object.object_name for object in found) == ["a%2Fb/", "allenai/", "gpt-4o/", "pages/"]
    assert client.stat_object(BUCKET, "gpt-4o/2 b,it's").size == len(OBJECTS["gpt-4o/2 b,it's"])
    with client.get_object(BUCKET, "gpt-4o/7d4f2a90", offset=2, length=2) as response:
        assert response.read() == b"id"
    client.fget_object(BUCKET, "a%2Fb/\u00fc+&", str(tmp_path / "one.json"))
    assert (tmp_path / "one.json").read_bytes() == OBJECTS["a%2Fb/\u00fc+&"]
    with pytest.raises(minio.error.S3Error) as error:
        client.fput_object(BUCKET, "m/1", str(tmp_path / "one.json"))
    assert error.value.code == "AccessDenied"
    client.remove_object(BUCKET, "gpt-4o/7d4f2a90")
    errors = client.remove_objects(BUCKET, [minio.deleteobjects.DeleteObject(name) for name in many])
    assert list(errors) == []
    assert sorted(all_keys(boto)) == sorted(set(OBJECTS) - {"gpt-4o/7d4f2a90"})


def test_duckdb_reads_objects_by_a_pattern(served, tmp_path):
    [httpfs] = glob.glob(f"{Path(duckdb_extension_httpfs.__file__).parent}/extensions/*/httpfs.duckdb_extension")
    with duckdb.connect() as connection:
        connection.execute(f"SET extension_directory = '{tmp_path}/extensions'; INSTALL '{httpfs}'; LOAD httpfs")
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{served.access_key}', SECRET '{served.secret_key}', REGION '{REGION}', "
            f"URL_STYLE 'path', USE_SSL false, ENDPOINT '{served.url.removeprefix('http://')}')"
        )
        read = "SELECT id FROM read_json('s3://{}', format = 'unstructured', columns = {{id: 'VARCHAR'}}) ORDER BY id"
        assert connection.sql(read.format(f"{BUCKET}/gpt-4o/*")).fetchall() == [("2 b",), ("7d4f2a90",)]
        assert connection.sql(read.format(f"{BUCKET}/*/**")).fetchall() == [("1",), ("2 b",), ("7d4f2a90",), ("\u00fc",)]
        assert connection.sql(f"SELECT count(*) FROM glob('s3://{BUCKET}/**')").fetchall() == [(len(OBJECTS),)]
        with pytest.raises(duckdb.HTTPException):
            connection.execute(f"COPY (SELECT 1 AS id) TO 's3://{BUCKET}/m/1' (FORMAT json)")
