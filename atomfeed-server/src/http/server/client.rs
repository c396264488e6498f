use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// Who sent a request: an extension of every request that a [`FeedServer`](super::FeedServer) hands on,
/// unless it came through a Unix socket and nobody who is trusted says from where.
///
/// It is the address of the peer; where that is a [trusted proxy](super::FeedServer::trust_proxies), the
/// nearest address before it that is none, as `Forwarded` (RFC 7239 §5.2) or `X-Forwarded-For` has it.
/// What a proxy cannot name (`unknown`), or two headers that disagree, leave it at the last proxy that
/// is known.
///
/// ```
/// use atomfeed_server::ClientAddress;
/// use axum::Extension;
///
/// async fn handler(Extension(client): Extension<ClientAddress>) -> String {
///     format!("you are {}", client.ip())
/// }
/// # let _: axum::routing::MethodRouter = axum::routing::get(handler);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The address; of an IPv4 address mapped into IPv6, the former.
    pub fn ip(&self) -> IpAddr {
        self.0
    }
}

/// Whose word is taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    pub(super) proxies: Arc<[IpNet]>,
    pub(super) unix: bool,
}

impl Trust {
    /// Whether what a peer says of who sent a request is believed. One without an address is at the
    /// other end of a Unix socket.
    pub(super) fn covers(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => self.proxies.iter().any(|net| net.contains(&address)),
            None => self.unix,
        }
    }

    /// Who sent a request that has come from a peer. From one that is not trusted, the headers by which
    /// proxies speak are taken away.
    pub(super) fn client(
        &self,
        peer: Option<IpAddr>,
        is_trusted: bool,
        headers: &mut HeaderMap,
    ) -> Option<ClientAddress> {
        if !is_trusted {
            remove_forwarding(headers);
            return peer.map(ClientAddress);
        }
        let forwarded = headers.contains_key(header::FORWARDED);
        let x_forwarded_for = headers.contains_key(X_FORWARDED_FOR);
        let by_standard = || self.nearest(peer, forwarded_for(headers));
        let by_custom = || self.nearest(peer, x_forwarded_for_list(headers));
        let client = match (forwarded, x_forwarded_for) {
            (false, false) => peer,
            (true, false) => by_standard(),
            (false, true) => by_custom(),
            // A proxy writes one of them and may pass on the other as its client has invented it.
            (true, true) => match by_standard() {
                agreed if agreed == by_custom() => agreed,
                _ => peer,
            },
        };
        client.map(ClientAddress)
    }

    /// The nearest address to the peer that is not itself trusted, from a list whose last is nearest.
    fn nearest(
        &self,
        peer: Option<IpAddr>,
        list: impl Iterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        // In the order of the list, in one go: what comes later is nearer and counts more.
        let (mut nearest, mut is_next) = (peer, true);
        for address in list {
            match address {
                Some(address) if is_next || !self.covers(Some(address)) => {
                    (nearest, is_next) = (Some(address), false);
                }
                Some(_) => {}
                // Beyond this nobody can be believed: what comes next is the last that is known.
                None => (nearest, is_next) = (peer, true),
            }
        }
        nearest
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

fn remove_forwarding(headers: &mut HeaderMap) {
    headers.remove(header::FORWARDED);
    headers.remove(X_REAL_IP);
    let is_forwarded = |name: &&HeaderName| name.as_str().starts_with("x-forwarded");
    while let Some(name) = headers.keys().find(is_forwarded).cloned() {
        headers.remove(name);
    }
}

/// The addresses of `X-Forwarded-For`, line after line, with `None` for what is none.
fn x_forwarded_for_list(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    headers.get_all(X_FORWARDED_FOR).iter().flat_map(|line| {
        let line = line.to_str().unwrap_or("?");
        line.split(',').map(address)
    })
}

/// The `for` of each element of `Forwarded` (RFC 7239 §4), with `None` for what is no address.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    headers.get_all(header::FORWARDED).iter().flat_map(|line| {
        let line = line.to_str().unwrap_or("?");
        split_unquoted(line, ',').map(|element| {
            let mut pairs = split_unquoted(element, ';').filter_map(|pair| pair.split_once('='));
            let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
            let node = node.trim();
            let quoted = node
                .strip_prefix('"')
                .and_then(|node| node.strip_suffix('"'));
            address(quoted.unwrap_or(node))
        })
    })
}

/// The parts of a text between separators that are in no quoted string (RFC 9110 §5.6.4).
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |letter| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match letter {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        letter == separator && !is_quoted
    })
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse().ok().or_else(|| {
        let with_port = text.parse::<SocketAddr>().ok().map(|address| address.ip());
        with_port.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
    });
    address.map(|address: IpAddr| address.to_canonical())
}

/// Who sent a request, as a server finds it out that trusts these proxies.
#[cfg(fuzzing)]
pub fn client_address(
    peer: Option<IpAddr>,
    proxies: &[&str],
    headers: &mut HeaderMap,
) -> Option<IpAddr> {
    let proxies = proxies.iter().filter_map(|net| net.parse().ok()).collect();
    let trust = Trust {
        proxies,
        unix: false,
    };
    let client = trust.client(peer, trust.covers(peer), headers)?;
    Some(client.ip())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(lines: &[(&str, &str)]) -> Option<String> {
        let trust = Trust {
            proxies: ["10.0.0.0/8", "fd00::/8"]
                .map(|net| net.parse().unwrap())
                .into(),
            unix: false,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let peer = Some("10.0.0.9".parse().unwrap());
        let client = trust.client(peer, trust.covers(peer), &mut headers)?;
        Some(client.ip().to_string())
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_is_the_client() {
        for (list, expected) in [
            ("", "10.0.0.9"),
            ("192.0.2.1", "192.0.2.1"),
            ("203.0.113.5, 192.0.2.1", "192.0.2.1"),
            ("203.0.113.5,192.0.2.1, 10.1.1.1 ,10.1.1.2", "192.0.2.1"),
            ("10.1.1.1, 10.1.1.2", "10.1.1.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711, fd00::1", "2001:db8::1"),
            ("192.0.2.1, unknown, 10.1.1.1", "10.1.1.1"),
            ("192.0.2.1, unknown", "10.0.0.9"),
            ("unknown, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 10.1.1.1 10.1.1.2", "10.0.0.9"),
        ] {
            let found = client(&[("x-forwarded-for", list)]);
            assert_eq!(found.as_deref(), Some(expected), "{list}");
        }
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.1.1.1"),
        ];
        assert_eq!(
            client(&lines).as_deref(),
            Some("192.0.2.1"),
            "two lines are one list"
        );
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes() {
        for (list, expected) in [
            ("for=192.0.2.1;proto=http;by=203.0.113.43", "192.0.2.1"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=203.0.113.5, for=192.0.2.1,for=10.1.1.1", "192.0.2.1"),
            (
                "for=192.0.2.1;host=\"a,for=203.0.113.5\", for=10.1.1.1",
                "192.0.2.1",
            ),
            ("for=192.0.2.1;host=\"a\\\",for=203.0.113.5;\"", "192.0.2.1"),
            ("for=192.0.2.1, for=_hidden, for=10.1.1.1", "10.1.1.1"),
            ("for=192.0.2.1, proto=https", "10.0.0.9"),
            ("for=192.0.2.1, for=\"10.1.1.1", "10.0.0.9"),
        ] {
            let found = client(&[("forwarded", list)]);
            assert_eq!(found.as_deref(), Some(expected), "{list}");
        }
    }

    #[test]
    fn two_headers_must_agree() {
        let standard = ("forwarded", "for=192.0.2.1");
        assert_eq!(
            client(&[standard, ("x-forwarded-for", "192.0.2.1")]).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(
            client(&[standard, ("x-forwarded-for", "203.0.113.5")]).as_deref(),
            Some("10.0.0.9")
        );
    }
}
