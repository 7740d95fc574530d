"""Runs the SQL in docs/reading.md in DuckDB, over a lake and over the local endpoint's S3. The results must be equal.

The traces include values that cannot be converted, because a single one must not break a query.

Athena cannot run here. The template's saved queries are parsed in Athena's dialect, translated into DuckDB's dialect, and run
over the same lake. ATTEST is the path of the command. Run this file with pytest, or as a script.
"""

import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import duckdb_extension_delta
import duckdb_extension_httpfs
import endpoint
import pytest
import sqlglot
import template

PAGE = Path("docs/reading.md").read_text()
BLOCKS = re.findall(r"^```sql ?(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
VIEWS = {name: sql for name, sql in BLOCKS if name}
PRICES = VIEWS["prices"].replace("'prices.jsonl'", "'crates/mapping/prices.jsonl'")
QUESTIONS = [sql for name, sql in BLOCKS if not name]

DAY = int(datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC).timestamp())
OTEL = "4bf92f3577b34da6a3ce929d0e0e4736"
EXPECTED = [
    [
        ("a/", "2026-11-22", 1), ("a/b", "2026-11-23", 1), ("gpt-4o", "2026-11-22", 2), ("gpt-4o", "2026-11-23", 1),
        ("m", "2026-11-22", 3), ("odd", None, 4),
    ],
    [("a/", None), ("a/b", None), ("gpt-4o", 3_001_500), ("m", 12), ("odd", None)],
    [("m/1,it's",)],
    [
        ("m/5", 100_000), ("m/1,it's", 25), ("gpt-4o/7", 16), ("gpt-4o/6", 11), ("odd/1", 9), ("odd/2", 8), ("odd/3", 7),
        ("odd/4", 6), ("a/b/3", 5), ("m/2", 5),
    ],
    [(2, ["a/b/3", "m/2"])],
    [("weather", 2), ("search", 1)],
    [
        ("2026-11-22", "a/", None, None, None), ("2026-11-22", "gpt-4o", 1_000_500, 1_000, 2.51),
        ("2026-11-22", "m", None, None, None), ("2026-11-23", "a/b", None, None, None),
        ("2026-11-23", "gpt-4o", 2_000_000, 0, 5.0), (None, "odd", None, None, None),
    ],
    [("gpt-4o/6",), ("gpt-4o/7",)],
]


def chat(*contents):
    return [{"role": ["user", "assistant"][place % 2], "content": content} for place, content in enumerate(contents)]


def plain(rows):
    return [tuple(str(of) if isinstance(of, datetime.date) else of for of in row) for row in rows]


def ask(connection, questions=QUESTIONS):
    return [plain(connection.execute(sql).fetchall()) for sql in questions]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Creates a folder with the bucket `my-traces`, as the endpoint stores it."""
    folder = tmp_path_factory.mktemp("reading")

    def store(key, **trace):
        file = folder / "my-traces" / f"{key}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(trace, ensure_ascii=False, indent=1))

    refund = chat("Grüße, a REFUND please", "No.")
    own = [{"role": "user", "content": "x" * 100_000, "own": {"y": 1}}]
    usage = {"total_tokens": 5, "new": [{"a": 1}]}
    store("m/1,it's", id="1,it's", model="m", created=DAY, messages=refund, usage={"total_tokens": 7})
    labels = {"session_id": "s-1", "user": "u-7", "tags": ["beta", "b"]}
    timing = {"duration": 1.5, "first_token": 0.25}
    store("m/2", id="2", model="m", created=DAY + 86_399, messages=chat("Hello"), usage=usage, log=labels, timing=timing)
    store("a/b/3", id="3", model="a/b", created=DAY + 86_400, messages=chat("Hello"), choices={"0": {"message": None}})
    store("a%2F/4", id="4", model="a/", created=DAY, messages=[], unknown={"deep": [[1]]})
    store("m/5", id="5", model="m", created=DAY, messages=own)
    # An agent: the second call repeats the messages of the first, whose tool calls must not be counted again.
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}] * 2}
    first = [{"role": "user", "content": "Paris, Rome"}, call]
    second = [*first, *chat("12 °C", ""), {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "search"}}]}]
    tokens = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000, "total_tokens": 1_001_000}
    store("gpt-4o/6", model="gpt-4o", created=DAY, messages=first, request_messages=1, usage=tokens, log={"trace_id": OTEL})
    tokens = {"input_tokens": 500, "output_tokens": 0, "total_tokens": 500}
    store("gpt-4o/7", model="gpt-4o", created=DAY + 1, messages=second, request_messages=4, usage=tokens, otel={"traceId": OTEL})
    tokens = {"prompt_tokens": 2_000_000, "completion_tokens": 0, "total_tokens": 2_000_000}
    store("gpt-4o/8", model="gpt-4o", created=DAY + 86_400, messages=chat("Hi"), usage=tokens)
    # Values that the schema allows but that cannot be converted: times in nanoseconds, and numbers beyond 64 bits.
    for place, created in enumerate([1_746_709_563_492_141_000, 10**20, -(10**20), -1], 1):
        odd = {"prompt_tokens": 10**20, "completion_tokens": "many", "total_tokens": {"all": 1}}
        messages = [{"role": "user", "content": "odd" + "!" * (7 - place), "tool_calls": "none"}]
        store(f"odd/{place}", model="odd", created=created, messages=messages, usage=odd, request_messages="x", n=10**400)
    return folder


@pytest.fixture(scope="module")
def lake(folder):
    """A connection with the view `traces` over a lake."""
    program = [os.environ["ATTEST"], "lake", "sync", "--folder", folder / "my-traces"]
    subprocess.run([*program, "-o", folder / "lake"], check=True)
    with duckdb.connect() as connection:
        install(connection, folder, duckdb_extension_delta)
        connection.execute(VIEWS["lake"].replace("'lake'", f"'{folder}/lake'"))
        connection.execute(PRICES)
        yield connection


def install(connection, folder, module):
    """Installs a DuckDB extension from its Python package, because DuckDB itself would download it."""
    name = module.__name__.removeprefix("duckdb_extension_")
    [extension] = glob.glob(f"{Path(module.__file__).parent}/extensions/*/{name}.duckdb_extension")
    connection.execute(f"SET extension_directory = '{folder}/extensions'; INSTALL '{extension}'; LOAD {name}")


@pytest.fixture
def forget(folder, tmp_path):
    """Returns a function that runs `forget` on a copy of the folder and its lake. DuckDB's CLI needs no extension, because `forget`
    passes it the rows.
    """
    shutil.copytree(folder / "my-traces", tmp_path / "my-traces", copy_function=shutil.copy2)
    place = ["--folder", "my-traces"]
    subprocess.run([os.environ["ATTEST"], "lake", "sync", *place, "-o", "lake"], cwd=tmp_path, check=True)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(condition):
        command = [os.environ["ATTEST"], "forget", f"--where={condition}", "--yes", *place, "--lake", "lake"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return run


def test_forget_deletes_the_traces_for_which_a_condition_holds(forget, tmp_path):
    for condition, message in [
        ("nope = 1", "nope"),
        ("model = 'gpt-5'", "no trace of the lake matches"),
    ]:
        refused = forget(condition)
        assert refused.returncode == 2 and message in refused.stderr, refused.stderr
    before = {file.relative_to(tmp_path) for file in tmp_path.glob("my-traces/**/*.json")}
    forgotten = forget("model = 'gpt-4o' AND contains(trace, 'Rome') -- one person")
    assert forgotten.returncode == 0, forgotten.stderr
    after = {file.relative_to(tmp_path) for file in tmp_path.glob("my-traces/**/*.json")}
    assert before - after == {Path("my-traces/gpt-4o/6.json"), Path("my-traces/gpt-4o/7.json")}
    assert json.loads((tmp_path / "forgotten.json").read_text())["keys"] == ["gpt-4o/6", "gpt-4o/7"]
    assert forget("contains(trace, 'Rome')").returncode == 2, "no row is left in the lake"


def test_an_object_that_is_not_a_trace_is_reported_because_a_condition_cannot_select_it(forget, tmp_path):
    (tmp_path / "my-traces/gpt-4o/other.json").write_text('{"model":"gpt-4o","created":1.0,"messages":[]}')
    forgotten = forget("key = 'gpt-4o/6'")
    assert forgotten.returncode == 2 and "gpt-4o/other was not searched: not a trace" in forgotten.stderr, forgotten.stderr
    receipt = json.loads((tmp_path / "forgotten.json").read_text())
    assert receipt["keys"] == ["gpt-4o/6"]
    assert receipt["unreadable"] == [{"key": "gpt-4o/other", "reason": "not a trace"}]


def test_a_condition_of_forget_is_one_expression_that_reads_the_rows_alone(forget, tmp_path):
    (tmp_path / "secret.csv").write_text("key\ngpt-4o/6\n")
    secret = tmp_path / "secret.csv"
    for condition, message in [
        ("false);\n.shell touch made\nSELECT key FROM (SELECT 1 AS key) WHERE (false", "not a condition"),
        (".shell touch made", "not a condition"),
        ("model = 'x\n.shell touch made\n'", "no trace of the lake matches"),
        ("false); COPY (SELECT 1) TO 'made'; SELECT (true", "not a condition"),
        ("false); SELECT key FROM rows WHERE (true", "takes one condition"),
        ("false) UNION SELECT key FROM rows WHERE (true", "takes one condition"),
        ("true) LIMIT (1", "takes one condition"),
        ("true) GROUP BY (key", "takes one condition"),
        ("true) ORDER BY (key", "takes one condition"),
        ("", "not a condition"),
        ("-- nothing", "not a condition"),
        (f"key IN (SELECT key FROM '{secret}')", "takes no subquery"),
        ("EXISTS (FROM rows)", "takes no subquery"),
        ("getenv('HOME') IS NOT NULL", "getenv"),
        ("true, true", "duckdb"),  # a row is one expression, but not a condition
    ]:
        refused = forget(condition)
        assert refused.returncode == 2 and message in refused.stderr, (condition, refused.stderr)
        assert not list(tmp_path.glob("**/made")), condition
        assert not (tmp_path / "forgotten.json").exists(), condition
    # Columns, functions, lambdas, line breaks and comments are available.
    condition = "stored > '2020-01-01' AND day > '2020-01-01' -- both\nAND key = 'gpt-4o/6'"
    condition += " AND len(list_filter(messages, lambda message: contains(message.content, ''))) > 0"
    forgotten = forget(condition)
    assert forgotten.returncode == 0, forgotten.stderr
    assert json.loads((tmp_path / "forgotten.json").read_text())["keys"] == ["gpt-4o/6"]


def test_the_page_has_every_view_and_question():
    assert VIEWS.keys() == {"lake", "bucket", "keys", "prices", "labels"}
    assert len(QUESTIONS) == len(EXPECTED)


def test_the_questions_over_a_lake(lake):
    assert ask(lake) == EXPECTED


def test_the_labels_and_times_over_a_lake(lake):
    assert lake.execute(VIEWS["labels"]).fetchall() == [("m", "u-7", 1, 1.5, 0.25)]
    [row] = lake.execute("SELECT session_id, user, tags FROM traces WHERE session_id IS NOT NULL AND key = 'm/2'").fetchall()
    assert row == ("s-1", "u-7", ["beta", "b"])


def test_the_questions_over_the_bucket(folder):
    _, _, s3 = endpoint.start(folder / "my-traces", "reading")
    with duckdb.connect() as bucket:
        install(bucket, folder, duckdb_extension_httpfs)
        bucket.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{s3.access_key}', SECRET '{s3.secret_key}', REGION 'us-east-1', URL_STYLE 'path', "
            f"USE_SSL false, ENDPOINT '{s3.url.removeprefix('http://')}')"
        )
        bucket.execute(VIEWS["bucket"])
        bucket.execute(PRICES)
        assert ask(bucket) == EXPECTED


def test_the_keys_of_one_person(folder, lake):
    keys = folder / "keys.txt"
    lake.execute(VIEWS["keys"].replace("'keys.txt'", f"'{keys}'").replace("jane@example.com", "REFUND"))
    assert keys.read_text() == "m/1,it's\n"


def saved_queries():
    """Returns the SQL of each saved query by logical id."""
    resources = template.load()["Resources"].items()
    return {name: of["Properties"]["QueryString"] for name, of in resources if of["Type"] == "AWS::Athena::NamedQuery"}


def test_the_stack_declares_the_table_in_the_documented_form():
    table = template.load()["Resources"]["LakeTable"]["Properties"]["TableInput"]
    storage = table["StorageDescriptor"]
    # Amazon Athena User Guide, "Synchronize Delta Lake metadata": the command that creates a table without its real
    # columns.
    assert (table["Name"], table["TableType"]) == ("lake", "EXTERNAL_TABLE")
    assert table["Parameters"] == {"EXTERNAL": "TRUE", "spark.sql.sources.provider": "delta"}
    assert storage["Columns"] == [{"Name": "col", "Type": "array<string>"}]
    assert storage["Location"] == ["", ["s3://", "QueriesBucket", "/lake/"]]
    assert storage["SerdeInfo"] == {"Parameters": {"serialization.format": "1", "path": storage["Location"]}}


# The usage of one call by API, with its total input and its output. The page counts in the same way (crates/mapping,
# `tokens.rs`).
USAGES = {
    "OpenAI Chat": ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 80}, "completion_tokens": 10}, 100, 10),
    "OpenAI Responses": ({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 80}, "output_tokens": 10}, 100, 10),
    "Anthropic": ({"input_tokens": 15, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 80, "output_tokens": 10}, 100, 10),
    "LiteLLM": ({"prompt_tokens": 100, "cache_read_input_tokens": 80, "completion_tokens": 10, "total_tokens": 110}, 100, 10),
    "DeepSeek": ({"prompt_tokens": 100, "prompt_cache_hit_tokens": 80, "completion_tokens": 10}, 100, 10),
    "embeddings": ({"prompt_tokens": 100, "total_tokens": 100}, 100, 0),
}


@pytest.mark.parametrize("name", USAGES)
def test_cached_tokens_count_once_and_at_their_own_price(name):
    usage, whole_input, output = USAGES[name]
    million = {member: 10_000 * of if isinstance(of, int) else {"cached_tokens": 800_000} for member, of in usage.items()}
    saved = saved_queries()
    athena = [sqlglot.transpile(saved[of], read="athena", write="duckdb")[0] for of in ("TokensPerModelQuery", "TokensPerDayQuery")]
    for table, (tokens, prices) in {"traces": (QUESTIONS[1], QUESTIONS[6]), "lake": athena}.items():
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE {table} (key VARCHAR, model VARCHAR, created BIGINT, usage JSON)")
            connection.execute(f"INSERT INTO {table} VALUES ('k', 'gpt-4o', {DAY}, ?)", [json.dumps(million)])
            connection.execute(PRICES)
            assert connection.execute(tokens).fetchall() == [("gpt-4o", 10_000 * (whole_input + output))]
            written = usage.get("cache_creation_input_tokens", 0)
            read = 0 if name == "embeddings" else 80
            dollars = ((whole_input - read - written) * 2.5 + read * 1.25 + written * 2.5 + output * 10) / 100
            [(_, _, *counted)] = connection.execute(prices).fetchall()
            assert counted == [10_000 * whole_input, 10_000 * output or None, pytest.approx(dollars, abs=0.01)]


COSTS = json.loads(Path("crates/mapping/cost-cases.json").read_text())


@pytest.mark.parametrize("case", COSTS, ids=[case["name"] for case in COSTS])
def test_the_queries_compute_the_costs_of_the_page(case):
    athena = sqlglot.transpile(saved_queries()["TokensPerDayQuery"], read="athena", write="duckdb")[0]
    created = int(datetime.datetime.fromisoformat(f"{case['created']}T23:59:59+00:00").timestamp())
    for table, sql in {"traces": QUESTIONS[6], "lake": athena}.items():
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE {table} (key VARCHAR, model VARCHAR, created BIGINT, usage JSON)")
            row = [case["model"], created, json.dumps(case["usage"])]
            connection.execute(f"INSERT INTO {table} VALUES ('k', ?, ?, ?)", row)
            connection.execute(PRICES)
            [(day, model, _, _, dollars)] = connection.execute(sql).fetchall()
            assert (str(day), model) == (case["created"], case["model"])
            assert dollars == (None if case["cost"] is None else pytest.approx(case["cost"], abs=0.006))


def test_the_stack_has_the_table_of_prices():
    rows = sqlglot.parse_one(saved_queries()["TokensPerDayQuery"], read="athena").find(sqlglot.exp.Values)
    rows.set("alias", None)
    columns = "model, since, input, cache_read, cache_write, output"
    values = rows.sql("duckdb")
    with duckdb.connect() as connection:
        connection.execute(PRICES)
        doubles = "model, since, COLUMNS(* EXCLUDE (model, since))::DOUBLE"
        stack = connection.execute(f"SELECT {doubles} FROM ({values}) AS stack ({columns}) ORDER BY ALL").fetchall()
        file = connection.execute("SELECT * FROM prices ORDER BY ALL").fetchall()
    assert stack == file and len(file) > 20


def test_no_saved_query_changes_the_table():
    for name, sql in saved_queries().items():
        assert sqlglot.parse_one(sql, read="athena").key == "select", name


def test_the_saved_queries_of_athena(folder, lake):
    saved = [sqlglot.transpile(sql, read="athena", write="duckdb")[0] for sql in saved_queries().values()]
    # Athena's table is called `lake`, and has the columns without the view's conversions.
    lake.execute(f"CREATE VIEW lake AS SELECT * FROM delta_scan('{folder}/lake')")
    # Athena's query returns 0 for a trace without messages, DuckDB's returns null.
    characters = [(key, characters or 0) for key, characters in EXPECTED[3]]
    assert ask(lake, saved) == [*EXPECTED[:3], characters, *EXPECTED[4:]]


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", __file__]))
