"""Tests the spool folder on a host with other users."""

import json
import os
import stat

import pytest

import attest_client
from attest_client import private, spool
from stand_ins import Server, receipt

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Grüße"}]}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def sent(environment):
    """Returns a function that logs a trace to an endpoint that stores everything, and returns the stored traces."""
    came = []

    def respond(_path, _headers, body):
        came.append(json.loads(body))
        return 201, {}, receipt(body)

    def log():
        with Server(respond) as server:
            environment(server.url)
            attest_client.log_trace(REQUEST, {"created": 1})
            log.is_flushed = attest_client.flush(10)
        return came

    return log


def group(path):
    path.mkdir(mode=0o700)
    path.chmod(0o770)


def everyone(path):
    path.mkdir(mode=0o700)
    path.chmod(0o1777)


def link(path):
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("make", [group, everyone, link])
def test_a_folder_that_others_can_change_is_not_used(sent, folder, caplog, make):
    make(folder)
    (folder / spool.REJECTED).symlink_to(folder.parent / "profile")
    forged = folder / f"1.other.1.1.{'0' * 16}.jsonl"
    forged.write_text('{"id":"forged","model":"m","created":1,"messages":[]}\n')
    os.utime(forged, (1, 1))
    before = sorted(folder.iterdir())
    [trace] = sent()
    assert trace["messages"] == REQUEST["messages"] and sent.is_flushed
    assert sorted(folder.iterdir()) == before and not (folder.parent / "profile").exists()
    assert "traces are sent from memory" in caplog.text


def test_a_folder_of_another_user_is_not_used(sent, folder, monkeypatch, caplog):
    folder.mkdir(mode=0o700)
    owner = os.geteuid()
    monkeypatch.setattr(private.os, "geteuid", lambda: owner + 1)
    assert len(sent()) == 1 and list(folder.iterdir()) == []
    assert "it belongs to another user" in caplog.text


def test_folders_and_files_are_private_whatever_the_umask(environment, folder):
    before = os.umask(0)
    try:
        environment("http://127.0.0.1:1")
        os.environ["ATTEST_SPOOL"] = str(folder / "deep" / "spool")
        attest_client.log_trace(REQUEST, {"created": 1})
    finally:
        os.umask(before)
    [file] = (folder / "deep" / "spool").glob("*.jsonl")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "deep", folder / "deep" / "spool", file)]
    assert modes == [0o700, 0o700, 0o700, 0o600]


def test_an_own_folder_that_others_can_read_becomes_private(sent, folder):
    folder.mkdir()
    folder.chmod(0o755)
    assert len(sent()) == 1 and stat.S_IMODE(folder.stat().st_mode) == 0o700


def trap(folder, kind):
    """Creates a `kind` of entry under the name of a dead process's spool file. Returns a private file that must stay unchanged, and
    the path of the entry.
    """
    folder.mkdir(mode=0o700)
    secret = folder.parent / "secret"
    secret.write_text('{"id":"secret","model":"m","created":1,"messages":[]}\n')
    os.utime(secret, (1, 1))
    name = folder / f"1.other.1.1.{'0' * 16}.jsonl"
    if kind == "link":
        name.symlink_to(secret)
    elif kind == "hard link":
        name.hardlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(name)
    elif kind == "folder":
        name.mkdir()
    else:
        name.write_bytes(secret.read_bytes())
        name.chmod(0o666)
    if kind != "link":
        os.utime(name, (1, 1))
    return secret, name


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "writable"])
def test_only_private_regular_files_are_adopted(sent, folder, caplog, kind):
    secret, name = trap(folder, kind)
    assert [trace["id"] for trace in sent() if trace["id"] == "secret"] == []
    assert os.path.lexists(name) and "secret" in secret.read_text()
    assert "is left alone" in caplog.text


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_refused_traces_are_appended_to_a_private_regular_file_only(environment, folder, kind):
    secret, name = trap(folder, kind)
    name.rename(folder / spool.REJECTED)
    before = secret.read_bytes()
    with Server(lambda *_: (400, {}, b"{}")) as server:
        environment(server.url)
        attest_client.log_trace(REQUEST, {"created": 1})
        assert not attest_client.flush(10)
    assert secret.read_bytes() == before
    [kept] = [path for path in folder.iterdir() if path.name != spool.REJECTED]
    assert json.loads(kept.read_bytes())["messages"] == REQUEST["messages"]


def test_without_a_home_folder_traces_are_sent_from_memory(sent, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no HOME, and no user entry
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    sent_before = os.environ.get
    monkeypatch.setattr(os.environ, "get", lambda name, default=None: "" if name == "ATTEST_SPOOL" else sent_before(name, default))
    assert len(sent()) == 1 and sent.is_flushed
    assert list(tmp_path.iterdir()) == [] and "there is no home folder" in caplog.text


def test_traces_in_memory_are_counted_as_lost_if_they_cannot_be_sent(environment, folder, caplog):
    folder.write_text("")
    environment("http://127.0.0.1:1")
    attest_client.log_trace(REQUEST, {"created": 1})
    from attest_client import client

    client.EXIT_SECONDS, before = 0, client.EXIT_SECONDS
    client._close()
    client.EXIT_SECONDS = before
    assert attest_client.counters()["lost"] == 1 and "traces lost: 1," in caplog.text
