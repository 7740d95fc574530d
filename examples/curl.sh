#!/usr/bin/env bash
# Sends the trace in a file, and retries transient errors. Usage: ATTEST_URL=… ATTEST_API_KEY=… curl.sh TRACE.json
#
# The Idempotency-Key is derived from the trace, as in `attest import`, so a retry does not store a duplicate.
# `--retry` retries after 408, 429, 500, 502, 503 and 504, and `--retry-all-errors` also after a broken connection. curl waits for
# `Retry-After`. Without this header, it waits a second, then twice as long each time. Without `--fail`, other 4xx are not errors.
# Exits with 0 if the trace is stored, which only its receipt confirms (docs/api.md, "When a trace is stored"). Otherwise, exits
# with 1 and appends the trace to undelivered.jsonl, for `attest import`. Requires jq.
set -euo pipefail
url=${ATTEST_URL:-${API_URL:?set ATTEST_URL}} # earlier versions used API_URL and API_KEY
api_key=${ATTEST_API_KEY:-${API_KEY:?set ATTEST_API_KEY}}
command -v jq >/dev/null || { echo "jq is not installed" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tr -d '\r\n' <"$1" >"$folder/line" # JSON has line breaks only between tokens
key=$({ sha256sum 2>/dev/null || shasum -a 256; } <"$folder/line" |
  sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')
# The API key is not an argument, because all users of the machine can see arguments.
printf 'x-api-key: %s\n' "$api_key" >"$folder/headers"
answer=$(curl --silent --show-error --output "$folder/answer" --write-out '%{http_code} %{content_type}' \
  --retry 8 --retry-max-time 300 --retry-all-errors --connect-timeout 5 --max-time 30 --max-filesize 1048576 \
  --header "@$folder/headers" --header 'content-type: application/json' --header "idempotency-key: $key" \
  --data-binary "@$folder/line" "$url") || true
if [ -s "$folder/answer" ]; then cat "$folder/answer"; fi
is_receipt() {
  jq --exit-status --slurpfile sent "$folder/line" '
    def encoded: if . == "." or . == ".." then gsub("[.]"; "%2E") else
      @uri | gsub("~"; "%7E") | reduce ("!*'"'"'():@+=," / "")[] as $char (.; split($char | @uri) | join($char)) end;
    (.id | type) == "string" and ($sent[0].id // .id) == .id
      and .key == ([.system_fingerprint / "/" | .[] | encoded] | join("/")) + "/" + (.id | encoded)
  ' "$folder/answer" >/dev/null 2>&1
}
case $answer in
  "200 application/json"* | "201 application/json"*) if is_receipt; then exit 0; fi ;;
esac
file=${UNDELIVERED:-undelivered.jsonl}
echo "not delivered (${answer:-no response}): the trace is in $file" >&2
(umask 077; { cat "$folder/line"; echo; } >>"$file")
exit 1
