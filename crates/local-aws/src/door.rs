//! The guard of every listener: refuses requests that a page of another site makes a browser send.
//!
//! A page of another site reaches a listener on loopback in two ways. It can send cross-site requests, which browsers
//! mark with `Origin` or `Sec-Fetch-Site` (Fetch Metadata Request Headers, section 2). Or its host name can change to
//! an address of this machine, so that the browser takes the listener for the page's own site (DNS rebinding). `Host`
//! then contains that name. A page on another port of this machine also counts as another site.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
        X_CONTENT_TYPE_OPTIONS,
    },
    http::uri::Authority,
};

/// The names of this machine that no other site can have: RFC 6761 reserves `localhost`, and ICANN reserves `.internal`
/// for private use. Docker and Podman define the last two in containers.
const NAMES: [&str; 3] = ["localhost", "host.docker.internal", "host.containers.internal"];

/// The largest number of characters of a foreign header that a log line shows.
const SHOWN: usize = 100;

/// The content security policy of every page. It allows the page's own style and script, and embedded images and audio.
pub const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                               img-src data:; media-src data:; form-action 'self'; base-uri 'none'; \
                               frame-ancestors 'none'";

/// The headers of every response. They make browsers hide it from pages of other sites, and trust its media type.
const PROTECTION: [(HeaderName, &str); 2] =
    [(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// The body of a refused navigation. The link leads to the same address, but as a request from this site.
const LINKED: &str = "<!doctype html><title>attest</title><p>Another site sent you here. \
                      <a href=\"\">Open this address</a> only if you trust the link.";

pub fn protect<B>(response: &mut Response<B>) {
    for (name, value) in PROTECTION {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

/// The guard of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    address: IpAddr,
}

#[derive(Debug, PartialEq, Eq)]
pub enum DoorRefusal {
    /// `Host` is missing, repeated or not a host.
    BadHost,
    /// The host is not a name or address of this machine.
    ForeignHost(String),
    /// A page of another site sent the request; `navigates` if the browser would show the response as a page.
    ForeignSite { site: String, navigates: bool },
}

impl Door {
    /// `address` is the address on which the client reached this machine.
    pub fn new(address: IpAddr) -> Self {
        Self { address: address.to_canonical() }
    }

    /// Checks that a request is for this machine, and that no page of another site sent it.
    pub fn check<B>(self, request: &Request<B>) -> Result<(), DoorRefusal> {
        let headers = request.headers();
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(DoorRefusal::BadHost) };
        let host = Authority::try_from(host.as_bytes()).map_err(|_| DoorRefusal::BadHost)?;
        // A request target in absolute form overrides `Host` (RFC 9112, section 3.2.2), so both are checked.
        let foreign = [Some(&host), request.uri().authority()].into_iter().flatten().find(|host| !self.is_own(host));
        if let Some(foreign) = foreign {
            return Err(DoorRefusal::ForeignHost(shown(foreign.as_str())));
        }
        let foreign = |name, is_own: &dyn Fn(&str) -> bool| {
            let values = headers.get_all(name).into_iter();
            values.map(|value| value.to_str().unwrap_or_default()).find(|value| !is_own(value)).map(shown)
        };
        let site = foreign(ORIGIN, &|origin| is_origin_of(origin, &host))
            .or_else(|| foreign(SEC_FETCH_SITE, &|site| matches!(site, "same-origin" | "none")));
        site.map_or(Ok(()), |site| Err(DoorRefusal::ForeignSite { site, navigates: navigates(headers) }))
    }

    /// Returns whether a host is this machine. A page cannot have an address of this machine as its host name, unless
    /// this machine served the page.
    fn is_own(self, host: &Authority) -> bool {
        if host.as_str().contains('@') {
            return false;
        }
        let name = host.host();
        let name = name.strip_suffix('.').unwrap_or(name); // the absolute form of a name
        match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback() || address.to_canonical() == self.address,
            Err(_) => NAMES.iter().any(|own| own.eq_ignore_ascii_case(name)) || self.is_machine(name),
        }
    }

    /// Returns whether this is the machine's name on the network, alone or in the multicast DNS domain `.local`.
    fn is_machine(self, name: &str) -> bool {
        if self.address.is_loopback() {
            return false;
        }
        let machine = rustix::system::uname();
        let Ok(machine) = machine.nodename().to_str() else { return false };
        let (machine, name) = (machine.to_ascii_lowercase(), name.to_ascii_lowercase());
        !machine.is_empty() && (name == machine || name.strip_suffix(".local") == Some(&machine))
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns whether `origin` has the host and port that the request is for. The scheme may differ, because a proxy may
/// terminate TLS.
fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(own)) = (origin.scheme_str(), origin.authority()) else { return false };
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    !own.as_str().contains('@') // no browser sends one
        && own.host().eq_ignore_ascii_case(host.host()) && own.port_u16().unwrap_or(port) == host.port_u16().unwrap_or(port)
}

/// Returns whether the browser would show the response as a page.
fn navigates(headers: &HeaderMap) -> bool {
    let is = |name, value: &str| headers.get(name).is_some_and(|given| given == value);
    is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

fn shown(value: &str) -> String {
    value.chars().take(SHOWN).collect()
}

impl DoorRefusal {
    pub fn respond(self) -> Response<Full<Bytes>> {
        let (status, problem, cause, detail) = match &self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "bad-host", "", "The request needs one Host header."),
            Self::ForeignHost(host) => (
                StatusCode::MISDIRECTED_REQUEST,
                "foreign-host",
                host.as_str(),
                "This server is for this machine only.",
            ),
            Self::ForeignSite { site, .. } => {
                (StatusCode::FORBIDDEN, "foreign-site", site.as_str(), "Pages of other sites may not send requests.")
            }
        };
        tracing::warn!(status = status.as_u16(), problem, cause, "refused");
        let mut response = match self {
            Self::ForeignSite { navigates: true, .. } => answer("text/html; charset=utf-8", LINKED.to_owned()),
            // Problem details with the default type (RFC 9457, section 3.1.1). No string needs escaping.
            _ => answer(
                "application/problem+json",
                format!(
                    r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{detail}"}}"#,
                    status.canonical_reason().unwrap_or_default(),
                    status.as_u16()
                ),
            ),
        };
        *response.status_mut() = status;
        response
    }
}

fn answer(media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    for (name, value) in
        [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-store"), (CONTENT_SECURITY_POLICY, PAGE_POLICY)]
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1";

    fn check(address: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), DoorRefusal> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Door::new(address.parse().expect("an address")).check(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_names_and_addresses_of_this_machine_are_hosts() {
        for host in [
            "127.0.0.1:9080",
            "127.0.0.1",
            "127.3.4.5",
            "localhost",
            "LocalHost:1",
            "localhost.:9080",
            "[::1]:9080",
            "[::ffff:127.0.0.1]",
            "host.docker.internal:9081",
        ] {
            assert_eq!(check(LOOPBACK, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:9080",
            "localhost.evil.example",
            "evil.localhost",
            "localhost..",
            "10.0.0.1",
            "0.0.0.0:9080",
            "[::2]",
            "2130706433",
            "127.1",
            "localhost@evil.example",
            "evil.example@localhost",
            "xn--lcalhost-2ib",
        ] {
            assert!(matches!(check(LOOPBACK, "/", &[("host", host)]), Err(DoorRefusal::ForeignHost(_))), "{host}");
        }
        for host in ["", "a b", "localhost,evil.example", "localhost/x", "[::1"] {
            assert!(check(LOOPBACK, "/", &[("host", host)]).is_err(), "{host}");
        }
        assert_eq!(check(LOOPBACK, "/", &[]), Err(DoorRefusal::BadHost));
        assert_eq!(check(LOOPBACK, "/", &[("host", "localhost"), ("host", "localhost")]), Err(DoorRefusal::BadHost));
    }

    #[test]
    fn the_host_of_the_request_target_counts_too() {
        let own = [("host", "localhost:9080")];
        assert_eq!(check(LOOPBACK, "http://127.0.0.1:9080/prod", &own), Ok(()));
        assert!(check(LOOPBACK, "http://evil.example/prod", &own).is_err());
        assert!(check(LOOPBACK, "http://localhost/", &[("host", "evil.example")]).is_err());
    }

    #[test]
    fn another_interface_has_its_own_address_and_the_name_of_the_machine() {
        let machine = rustix::system::uname().nodename().to_str().expect("UTF-8").to_owned();
        for host in ["172.17.0.1:9081", "localhost", &machine, &format!("{machine}.local:1").to_uppercase()] {
            assert_eq!(check("172.17.0.1", "/", &[("host", host)]), Ok(()), "{host}");
            assert_eq!(check("::ffff:172.17.0.1", "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["172.17.0.2", "evil.example", &format!("{machine}.evil.example")] {
            assert!(check("172.17.0.1", "/", &[("host", host)]).is_err(), "{host}");
        }
    }

    #[test]
    fn only_pages_of_the_same_host_and_port_may_send_requests() {
        for (host, origin) in [
            ("127.0.0.1:9080", "http://127.0.0.1:9080"),
            ("localhost:9080", "https://localhost:9080"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("[::1]:9080", "http://[::1]:9080"),
        ] {
            assert_eq!(check(LOOPBACK, "/", &[("host", host), ("origin", origin)]), Ok(()), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://127.0.0.1:9081",
            "http://localhost:9080",
            "https://evil.example",
            "file://",
            "http://evil.example:9080",
            "chrome-extension://127.0.0.1:9080",
            "http://127.0.0.1",
            "http://evil.example@127.0.0.1:9080",
            "127.0.0.1:9080",
            "http://127.0.0.1:9080 http://evil.example",
        ] {
            let refused = check(LOOPBACK, "/", &[("host", "127.0.0.1:9080"), ("origin", origin)]);
            assert!(matches!(refused, Err(DoorRefusal::ForeignSite { navigates: false, .. })), "{origin}: {refused:?}");
        }
        for (site, is_own) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            let checked = check(LOOPBACK, "/", &[("host", "localhost"), ("sec-fetch-site", site)]);
            assert_eq!(checked.is_ok(), is_own, "{site}: {checked:?}");
        }
    }
}
