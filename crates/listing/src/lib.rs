//! Lists a bucket and checks each page, because some S3 implementations return incomplete listings.
//!
//! With an incomplete listing, an export would still succeed, and a lake would lose rows. Every page must therefore be
//! whole, start after the page before it, and name the next page unless it is the last one.

use std::borrow::Cow;

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::AfterDeserializationInterceptorContextRef},
    error::{BoxError, SdkError},
    operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output, builders::ListObjectsV2FluentBuilder},
    types::Object,
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use xmlparser::{ElementEnd, Token, Tokenizer};

/// The largest number of consecutive pages without an object. S3 returns such pages where many objects were deleted.
const MAX_EMPTY: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Request(Box<SdkError<ListObjectsV2Error>>),
    /// The listing would be incomplete or endless.
    #[error("the listing cannot be trusted: {0}")]
    Untrusted(Cow<'static, str>),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Clone, Default)]
struct Position {
    last: String,
    token: Option<String>,
    empty: u32,
}

pub struct CheckedPage {
    pub objects: Vec<Object>,
    /// The token of the next page, or `None` on the last page.
    pub next: Option<String>,
}

/// Lists all objects after the key `after`, in key order.
pub fn objects(
    list: ListObjectsV2FluentBuilder,
    after: Option<String>,
) -> impl Stream<Item = Result<Object>> + Send + 'static {
    let first = Position { last: after.unwrap_or_default(), ..Position::default() };
    let pages = stream::try_unfold((list, Some(first)), |(list, position)| async move {
        let Some(position) = position else { return Ok(None) };
        let (objects, next) = page_at(&list, &position).await?;
        Ok::<_, Error>(Some((objects, (list, next))))
    });
    pages.map_ok(|objects| stream::iter(objects.into_iter().map(Ok))).try_flatten().boxed()
}

/// Lists the first non-empty page after a key, or the last page. S3 returns empty pages where many objects were
/// deleted. Also returns whether more objects follow.
pub async fn page_after(list: ListObjectsV2FluentBuilder, after: String) -> Result<(Vec<Object>, bool)> {
    let mut position = Position { last: after, ..Position::default() };
    loop {
        match page_at(&list, &position).await? {
            (objects, Some(next)) if objects.is_empty() => position = next,
            (objects, next) => return Ok((objects, next.is_some())),
        }
    }
}

pub async fn page(list: ListObjectsV2FluentBuilder, token: Option<String>) -> Result<CheckedPage> {
    let page = send(list.set_continuation_token(token.clone())).await?;
    let (objects, next) = check(page, &Position { token, ..Position::default() })?;
    Ok(CheckedPage { objects, next: next.and_then(|next| next.token) })
}

async fn page_at(list: &ListObjectsV2FluentBuilder, position: &Position) -> Result<(Vec<Object>, Option<Position>)> {
    let start_after = Some(position.last.clone()).filter(|last| !last.is_empty() && position.token.is_none());
    let request = list.clone().set_start_after(start_after).set_continuation_token(position.token.clone());
    check(send(request).await?, position)
}

/// Sends a request. Fails if the XML of the response is truncated.
pub async fn send(list: ListObjectsV2FluentBuilder) -> Result<ListObjectsV2Output> {
    list.customize().interceptor(WholeXml).send().await.map_err(|error| Error::Request(Box::new(error)))
}

/// Returns a page's objects and the position of the next page. Fails if the page is incomplete or the listing does not
/// advance.
fn check(page: ListObjectsV2Output, before: &Position) -> Result<(Vec<Object>, Option<Position>)> {
    let prefixes = page.common_prefixes.unwrap_or_default();
    let objects = page.contents.unwrap_or_default();
    if let Some(count) = page.key_count.and_then(|count| usize::try_from(count).ok()) {
        let listed = objects.len() + prefixes.len();
        if count != listed {
            return Err(untrusted(format!("a page of {count} names contains {listed}")));
        }
    }
    let mut position = Position { last: before.last.clone(), token: None, empty: before.empty + 1 };
    for object in &objects {
        let key = object.key().ok_or_else(|| untrusted("an object has no key"))?;
        advance(&mut position, key)?;
    }
    let last_prefix = prefixes.iter().filter_map(|common| common.prefix()).max();
    if let Some(prefix) = last_prefix.filter(|prefix| *prefix > position.last.as_str()) {
        advance(&mut position, prefix)?;
    }
    let cut_off = || untrusted("a page does not say whether it is the last one: it is cut off");
    let is_truncated = page.is_truncated.ok_or_else(cut_off)?;
    if !is_truncated {
        return Ok((objects, None));
    }
    let token = page.next_continuation_token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| untrusted("a page is not the last one, and does not say how to continue"))?;
    if before.token.as_ref() == Some(&token) {
        return Err(untrusted("a page continues with itself: the listing does not advance"));
    }
    if position.empty >= MAX_EMPTY {
        return Err(untrusted(format!("{MAX_EMPTY} pages in a row are empty: the listing does not advance")));
    }
    position.token = Some(token);
    Ok((objects, Some(position)))
}

fn untrusted(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::Untrusted(reason.into())
}

fn advance(position: &mut Position, name: &str) -> Result<()> {
    if name <= position.last.as_str() {
        return Err(untrusted(format!("{name} follows {}, so the listing does not advance", position.last)));
    }
    name.clone_into(&mut position.last);
    position.empty = 0;
    Ok(())
}

/// Fails if the XML of a response is truncated, which the SDK accepts.
#[derive(Debug)]
struct WholeXml;

impl Intercept for WholeXml {
    fn name(&self) -> &'static str {
        "whole XML"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let body = response.body().bytes().unwrap_or_default();
        if response.status().is_success() && !is_whole(body) {
            return Err("the XML of a listing is cut off".into());
        }
        Ok(())
    }
}

/// Returns whether the XML has exactly one root element, which is closed.
fn is_whole(xml: &[u8]) -> bool {
    let Ok(xml) = std::str::from_utf8(xml) else { return false };
    let (mut depth, mut roots) = (0_u32, 0);
    for token in Tokenizer::from(xml) {
        match token {
            Ok(Token::ElementStart { .. }) => {
                roots += u32::from(depth == 0);
                depth += 1;
            }
            Ok(Token::ElementEnd { end: ElementEnd::Close(..) | ElementEnd::Empty, .. }) => {
                let Some(outer) = depth.checked_sub(1) else { return false };
                depth = outer;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    depth == 0 && roots == 1
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::CommonPrefix;

    use super::*;

    struct ListingAnswer {
        keys: &'static [&'static str],
        truncated: Option<bool>,
        token: Option<&'static str>,
        count: Option<i32>,
    }

    fn checked(answer: &ListingAnswer, last: &str, token: Option<&str>) -> Result<Option<Position>> {
        let contents = answer.keys.iter().map(|key| Object::builder().key(*key).build()).collect();
        let page = ListObjectsV2Output::builder()
            .set_contents(Some(contents))
            .set_is_truncated(answer.truncated)
            .set_next_continuation_token(answer.token.map(str::to_owned))
            .set_key_count(answer.count)
            .build();
        let before = Position { last: last.to_owned(), token: token.map(str::to_owned), empty: 0 };
        check(page, &before).map(|(_, next)| next)
    }

    #[test]
    fn a_page_must_be_whole_and_advance() {
        let sound = ListingAnswer { keys: &["b", "c"], truncated: Some(true), token: Some("t"), count: Some(2) };
        let next = checked(&sound, "a", Some("s")).expect("it is sound").expect("it goes on");
        assert_eq!((next.last.as_str(), next.token.as_deref()), ("c", Some("t")));
        let last = ListingAnswer { truncated: Some(false), token: None, count: None, ..sound };
        assert!(checked(&last, "", None).expect("it is sound").is_none());
        let empty = ListingAnswer { keys: &[], count: Some(0), ..sound };
        assert!(checked(&empty, "a", None).expect("deleted objects leave empty pages").is_some());
        for (answer, last, token) in [
            (ListingAnswer { token: None, ..sound }, "a", None),
            (ListingAnswer { token: Some(""), ..sound }, "a", None),
            (ListingAnswer { truncated: None, ..sound }, "a", None),
            (ListingAnswer { count: Some(3), ..sound }, "a", None),
            (ListingAnswer { keys: &["b", "b"], ..sound }, "a", None),
            (ListingAnswer { keys: &["c", "b"], ..sound }, "a", None),
            (ListingAnswer { ..sound }, "b", None), // the server ignores `start-after`
            (ListingAnswer { ..sound }, "a", Some("t")),
        ] {
            assert!(checked(&answer, last, token).is_err(), "{:?} after {last} {token:?}", answer.keys);
        }
    }

    #[test]
    fn empty_pages_end_at_a_limit_and_prefixes_advance() {
        let page = |token: &str| {
            let list = ListObjectsV2Output::builder().is_truncated(true).next_continuation_token(token);
            list.common_prefixes(CommonPrefix::builder().prefix("m/").build())
        };
        let before = Position { last: "a".to_owned(), token: None, empty: 7 };
        let (_, next) = check(page("t").build(), &before).expect("it advances");
        assert_eq!(next.expect("it goes on").empty, 0);
        let stuck = Position { last: "m/".to_owned(), token: None, empty: MAX_EMPTY };
        check(page("t").build(), &stuck).expect_err("nothing is new");
    }

    #[test]
    fn xml_without_its_end_is_not_whole() {
        let xml = r#"<?xml version="1.0"?><A><B>x</B><C a="1"/></A>"#;
        assert!(is_whole(xml.as_bytes()) && is_whole(b"<A/>\n"));
        for length in 0..xml.len() {
            assert!(!is_whole(&xml.as_bytes()[..length]), "{}", &xml[..length]);
        }
        for other in ["<A></A></A>", "<A></A><A></A>", "text", "\u{1}"] {
            assert!(!is_whole(other.as_bytes()), "{other}");
        }
    }
}
