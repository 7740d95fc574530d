#!/usr/bin/env bash
# Tests the wheel and the sdist with each Python version on this machine, and prints one line for each.
#
#     ATTEST=target/debug/attest clients/python/bench/versions.sh FOLDER [PYTEST ARGUMENTS]
#
# Searches for versions on the PATH, in pyenv and with `uv python find`. Keeps the environments in FOLDER. By default, runs all tests.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ATTEST=$(realpath "$OLDPWD/${ATTEST:?}" 2>/dev/null || realpath "$ATTEST")
export ATTEST PYTHONDONTWRITEBYTECODE=1
mkdir -p "$1"
folder=$(cd "$OLDPWD" && realpath "$1")
shift
status=0

find_python() {
  command -v "python$1" >/dev/null && "python$1" -c 'import sys; print(sys.executable)' 2>/dev/null && return
  ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null | tail -1 | grep . && return
  uv python find --no-python-downloads "$1" 2>/dev/null
}

[ -x "$folder/build/bin/python" ] || python3 -m venv "$folder/build"
"$folder/build/bin/python" -m pip install -q --disable-pip-version-check build
rm -rf "$folder/dist"
"$folder/build/bin/python" -m build --outdir "$folder/dist" . >"$folder/build.log" 2>&1 || { cat "$folder/build.log" >&2; exit 1; }
sed 's/==.*//' tests/requirements.txt >"$folder/requirements.txt" # older versions of Python need older packages
for version in 3.10 3.11 3.12 3.13 3.14; do
  found=$(find_python "$version") || { echo "Python $version: not on this machine"; continue; }
  environment=$folder/$version
  [ -x "$environment/bin/python" ] || "$found" -m venv "$environment"
  python=$environment/bin/python
  "$python" -m pip install -q --disable-pip-version-check -r "$folder/requirements.txt" "$folder"/dist/*.whl || { status=1; continue; }
  for package in "$folder"/dist/*.tar.gz "$folder"/dist/*.whl; do
    "$python" -m pip install -q --disable-pip-version-check --no-deps --force-reinstall "$package" &&
      "$python" -I -c 'import attest_client; attest_client.log_trace({"model": "m"}, {})' 2>/dev/null || status=1
  done
  result=$("$python" -m pytest -q -p no:cacheprovider "${@:-tests}" 2>&1) || { status=1; echo "$result" | tail -40 >&2; }
  echo "Python $("$python" -c 'import platform; print(platform.python_version())'): $(tail -1 <<<"$result")"
done
exit $status
