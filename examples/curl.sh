#!/usr/bin/env bash
# Sends the trace of a file and repeats the request when that is right. Usage: API_URL=… API_KEY=… curl.sh TRACE.json
#
# The Idempotency-Key follows from the trace, as `import` makes it, so a repeat stores nothing twice, whoever does it.
# `--retry` repeats after 408, 429, 500, 502, 503 and 504, `--retry-all-errors` after a broken connection too; curl waits as
# long as `Retry-After` says, else a second, then twice as long each time. Another 4xx is no error to curl as long as `--fail`
# is not there, so it is not repeated.
# Ends with 0 if the trace is stored. Else it ends with 1, and the trace is a line of undelivered.jsonl, for `import`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tr -d '\r\n' <"$1" >"$folder/line" # JSON has line breaks between its tokens only
key=$({ sha256sum 2>/dev/null || shasum -a 256; } <"$folder/line" |
  sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')
status=$(curl --silent --show-error --output "$folder/answer" --write-out '%{http_code}' \
  --retry 8 --retry-max-time 300 --retry-all-errors --connect-timeout 5 --max-time 30 \
  --header "x-api-key: $API_KEY" --header 'content-type: application/json' --header "idempotency-key: $key" \
  --data-binary "@$folder/line" "$API_URL") || true
if [ -s "$folder/answer" ]; then cat "$folder/answer"; fi
case $status in 200 | 201) exit 0 ;; esac
file=${UNDELIVERED:-undelivered.jsonl}
echo "not delivered (status $status): the trace is in $file" >&2
(cat "$folder/line"; echo) >>"$file"
exit 1
