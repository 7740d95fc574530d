#!/usr/bin/env bash
# Sends the trace in a file, and retries transient errors. Usage: API_URL=… API_KEY=… curl.sh TRACE.json
#
# The Idempotency-Key is derived from the trace, as in `attest import`, so a retry does not store a duplicate.
# `--retry` retries after 408, 429, 500, 502, 503 and 504, and `--retry-all-errors` also after a broken connection. curl waits for
# `Retry-After`. Without this header, it waits a second, then twice as long each time. Without `--fail`, other 4xx are not errors.
# Exits with 0 if the trace is stored. Otherwise, exits with 1 and appends the trace to undelivered.jsonl, for `attest import`.
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
