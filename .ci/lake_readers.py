"""Prints the keys in a lake. Two independent Delta readers must find the same rows: `deltalake` (delta-rs) and DuckDB's extension.

The arguments are the location of the lake and, for a bucket, the address of its S3.
"""

import glob
import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

import deltalake
import duckdb
import duckdb_extension_delta
import duckdb_extension_httpfs

location, *s3 = sys.argv[1:]
location = location.rstrip("/")
options = {}
with duckdb.connect() as duck:
    for module in [duckdb_extension_httpfs, duckdb_extension_delta]:
        name = module.__name__.removeprefix("duckdb_extension_")
        [extension] = glob.glob(f"{Path(module.__file__).parent}/extensions/*/{name}.duckdb_extension")
        duck.execute(f"SET extension_directory = '{tempfile.gettempdir()}/extensions'; INSTALL '{extension}'; LOAD {name}")
    if location.startswith("s3://"):
        [address] = s3
        options = {
            "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{address}", "AWS_ALLOW_HTTP": "true",
        }
        duck.execute(
            "CREATE SECRET (TYPE s3, KEY_ID 'local', SECRET 'local', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false, "
            f"ENDPOINT '{address}')"
        )
    else:
        location = unquote(location.removeprefix("file://"))
    columns = "SELECT key, epoch(stored)::BIGINT, day::VARCHAR, trace FROM"
    rows = duck.execute(f"{columns} delta_scan('{location}') ORDER BY ALL").fetchall()
    rows_of_deltalake = deltalake.DeltaTable(location, storage_options=options).to_pyarrow_table()
    others = duck.execute(f"{columns} rows_of_deltalake ORDER BY ALL").fetchall() if rows_of_deltalake.num_rows else []
assert rows == others, f"DuckDB reads {rows}, deltalake {others}"
json.dump([key for key, *_ in rows], sys.stdout)
