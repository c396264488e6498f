//! How what a server says is read, for fuzz targets to reach. This is no part of the interface, and changes
//! at any time.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use url::Url;

use crate::source::{headers, links, read_coding, read_cookies};

/// A value of `Retry-After`: an hour at most.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    headers::retry_after(value, now)
}

/// A value of `Preference-Applied`: whether it names `wait`.
pub fn applies_wait(value: &str) -> bool {
    headers::applies_wait(value)
}

/// A value of `ETag`: a part of it, or nothing.
pub fn entity_tag(value: &str) -> Option<&str> {
    headers::entity_tag(value)
}

/// A value of `Content-Encoding`: whether it is one coding that was asked for.
pub fn is_coding_understood(value: &str) -> bool {
    read_coding(value)
}

/// The value of `Cookie` after an answer with these headers: of bounded size.
pub fn cookies(url: &Url, headers: &HeaderMap) -> Option<Vec<u8>> {
    read_cookies(url, headers)
}

/// Where a `Location` leads.
pub fn redirected(from: &Url, location: &str) -> Option<Url> {
    links::redirected(from, location)
}

/// Where the content of an event leads: joined to a base, or to the origin of a feed.
pub fn joined(base: &Url, is_given: bool, content: &str) -> Option<Url> {
    let base = base.clone();
    let base = match is_given {
        true => links::Base::Given(base),
        false => links::Base::Origin(base),
    };
    base.join(content)
}

/// The address that is asked for a URL, where a feed, others and mapped ones may be: at one of the first two
/// or what the third are mapped to, or none.
pub fn reached(feed: &Url, allowed: &[Url], mapped: &[(Url, Url)], url: &Url) -> Option<Url> {
    let mut origins = links::Origins::of(feed);
    for other in allowed {
        origins.allow(other);
    }
    for (from, to) in mapped {
        origins.map(from, to);
    }
    origins.reached(url).ok()
}

/// Whether an address is not one of the public Internet.
pub fn is_private(address: IpAddr) -> bool {
    crate::source::is_private(address)
}
