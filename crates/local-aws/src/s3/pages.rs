//! Cuts listings into pages.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::{
    S3Result,
    dto::{
        CommonPrefix, ETag, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
        ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion,
        ObjectVersionStorageClass, Timestamp,
    },
    s3_error,
};

use super::listing::{NULL_VERSION, ObjectInfo};

/// The largest number of names on a page (Amazon S3 API Reference, `ListObjectsV2`).
const MOST_NAMES: i32 = 1000;

/// The characters that a listing with `encoding-type=url` percent-encodes (Amazon S3 API Reference, `ListObjectsV2`).
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

pub(super) fn list_v2(objects: &[ObjectInfo], input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let token = input.continuation_token.as_deref().map(name_of).transpose()?;
    let query = ListQuery {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: token.as_deref().or(input.start_after.as_deref()).unwrap_or_default(),
        max_keys: max_keys(input.max_keys)?,
    };
    let page = KeyPage::cut(objects, query);
    let encoding = KeyEncoding::of(input.encoding_type.as_ref());
    Ok(ListObjectsV2Output {
        key_count: page.count(),
        max_keys: i32::try_from(query.max_keys).ok(),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(token_after),
        contents: Some(page.contents(encoding)),
        common_prefixes: Some(page.common_prefixes(encoding)),
        prefix: input.prefix.as_deref().map(|name| encoding.apply(name)),
        delimiter: input.delimiter.as_deref().map(|name| encoding.apply(name)),
        start_after: input.start_after.as_deref().map(|name| encoding.apply(name)),
        name: Some(input.bucket),
        encoding_type: input.encoding_type,
        continuation_token: input.continuation_token,
        ..ListObjectsV2Output::default()
    })
}

/// Handles `ListObjects`. Also returns the marker of the next page.
pub(super) fn list_v1(
    objects: &[ObjectInfo],
    input: ListObjectsInput,
) -> S3Result<(ListObjectsOutput, Option<String>)> {
    let query = ListQuery {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: input.marker.as_deref().unwrap_or_default(),
        max_keys: max_keys(input.max_keys)?,
    };
    let page = KeyPage::cut(objects, query);
    let encoding = KeyEncoding::of(input.encoding_type.as_ref());
    // Without a delimiter, S3 returns no marker, because the client can use the last key.
    let next_marker = page.next.filter(|_| !query.delimiter.is_empty()).map(|name| encoding.apply(name));
    let output = ListObjectsOutput {
        max_keys: i32::try_from(query.max_keys).ok(),
        is_truncated: Some(page.next.is_some()),
        next_marker,
        contents: Some(page.contents(encoding)),
        common_prefixes: Some(page.common_prefixes(encoding)),
        prefix: Some(encoding.apply(query.prefix)),
        delimiter: input.delimiter.as_deref().map(|name| encoding.apply(name)),
        marker: Some(encoding.apply(query.after)),
        name: Some(input.bucket),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    };
    Ok((output, page.next.map(str::to_owned)))
}

/// Handles `ListObjectVersions` for a bucket without versioning, where each object has one version. Also returns the
/// key marker of the next page.
pub(super) fn list_versions(
    objects: &[ObjectInfo],
    input: ListObjectVersionsInput,
) -> S3Result<(ListObjectVersionsOutput, Option<String>)> {
    let query = ListQuery {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: input.key_marker.as_deref().unwrap_or_default(),
        max_keys: max_keys(input.max_keys)?,
    };
    let page = KeyPage::cut(objects, query);
    let encoding = KeyEncoding::of(input.encoding_type.as_ref());
    let version = |object: Object| ObjectVersion {
        key: object.key,
        e_tag: object.e_tag,
        size: object.size,
        last_modified: object.last_modified,
        is_latest: Some(true),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some(NULL_VERSION.to_owned()),
        ..ObjectVersion::default()
    };
    let output = ListObjectVersionsOutput {
        max_keys: i32::try_from(query.max_keys).ok(),
        is_truncated: Some(page.next.is_some()),
        next_key_marker: page.next.map(|name| encoding.apply(name)),
        next_version_id_marker: page.next.map(|_| NULL_VERSION.to_owned()),
        versions: Some(page.contents(encoding).into_iter().map(version).collect()),
        common_prefixes: Some(page.common_prefixes(encoding)),
        prefix: Some(encoding.apply(query.prefix)),
        delimiter: input.delimiter.as_deref().map(|name| encoding.apply(name)),
        key_marker: Some(encoding.apply(query.after)),
        version_id_marker: input.version_id_marker,
        name: Some(input.bucket),
        encoding_type: input.encoding_type,
        ..ListObjectVersionsOutput::default()
    };
    Ok((output, page.next.map(str::to_owned)))
}

#[derive(Debug, Clone, Copy)]
struct ListQuery<'a> {
    prefix: &'a str,
    /// The end of a common prefix, or empty if there is no delimiter.
    delimiter: &'a str,
    /// The name after which the page starts, or empty for the first page.
    after: &'a str,
    max_keys: usize,
}

#[derive(Debug)]
struct KeyPage<'a> {
    objects: Vec<&'a ObjectInfo>,
    prefixes: Vec<&'a str>,
    /// The last name on the page, if more names follow.
    next: Option<&'a str>,
}

impl<'a> KeyPage<'a> {
    /// Cuts a page from the objects, which must be in key order.
    fn cut(objects: &'a [ObjectInfo], query: ListQuery<'_>) -> Self {
        let ListQuery { prefix, delimiter, after, max_keys } = query;
        let mut page = Self { objects: Vec::new(), prefixes: Vec::new(), next: None };
        if max_keys == 0 {
            return page;
        }
        let mut last: Option<&str> = None;
        let begin = objects.partition_point(|object| *object.key <= *after || *object.key < *prefix);
        for object in &objects[begin..] {
            let Some(rest) = object.key.strip_prefix(prefix) else { break };
            let end = if delimiter.is_empty() { None } else { rest.find(delimiter) };
            // All keys with the same prefix up to the delimiter count as one name.
            let common = end.map(|end| &object.key[..prefix.len() + end + delimiter.len()]);
            let name = common.unwrap_or(&object.key);
            if name <= after || last == Some(name) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == max_keys {
                page.next = last;
                break;
            }
            last = Some(name);
            match common {
                Some(common) => page.prefixes.push(common),
                None => page.objects.push(object),
            }
        }
        page
    }

    fn count(&self) -> Option<i32> {
        i32::try_from(self.objects.len() + self.prefixes.len()).ok()
    }

    fn contents(&self, encoding: KeyEncoding) -> Vec<Object> {
        let object = |object: &&ObjectInfo| Object {
            key: Some(encoding.apply(&object.key)),
            e_tag: Some(ETag::Strong(object.e_tag())),
            size: i64::try_from(object.size).ok(),
            last_modified: Some(Timestamp::from(object.modified)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        };
        self.objects.iter().map(object).collect()
    }

    fn common_prefixes(&self, encoding: KeyEncoding) -> Vec<CommonPrefix> {
        self.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.apply(prefix)) }).collect()
    }
}

fn max_keys(given: Option<i32>) -> S3Result<usize> {
    let most = given.unwrap_or(MOST_NAMES).min(MOST_NAMES);
    usize::try_from(most).map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative"))
}

#[derive(Debug, Clone, Copy)]
enum KeyEncoding {
    Plain,
    /// Names are percent-encoded, because XML 1.0 cannot represent every character.
    Url,
}

impl KeyEncoding {
    fn of(encoding_type: Option<&EncodingType>) -> Self {
        if encoding_type.is_some_and(|encoding| encoding.as_str() == EncodingType::URL) {
            Self::Url
        } else {
            Self::Plain
        }
    }

    fn apply(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Url => utf8_percent_encode(name, URL).to_string(),
        }
    }
}

fn token_after(last: &str) -> String {
    utf8_percent_encode(last, URL).to_string()
}

fn name_of(token: &str) -> S3Result<String> {
    let name = percent_decode_str(token).decode_utf8().ok().filter(|name| !name.is_empty());
    name.map(Into::into).ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is invalid"))
}
