"""Runs the SQL of docs/reading.md in DuckDB, over a lake and over the local endpoint's S3. The answers must be equal.

Athena cannot run here. The template's saved queries are parsed in Athena's dialect, translated into DuckDB's dialect, and run
over the same lake. The variable ATTEST names the program.
"""

import datetime
import glob
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import endpoint
import sqlglot
import template

page = Path("docs/reading.md").read_text()
blocks = re.findall(r"^```sql ?(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
views = {name: sql for name, sql in blocks if name}
questions = [sql for name, sql in blocks if not name]
assert views.keys() == {"lake", "bucket", "keys"} and len(questions) == 5

folder = Path(tempfile.mkdtemp())
traces = folder / "my-traces"


def chat(*contents):
    return [{"role": ["user", "assistant"][place % 2], "content": content} for place, content in enumerate(contents)]


def store(key, **trace):
    file = traces / f"{key}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(trace, ensure_ascii=False, indent=1))


day = int(datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC).timestamp())
store("m/1,it's", id="1,it's", model="m", created=day, messages=chat("Grüße, a REFUND please", "No."), usage={"total_tokens": 7})
store("m/2", id="2", model="m", created=day + 86_399, messages=chat("Hello"), usage={"total_tokens": 5, "new": [{"a": 1}]})
store("a/b/3", id="3", model="a/b", created=day + 86_400, messages=chat("Hello"), choices={"0": {"message": None}})
store("a%2F/4", id="4", model="a/", created=day, messages=[], unknown={"deep": [[1]]})
store("m/5", id="5", model="m", created=day, messages=[{"role": "user", "content": "x" * 100_000, "own": {"y": 1}}])

expected = [
    [("a/", "2026-11-22", 1), ("a/b", "2026-11-23", 1), ("m", "2026-11-22", 3)],
    [("a/", None), ("a/b", None), ("m", 12)],
    [("m/1,it's",)],
    [("m/5", 100_000), ("m/1,it's", 25), ("a/b/3", 5), ("m/2", 5), ("a%2F/4", None)],
    [(2, ["a/b/3", "m/2"])],
]


def ask(connection, view):
    connection.execute(views[view])
    return [plain(connection.execute(sql).fetchall()) for sql in questions]


def plain(rows):
    return [tuple(str(of) if isinstance(of, datetime.date) else of for of in row) for row in rows]


export = [os.environ["ATTEST"], "export", "--folder", traces, "--format", "parquet", "-o", folder / "lake", "--quiet"]
subprocess.run(export, check=True, stderr=subprocess.DEVNULL)
with duckdb.connect() as lake:
    views["lake"] = views["lake"].replace("'lake/", f"'{folder}/lake/")
    answers = ask(lake, "lake")
    assert answers == expected, f"the lake: {answers}"
    keys = folder / "keys.txt"
    lake.execute(views["keys"].replace("'keys.txt'", f"'{keys}'").replace("jane@example.com", "REFUND"))
    assert keys.read_text() == "m/1,it's\n"
    lake.execute(views["lake"].replace("CREATE VIEW traces", "CREATE VIEW lake"))
    resources = template.load()["Resources"].values()
    saved = [of["Properties"]["QueryString"] for of in resources if of["Type"] == "AWS::Athena::NamedQuery"]
    saved = [sqlglot.transpile(sql, read="athena", write="duckdb")[0] for sql in saved]
    answers = [plain(lake.execute(sql).fetchall()) for sql in saved]
    # Athena's query returns 0 for a trace without messages, DuckDB's returns null.
    assert answers == [*expected[:3], [(key, characters or 0) for key, characters in expected[3]], expected[4]], answers

_, _, s3 = endpoint.start(traces, "reading")
with duckdb.connect() as bucket:
    [httpfs] = glob.glob(f"{Path(duckdb_extension_httpfs.__file__).parent}/extensions/*/httpfs.duckdb_extension")
    bucket.execute(f"SET extension_directory = '{folder}/extensions'; INSTALL '{httpfs}'; LOAD httpfs")
    bucket.execute(
        "CREATE SECRET (TYPE s3, KEY_ID 'local', SECRET 'local', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false, "
        f"ENDPOINT '{s3.removeprefix('http://')}')"
    )
    answers = ask(bucket, "bucket")
    assert answers == expected, f"the bucket: {answers}"
print(f"{len(questions)} questions have equal answers over the lake, over the bucket, and from Athena's {len(saved)} saved queries")
