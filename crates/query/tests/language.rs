//! Tests what queries match, which strings are refused, and how queries are formatted.

use attest_mapping::conversation::StoredTrace;
use attest_query::{Candidate, Field, Query};
use attest_storage::ListingEntry;
use proptest::prelude::*;

const TRACE: &str = r#"{
  "model": "gpt-4o", "created": 1795352400, "id": "order/17", "rating": 4, "my key": {"a.b": [1, [2, "x"]]},
  "messages": [
    {"role": "user", "content": "Please REFUND me (now): http://a.test?x=1, or call 5\" \"quoted\""},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "look_up", "arguments": "{\"id\":1}"}}]}],
  "choices": {"0": {"finish_reason": "stop"}, "1": {"finish_reason": "length"}},
  "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 9007199254740993},
  "request": {"temperature": 0.50, "stop": null, "stream": true},
  "log": {"user": "u-7", "user": "second", "session_id": "s 1", "tags": ["beta", "ü"], "big": 1e400, "text": "5"},
  "error": {"status": 429, "message": "Rate limit reached"}
}"#;

fn entry() -> ListingEntry {
    let stored = "2026-11-22T10:00:00Z".parse().expect("a time");
    ListingEntry { key: "my%20model/order%2F17".to_owned(), stored, size: 1_234 }
}

fn matches(query: &str) -> bool {
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{query} is a query: {error}"));
    let (entry, stored) = (entry(), StoredTrace::read(TRACE.as_bytes()));
    let matches = query.matches(&Candidate::new(&entry, &stored));
    if let Some(decided) = query.decide(&entry) {
        assert_eq!(decided, matches, "{query} by the listing");
    }
    if matches {
        assert!(query.prefilter().may_match(TRACE.as_bytes()), "{query} before parsing");
        assert!(entry.key.starts_with(&query.key_prefix()), "{query}: {}", query.key_prefix());
        assert!(query.times().contains(entry.stored), "{query}: {:?}", query.times());
    }
    matches
}

#[test]
fn words_and_conditions_select() {
    for query in [
        "refund",
        "REFUND please",
        "\"refund me\"",
        "http://a.test?x=1,",
        "\"(now):\"",
        "f(x) or refund",
        r#""5\"""#,
        r#"5""#,
        "\"or\"",
        "-banana",
        "not banana",
        "NOT banana AND refund",
        "banana or refund",
        "banana OR (refund and -banana)",
        "banana banana or refund",
        "refund or banana banana",
        "not (banana or apple)",
        "not not refund",
        "-(banana)",
        "(refund)",
        "((refund) -banana)",
        "model:gpt-4o",
        "MODEL:gpt-4o",
        "model=gpt-4o",
        "model:gpt*",
        "model:\"gpt-4o\"",
        "model = gpt-4o",
        "-model:gpt",
        "-model=gpt*",
        "fingerprint:my",
        "fingerprint:\"my model\"",
        "fingerprint:my%20model",
        "fingerprint=\"my model\"",
        "-fingerprint=my",
        "id:order/17",
        "id:order%2F",
        "id:17",
        "id=order/17",
        "-id=17",
        "-id:2F",
        "id:order*",
        "key:my%20model/order%2F17",
        "key:my*",
        "user:u-7 or user:second",
        "session:\"s 1\"",
        "tag:beta tag:ü",
        "-tag:other",
        "role:tool or role:assistant",
        "tool:look_up",
        "is:error -is:refusal -is:incomplete",
        "error:\"rate LIMIT\"",
        "error.status:429",
        "error.status>=429",
        "created:2026",
        "created:2026-11",
        "created:2026-11-22",
        "created:1795352400",
        "created>=2026-11-22 created<2026-11-23 created<=2026-11",
        "-created>2026-11-22",
        "stored:2026-11-22T10:00:00Z",
        "stored>2026-11-21 stored<=2026-11-22",
        "since:2026-11-22T10:00:00Z until:2026-11-22T10:00:01Z",
        "since:2026-11 until:2026-12",
        "size:1234 size>1233.5 size<1e4 size <= 1234",
        "total_tokens:9007199254740993 -total_tokens:9007199254740992",
        "input_tokens:7 output_tokens<6",
        "usage.total_tokens>9007199254740992",
        "usage.total_tokens<9007199254740993.5",
        "request.temperature:0.5 request.temperature:5e-1",
        "request.stop:null request.stream:true -request.stream:false",
        "request.stop:* -request.other:*",
        "log.user:u-7 log.user:second",
        "log.big:1e400 log.big>1e399 log.big<10e400",
        "log.text:5 -log.text>4",
        "log.tags:beta log.tags.1:ü -log.tags.0:ü",
        "log:beta",
        "choices.finish_reason:length choices.0.finish_reason:stop -choices.0.finish_reason:length",
        "messages.role:assistant messages.tool_calls.function.name:look_up",
        ".rating>=4 .rating<5 .rating:4.0",
        ".\"my key\".\"a.b\":x .\"my key\".\"a.b\">1",
        ".model:gpt-4o",
        ".env or refund",
        "-> or refund",
        "--all or refund",
    ] {
        assert!(matches(query), "{query}");
        assert!(!matches(&format!("not ({query})")), "not ({query})");
    }
    assert!(matches(""), "the empty query");
}

#[test]
fn everything_else_is_refused_with_advice() {
    for (query, advice) in [
        ("requests.temperature>1", "`requests` is not a field. The fields are fingerprint, id,"),
        ("models:x", "Write another member with a dot before it, such as `.models:1`"),
        ("rating:5", "the members of a trace are id, object, model,"),
        ("Usage.total_tokens>1", "`Usage` is not a field"),
        ("tool.name:x", "`tool` is not a field"),
        ("Note: remember", "`Note` is not a field"),
        ("model:", "`model:` has no value"),
        ("model: gpt-4o", "`model:` has no value"),
        ("(model:)", "`model:` has no value"),
        ("size >", "`size>` has no value"),
        ("model>gpt", "`model` is not compared with `>`: use `:` or `=`"),
        ("since>2026", "use `:`, or the field `stored`"),
        ("is>error", "use `:` or `=`"),
        ("request.temperature>high", "`high` is not a number"),
        ("size:big", "`big` is not a number"),
        ("size:*", "`*` is not a number"),
        ("usage.total_tokens>1,000", "`1,000` is not a number"),
        ("created:yesterday", "`yesterday` is not a time: write `created` with 2026, 2026-11,"),
        ("until:2026-13", "`2026-13` is not a time"),
        ("until:2026-13", "2026-11-22T10:00:00Z. The fields are fingerprint, id,"),
        ("stored:2026*", "`2026*` is not a time"),
        ("is:broken", "`is:broken` is unknown: write error, refusal or incomplete"),
        ("\"refund", "the quote before `refund` is not closed"),
        ("id:\"not closed", "the quote before `not closed` is not closed"),
        ("\"my key\":3", "a name in quotes needs"),
        ("\"\"", "an empty text"),
        ("id:\"\"", "an empty text"),
        ("fingerprint=\"\"", "an empty text"),
        ("(refund", "`(` is not closed"),
        ("refund)", "`)` closes nothing"),
        ("()", "there is nothing"),
        ("refund or", "there is nothing"),
        ("or refund", "there is nothing before `and` or `or`"),
        ("refund and and me", "there is nothing before"),
        ("not", "there is nothing"),
        ("> 5", "`>` has no field"),
    ] {
        let error = Query::parse(query).expect_err(query).to_string();
        assert!(error.contains(advice), "{query}: {error}");
    }
    let deep = |levels| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    Query::parse(&deep(50)).expect("it is deep enough");
    assert!(Query::parse(&deep(100_000)).expect_err("it is too deep").to_string().contains("nested deeper than 50"));
}

#[test]
fn the_parts_that_every_match_fulfills_can_be_read_and_replaced() {
    let query = Query::parse("fingerprint:a fingerprint:b refund (model:x or model:y) -role:user").expect("a query");
    assert_eq!(query.values(Field::Fingerprint).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(query.values(Field::Model).count(), 0);
    assert_eq!(query.words(), ["refund"]);
    let query = query.with(Field::Fingerprint, "my model/").expect("a query");
    assert_eq!(query.to_string(), "fingerprint:\"my model/\" refund (model:x or model:y) not role:user");
    let query = query.with(Field::Fingerprint, "").expect("a query").and(Query::parse("a or b").expect("a query"));
    assert_eq!(query.to_string(), "refund (model:x or model:y) not role:user (a or b)");
    Query::default().with(Field::Since, "yesterday").expect_err("not a time");
    assert!(Query::default().is_empty() && Query::parse(" \t").expect("a query").is_empty());
    assert!(!Query::parse("since:2026").expect("a query").needs_content());
    assert!(Query::parse("since:2026 or refund").expect("a query").needs_content());
}

#[test]
fn the_listing_bounds_the_matches() {
    for (query, prefix, since, until) in [
        ("fingerprint:gpt stored:2026-11", "gpt", Some("2026-11-01T00:00:00Z"), Some("2026-12-01T00:00:00Z")),
        ("fingerprint=gpt since:2026 since:2027", "gpt/", Some("2027-01-01T00:00:00Z"), None),
        ("fingerprint:gpt-4 or fingerprint:gpt-5", "gpt-", None, None),
        ("(since:2026 or since:2025) refund", "", Some("2025-01-01T00:00:00Z"), None),
        ("until:2026 or until:2025 or refund", "", None, None),
        ("not fingerprint:gpt not since:2026", "", None, None),
        ("key:gpt/1 or key:gpt/2*", "gpt/", None, None),
    ] {
        let query = Query::parse(query).expect(query);
        let text = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
        let (times, given) = (query.times(), |time: Option<&str>| time.map(str::to_owned));
        assert_eq!(query.key_prefix(), prefix, "{query}");
        assert_eq!((text(times.since), text(times.until)), (given(since), given(until)), "{query}");
    }
}

#[test]
fn a_listing_decides_alone_where_it_can() {
    for (query, decided) in [
        ("fingerprint:other refund", Some(false)),
        ("fingerprint:my refund", None),
        ("fingerprint:my or refund", Some(true)),
        ("not (fingerprint:other refund)", Some(true)),
        ("size>1 stored:2026", Some(true)),
    ] {
        assert_eq!(Query::parse(query).expect(query).decide(&entry()), decided, "{query}");
    }
}

#[test]
fn bytes_that_hide_a_text_pass_the_prefilter() {
    for (content, word) in [
        (r#""a\u0062c""#, "abc"),
        (r#""a\u212a""#, "ak"),
        ("\"a\u{212a}\"", "ak"),
        (r#""Gr\u00fc\u00dfe""#, "grüße"),
        (
            r#"[{"type": "text", "text": "ref", "citations": [{"title": "t"}]}, {"type": "text", "text": "und"}]"#,
            "refund",
        ),
        (r#"{"a":[1,"x\ny"]}"#, r#""x\ny""#),
        (r#"{"a":[1,"x\u000ay"]}"#, "ny"),
    ] {
        let json =
            format!(r#"{{"messages": [{{"role": "user", "content": "", "original": {{"content": {content}}}}}]}}"#);
        let word = format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\""));
        let (query, entry, stored) =
            (Query::parse(&word).expect("a word"), entry(), StoredTrace::read(json.as_bytes()));
        assert!(query.matches(&Candidate::new(&entry, &stored)), "{json} contains {word}");
        assert!(query.prefilter().may_match(json.as_bytes()), "{json} may contain {word}");
        assert!(!Query::parse("banana").expect("a word").prefilter().may_match(b"{\"messages\": []}"));
    }
    assert!(
        !Query::parse("refund log.user:u-7").expect("a query").prefilter().may_match(b"{\"messages\": \"refund\"}")
    );
}

#[test]
fn the_documentation_lists_the_fields() {
    let page = include_str!("../../../docs/reading.md");
    let rows: Vec<_> =
        Field::ALL.iter().map(|(_, name, explanation)| format!("| `{name}` | {explanation} |")).collect();
    assert!(page.contains(&rows.join("\n")), "docs/reading.md lacks these rows:\n{}", rows.join("\n"));
    let members = Field::MEMBERS.map(|name| format!("`{name}`")).join(", ");
    assert!(page.replace('\n', " ").contains(&members), "docs/reading.md lacks {members}");
}

#[test]
fn the_members_without_a_dot_are_those_of_the_schema_and_the_mapping() {
    let schema = attest_mapping::json::Members::read(include_bytes!("../../../src/trace.schema.json"));
    for (name, _) in schema.object("properties").iter() {
        assert!(Field::MEMBERS.contains(&name), "{name}");
    }
    let page = include_str!("../../../docs/mapping.md");
    let table =
        page.split_once("## Members of a trace").and_then(|(_, rest)| rest.split_once("\n## ")).expect("a section").0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        for name in row.split('|').nth(1).expect("a cell").split('`').skip(1).step_by(2) {
            assert!(Field::MEMBERS.contains(&name), "{name}");
        }
    }
}

/// Generates strings from pieces that are likely to form queries.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "model",
        "log",
        "usage.total_tokens",
        ".own",
        ".\"my key\"",
        "created",
        "since",
        "is",
        ":",
        "=",
        ">",
        ">=",
        "<",
        "<=",
        "error",
        "2026-11",
        "5",
        "-",
        "not ",
        "or ",
        " and ",
        "(",
        ")",
        " ",
        "\"",
        "\\",
        "*",
        "a.b",
        "//",
        "refund",
        "ü",
        "{",
        "0",
    ];
    prop_oneof![
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat()),
        "\\PC*",
        "(model|id|log\\.x)(:|=|>)(\"[^\"]*\"|[a-z0-9*(/:-]*)",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_query_is_written_so_that_it_parses_to_itself(text in text()) {
        if let Ok(query) = Query::parse(&text) {
            let written = query.to_string();
            prop_assert_eq!(Query::parse(&written), Ok(query), "{}", written);
        }
    }

    #[test]
    fn a_match_passes_every_test_before_it(text in text()) {
        if Query::parse(&text).is_ok() {
            matches(&text);
        }
    }
}
