//! Tests which file formats `import` reads, and which it refuses.

use super::*;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("writing to memory succeeds");
    encoder.finish().expect("writing to memory succeeds")
}

#[tokio::test]
async fn the_contents_tell_the_format() {
    let lines: String = (0..20).map(|n| trace(n, 100) + "\n").collect();
    let zstd = zstd::encode_all(lines.as_bytes(), 1).expect("zstd");
    // pzstd starts each part with a skippable frame that contains the part's size (RFC 8878, section 3.1.2).
    let size = u32::try_from(zstd.len()).expect("it is small").to_le_bytes();
    let pzstd = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], &size, &zstd].concat();
    let bom = format!("\u{feff}{lines}");
    for (name, contents) in [
        ("skippable", pzstd),
        ("bom", bom.clone().into_bytes()),
        ("bom.gz", gzip(&bom)),
        ("blank", format!("\n\r\n{lines}\r\n").into_bytes()),
        ("members.gz", [gzip(&lines), gzip("\n\n"), gzip(&lines)].concat()),
        ("frames.zst", [&zstd[..], b"\x52\x2a\x4d\x18\x01\0\0\0x", &zstd].concat()),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(name), contents).expect("a file");
        let output = import(folder.path(), &[name]).await;
        let report = counts(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), report.get("stored")), (Some(0), Some(&20)), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_json_lines_is_refused_with_one_sentence() {
    let pretty = format!("{:#}\n", serde_json::from_str::<Value>(&trace(1, 1)).expect("JSON"));
    let array = format!("[{}]", trace(1, 1));
    let utf_16: Vec<u8> = "\u{feff}{}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (contents, said) in [
        (format!("[\n{},\n{}\n]\n", trace(1, 1), trace(2, 2)).into_bytes(), "jq -c '.[]'"),
        (array.clone().into_bytes(), "jq -c '.[]'"),
        (gzip(&array), "jq -c '.[]'"),
        (pretty.repeat(3).into_bytes(), "jq -c ."),
        (format!("\u{feff}{pretty}").into_bytes(), "jq -c ."),
        (b"model,created\nm,1\n".to_vec(), "not JSON Lines"),
        ("x".repeat(200_000).into_bytes(), "not JSON Lines"),
        (b"PK\x03\x04rest of it".to_vec(), "ZIP"),
        (b"\xfd7zXZ\0rest of it".to_vec(), "xz"),
        (utf_16, "UTF-16"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("t"), contents).expect("a file");
        let output = import(folder.path(), &["t"]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(error.contains(said) && error.lines().count() == 1, "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "{said}: nothing is written");
    }
}

#[tokio::test]
async fn a_log_is_mapped_and_repeated_names_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = [
        r#"{"request":{"model":"m","messages":[],"temperature":0.1,"temperature":0.9},"response":{"created":1,"choices":[]}}"#,
        r#"{"request":{"model":"m","messages":[]},"response":{"created":1,"choices":[]},"note":"A","note":"B"}"#,
        r#"{"request":{"model":"m","messages":[],"n":1.10000000000000000000001},"response":{"created":1,"choices":[]}}"#,
    ];
    fs::write(folder.path().join("t.jsonl"), lines.join("\n")).expect("a file");
    let output = import(folder.path(), &["t.jsonl", "--from", "openai-chat"]).await;
    let report = counts(&output.stdout);
    assert_eq!((output.status.code(), report["stored"], report["refused"]), (Some(1), 1, 2));
    let reasons = fs::read_to_string(folder.path().join("t.jsonl.rejected.jsonl")).expect("reasons");
    assert!(
        reasons.contains(r#""pointer":"/request/temperature""#) && reasons.contains(r#""pointer":"/note""#),
        "{reasons}"
    );
    let stored = objects(&folder.path().join("traces"));
    assert!(stored.values().all(|object| String::from_utf8_lossy(object).contains("1.10000000000000000000001")));

    let output = import(folder.path(), &["t.jsonl", "--from", "openai"]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("openai-chat"), "{error}");
}
