"""Calculates every price in docs/cost-and-scale.md from list prices, and fails if the page states a different one.

Prices: list prices of us-east-1 for x86_64, in dollars, without free tiers, as of 2026-11-22 (pricing pages of AWS Lambda,
Amazon API Gateway, Amazon S3, Amazon SQS and Amazon CloudWatch).
"""

import re
import sys
from collections import Counter

import template

LAMBDA_REQUEST, LAMBDA_GB_SECOND = 0.20e-6, 0.0000166667
# Each price applies up to this number of requests per month.
API_TIERS = [(333e6, 3.50e-6), (1e9, 2.80e-6), (20e9, 2.38e-6), (float("inf"), 1.51e-6)]
S3_PUT, S3_LIST, S3_GET, S3_GB_MONTH = 0.005e-3, 0.005e-3, 0.0004e-3, 0.023
SQS_REQUEST, LOG_GB, METRIC, DASHBOARD, ALARM = 0.40e-6, 0.50, 0.30, 3.00, 0.10

# The prices above as the page states them, per million, per thousand or each, and those of services that are only
# mentioned: HTTP APIs, and Amazon Data Firehose.
PRICES_OF_AWS = {0.20, 0.0000166667, 3.50, 0.005, 0.023, 0.50, 0.30, 3, 0.10, 0.40, 1.00, 0.15}

# A function with this memory in MB has one whole vCPU (AWS Lambda Developer Guide, "Configure Lambda function memory").
PROCESSOR = 1769
# Measured (docs/performance.md): milliseconds of CPU by trace size in bytes. S3's time is assumed.
CPU, S3_TIME = {1e3: 0.6, 100e3: 1.5}, 30
# Measured (docs/performance.md): milliseconds by the number of spans in a batch, with 512 MB.
BATCHES = {1: 30.54, 512: 1007.17}
# Bytes of the function's log line: 450 measured, and 26 for the API key's id. Not measured: Lambda's own lines.
LOG_BYTES = 480 + 250
MONTH = 30 * 86_400
MILLION = 1e6


def api(requests):
    price, start = 0.0, 0.0
    for end, each in API_TIERS:
        price += max(0.0, min(requests, end) - start) * each
        start = end
    return price


def trace(size, memory):
    """Returns the prices of one trace: Lambda, API Gateway, PUT, storage for a month, logs."""
    milliseconds = CPU[size] * PROCESSOR / memory + S3_TIME
    compute = LAMBDA_REQUEST + milliseconds / 1e3 * memory / 1024 * LAMBDA_GB_SECOND
    return [compute, API_TIERS[0][1], S3_PUT, size / 1e9 * S3_GB_MONTH, LOG_BYTES / 1e9 * LOG_GB]


def table():
    for size in CPU:
        for memory in (128, 256, 512):
            prices = [of * MILLION for of in trace(size, memory)]
            yield f"| {size / 1e3:.0f} KB | {memory} MB | " + " | ".join(f"{of:.2f}" for of in [*prices, sum(prices)]) + " |"


def span(batch):
    """Returns the price per span in a batch of this size, without storage and logs."""
    compute = LAMBDA_REQUEST + BATCHES[batch] / 1e3 * 512 / 1024 * LAMBDA_GB_SECOND
    return S3_PUT + (API_TIERS[0][1] + compute) / batch


def monthly(rate):
    """Returns the price per month at this rate of 1 KB traces per second, and the share of the PUTs."""
    requests = rate * MONTH
    compute, _, put, storage, logs = trace(1e3, 128)
    return api(requests) + requests * (compute + put + storage + logs), requests * put


def lake():
    """Returns the prices in the lake's table, per million new traces."""
    messages = [MILLION * SQS_REQUEST, 0.2 * MILLION * SQS_REQUEST, MILLION * S3_GET, 2_000 * LAMBDA_GB_SECOND, S3_GB_MONTH]
    return [round(of, 2) for of in messages]


def rounded(value, digits):
    """Formats dollars with this many significant digits."""
    places = digits - len(str(int(value)))
    return f"${round(value, places):,.0f}"


def figures():
    """Yields the strings that the page must contain."""
    yield from table()
    one, large = [of * MILLION for of in trace(1e3, 128)], trace(100e3, 128)
    yield f"make up {(one[1] + one[2]) / sum(one):.0%}".replace("%", " %")
    yield f"Each additional 10 ms costs ${10e-3 * 0.125 * LAMBDA_GB_SECOND * MILLION:.2f} at 128 MB"
    month = next(month for month in range(1, 100) if month * large[3] > max(large[1], large[2]))
    yield f"the largest item from the {['first', 'second', 'third', 'fourth'][month - 1]} month on"
    yield f"cost ${100e-3 * 0.125 * LAMBDA_GB_SECOND:.7f}. One cold start"
    yield f"adds ${1_000 * 100e-3 * 0.125 * LAMBDA_GB_SECOND:.4f} per million requests"
    resources = template.load()["Resources"].values()
    alarms = Counter(of["Condition"] for of in resources if of["Type"] == "AWS::CloudWatch::Alarm")
    every, of_otel = alarms["HasAlarms"] + alarms["HasOtelAlarms"], alarms["HasOtelAlarms"]
    yield f"up to 13 metrics at ${METRIC:.2f}, a dashboard at ${DASHBOARD:.0f} and, with `AlarmEmail`, {number(every)} alarms at ${ALARM:.2f}"
    yield f"except for {number(of_otel)} of the {number(every)} alarms. With spans, its function has nine more metrics"
    alone, together = (span(batch) * MILLION for batch in BATCHES)
    yield f"A million spans cost ${together:.2f} in batches of 512, of which ${S3_PUT * MILLION:.2f} are PUTs, and ${alone:.2f} one by one"
    rows = lake()
    for row in rows:
        yield f"| {row:.2f} |"
    yield f"It costs about ${sum(rows):.2f} per million new traces"
    yield f"| sum | | | {sum(rows):.2f} |"
    yield f"a message and a HEAD request: ${rows[0] + rows[1] + rows[2]:.2f} per million"
    runs = MONTH // 300
    receive, compute = runs * 8 * SQS_REQUEST, runs * (LAMBDA_REQUEST + 1.5 * LAMBDA_GB_SECOND)
    reads, writes, metrics = runs * (S3_LIST + 80 * S3_GET), runs * 5 * S3_PUT, 3 * METRIC
    yield f"there are {runs:,} runs"
    yield f"which makes {runs * 8 / 1e3:.0f},000 requests: ${receive:.2f}"
    yield f"takes about 1.5 s of 1 GB (observed on a local AWS): ${compute:.2f}"
    yield f"about 80 objects of it (${reads:.2f})"
    yield f"up to five PUT requests (${writes:.2f})"
    yield f"three metrics at ${METRIC:.2f} and, if `AlarmEmail` is set, {number(alarms['HasLakeAlarms'])} alarms at ${ALARM:.2f}"
    yield f"about ${receive + compute + reads + writes + metrics:.2f} per month for its schedule"
    listing = 100e6 / 1e3 * S3_LIST
    yield f"each pass over 100 million traces costs ${listing:.2f}"
    yield f"that would be ${runs * listing:,.0f} per month; once a day, ${30 * listing:.0f}"
    yield f"one such pass: ${listing:.2f} at 100 million traces"
    for rate, digits in ((10, 2), (100, 2)):
        yield f"At 1 KB, this costs {rounded(monthly(rate)[0], digits)} per month"
    whole, puts = monthly(10_000)
    yield f"This would cost about {rounded(whole, 3)} per month, of which {rounded(puts, 3)} are PUTs"


def number(count):
    return ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"][count]


if __name__ == "__main__":
    with open("docs/cost-and-scale.md") as file:
        page = " ".join(file.read().split())
    expected = list(figures())
    wrong = [text for text in expected if text not in page]
    # Every other price on the page must be part of one of these strings, so that no price lacks a calculation.
    known = " ".join(expected)
    for price in re.findall(r"\$[\d,.]*\d", page):
        if price not in known and float(price[1:].replace(",", "")) not in PRICES_OF_AWS:
            wrong.append(f"{price}: not calculated")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
