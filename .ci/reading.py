"""Runs the SQL of docs/reading.md in DuckDB, over a lake and over the local endpoint's S3. The answers must be equal.

Athena cannot run here. The template's saved queries are parsed in Athena's dialect, translated into DuckDB's dialect, and run
over the same lake. The variable ATTEST names the program. Run it with pytest, or as a script.
"""

import datetime
import glob
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import endpoint
import pytest
import sqlglot
import template

PAGE = Path("docs/reading.md").read_text()
BLOCKS = re.findall(r"^```sql ?(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
VIEWS = {name: sql for name, sql in BLOCKS if name}
QUESTIONS = [sql for name, sql in BLOCKS if not name]

DAY = int(datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC).timestamp())
EXPECTED = [
    [("a/", "2026-11-22", 1), ("a/b", "2026-11-23", 1), ("m", "2026-11-22", 3)],
    [("a/", None), ("a/b", None), ("m", 12)],
    [("m/1,it's",)],
    [("m/5", 100_000), ("m/1,it's", 25), ("a/b/3", 5), ("m/2", 5), ("a%2F/4", None)],
    [(2, ["a/b/3", "m/2"])],
]


def chat(*contents):
    return [{"role": ["user", "assistant"][place % 2], "content": content} for place, content in enumerate(contents)]


def plain(rows):
    return [tuple(str(of) if isinstance(of, datetime.date) else of for of in row) for row in rows]


def ask(connection, questions=QUESTIONS):
    return [plain(connection.execute(sql).fetchall()) for sql in questions]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the bucket `my-traces`, as the endpoint stores it."""
    folder = tmp_path_factory.mktemp("reading")

    def store(key, **trace):
        file = folder / "my-traces" / f"{key}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(trace, ensure_ascii=False, indent=1))

    refund = chat("Grüße, a REFUND please", "No.")
    own = [{"role": "user", "content": "x" * 100_000, "own": {"y": 1}}]
    usage = {"total_tokens": 5, "new": [{"a": 1}]}
    store("m/1,it's", id="1,it's", model="m", created=DAY, messages=refund, usage={"total_tokens": 7})
    store("m/2", id="2", model="m", created=DAY + 86_399, messages=chat("Hello"), usage=usage)
    store("a/b/3", id="3", model="a/b", created=DAY + 86_400, messages=chat("Hello"), choices={"0": {"message": None}})
    store("a%2F/4", id="4", model="a/", created=DAY, messages=[], unknown={"deep": [[1]]})
    store("m/5", id="5", model="m", created=DAY, messages=own)
    return folder


@pytest.fixture(scope="module")
def lake(folder):
    """A connection with the view `traces` over a lake."""
    program = [os.environ["ATTEST"], "export", "lake", "--folder", folder / "my-traces"]
    subprocess.run([*program, "-o", folder / "lake", "--quiet"], check=True)
    with duckdb.connect() as connection:
        connection.execute(VIEWS["lake"].replace("'lake/", f"'{folder}/lake/"))
        yield connection


def test_the_page_has_every_view_and_question():
    assert VIEWS.keys() == {"lake", "bucket", "keys"}
    assert len(QUESTIONS) == len(EXPECTED)


def test_the_questions_over_a_lake(lake):
    assert ask(lake) == EXPECTED


def test_the_questions_over_the_bucket(folder):
    _, _, s3 = endpoint.start(folder / "my-traces", "reading")
    [httpfs] = glob.glob(f"{Path(duckdb_extension_httpfs.__file__).parent}/extensions/*/httpfs.duckdb_extension")
    with duckdb.connect() as bucket:
        bucket.execute(f"SET extension_directory = '{folder}/extensions'; INSTALL '{httpfs}'; LOAD httpfs")
        bucket.execute(
            "CREATE SECRET (TYPE s3, KEY_ID 'local', SECRET 'local', REGION 'us-east-1', URL_STYLE 'path', "
            f"USE_SSL false, ENDPOINT '{s3.removeprefix('http://')}')"
        )
        bucket.execute(VIEWS["bucket"])
        assert ask(bucket) == EXPECTED


def test_the_keys_of_one_person(folder, lake):
    keys = folder / "keys.txt"
    lake.execute(VIEWS["keys"].replace("'keys.txt'", f"'{keys}'").replace("jane@example.com", "REFUND"))
    assert keys.read_text() == "m/1,it's\n"


def test_the_saved_queries_of_athena(lake):
    resources = template.load()["Resources"].values()
    saved = [of["Properties"]["QueryString"] for of in resources if of["Type"] == "AWS::Athena::NamedQuery"]
    saved = [sqlglot.transpile(sql, read="athena", write="duckdb")[0] for sql in saved]
    # Athena's table has the name `lake`.
    lake.execute("CREATE VIEW lake AS SELECT * FROM traces")
    # Athena's query returns 0 for a trace without messages, DuckDB's returns null.
    characters = [(key, characters or 0) for key, characters in EXPECTED[3]]
    assert ask(lake, saved) == [*EXPECTED[:3], characters, EXPECTED[4]]


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", __file__]))
