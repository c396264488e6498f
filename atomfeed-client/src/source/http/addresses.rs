//! Addresses of networks that the world cannot see, for those who want to ask none of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Why a host is not asked.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) host: String,
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has an address in a private network", self.host)
    }
}

impl std::error::Error for Private {}

/// Whether the host of a URL is such an address. What a name stands for is for the [`Resolver`] to see.
pub(super) fn is_private_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => is_private(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => is_private(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Whether an address is not one of the public Internet (RFC 6890): of this machine, this link, this
/// site or provider, of many at once, of none, or reserved; also inside an address of IPv6.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        // 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 (RFC 5737).
        || address.is_documentation()
        // "This network", carriers' NAT (RFC 6598), protocol assignments, benchmarks, reserved.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last = || {
        let [.., high, low] = segments;
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // ::, ::1, IPv4-compatible and IPv4-mapped ones, and NAT64 (RFC 6052, RFC 8215).
        [0, 0, 0, 0, 0, 0, ..] => {
            address.is_unspecified() || address.is_loopback() || is_private_v4(last())
        }
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => is_private_v4(last()),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_private_v4(last()),
        [0x64, 0xff9b, 1, ..] => true,
        // 6to4, whose next 32 bits are an IPv4 address.
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_private_v4(Ipv4Addr::new(a, b, c, d))
        }
        // What is thrown away (RFC 6666), protocol assignments, with Teredo, which holds an IPv4 address, and
        // documentation (RFC 3849, RFC 9637).
        [0x100, 0, 0, 0, ..] | [0x2001, 0..0x200, ..] => true,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => true,
        // Unique local, link local, site local (deprecated), multicast.
        [first, ..] => {
            first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || first & 0xffc0 == 0xfec0
                || first & 0xff00 == 0xff00
        }
    }
}

/// Asks the system for addresses, and gives those alone that are not private: the connection goes to one
/// of these and no other, whatever the name stands for a moment later.
#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let found: Vec<SocketAddr> =
                found.filter(|address| !is_private(address.ip())).collect();
            match found.is_empty() {
                true => Err(Private { host }.into()),
                false => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known() {
        for address in [
            "127.0.0.1",
            "127.255.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.255",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "::10.0.0.1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fdff::1",
            "ff02::1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "100::1",
            "2001::1",
            "2001:0:101:101::",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff::1",
            "2001:db8::1",
            "3fff:fff::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.0.1.1",
            "192.0.3.1",
            "198.20.0.1",
            "198.51.99.1",
            "203.0.114.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "fbff::1",
            "100:0:0:1::1",
            "2001:200::1",
            "2001:db7::1",
            "2001:db9::1",
            "3fff:1000::1",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    /// However it is spelled: the URL has read it.
    #[test]
    fn private_hosts_are_known_in_every_spelling() {
        for url in [
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254./",
        ] {
            assert!(is_private_host(&url.parse().unwrap()), "{url}");
        }
        for url in ["http://emr.example.org/", "http://1.1.1.1/", "data:x"] {
            assert!(!is_private_host(&url.parse().unwrap()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let name = "localhost".parse().unwrap();
        let Err(error) = Resolver.resolve(name).await else {
            panic!("localhost has a public address");
        };
        assert!(error.is::<Private>(), "{error}");
    }
}
