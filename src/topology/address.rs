//! Where a node listens and others connect: `host:port`, validated when it is read.
//!
//! A host is an IPv4 address, an IPv6 address in brackets, or a name to be resolved at each connection. Two addresses
//! are equal when they are written alike after case and IPv6 spelling are made one; names are not resolved here.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest name of a host that DNS allows.
const HOST_NAME_BYTES_MAX: usize = 253;

/// A host and a port that is not zero.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(String),
}

impl HostPort {
    /// The host without brackets, as a resolver takes it.
    pub fn host(&self) -> String {
        match &self.host {
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V4(ip) => write!(f, "{ip}:{}", self.port),
            Host::V6(ip) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// No host, no port, or no colon between them.
    #[error("an address is `host:port`, like `10.0.0.1:7001`, `db1.example.org:7001` or `[::1]:7001`")]
    Form,
    /// Several colons without brackets.
    #[error("an IPv6 address is written in brackets, like `[::1]:7001`")]
    Brackets,
    /// Brackets around something else than an IPv6 address.
    #[error("what is in brackets is not an IPv6 address")]
    Ipv6,
    /// Four numbers that are not an IPv4 address, or fewer or more of them.
    #[error("the host is not an IPv4 address")]
    Ipv4,
    /// A character or length that no host name has.
    #[error("the host is not a name that can be resolved")]
    Name,
    /// Not a number from 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// `0.0.0.0` or `[::]`.
    #[error("`0.0.0.0` and `[::]` are not addresses that others can connect to")]
    Unspecified,
}

impl FromStr for HostPort {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = split(text)?;
        let digits_only = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|p| digits_only && *p != 0).ok_or(InvalidAddress::Port)?;
        Ok(Self { host, port })
    }
}

fn split(text: &str) -> Result<(Host, &str), InvalidAddress> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inside, port) = bracketed.split_once("]:").ok_or(InvalidAddress::Form)?;
        let ip: Ipv6Addr = inside.parse().map_err(|_| InvalidAddress::Ipv6)?;
        return if ip.is_unspecified() { Err(InvalidAddress::Unspecified) } else { Ok((Host::V6(ip), port)) };
    }
    let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress::Form)?;
    if host.is_empty() {
        return Err(InvalidAddress::Form);
    }
    if host.contains(':') {
        let ipv6 = text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        return Err(if ipv6 { InvalidAddress::Brackets } else { InvalidAddress::Form });
    }
    Ok((host_without_brackets(host)?, port))
}

fn host_without_brackets(host: &str) -> Result<Host, InvalidAddress> {
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let ip: Ipv4Addr = host.parse().map_err(|_| InvalidAddress::Ipv4)?;
        return if ip.is_unspecified() { Err(InvalidAddress::Unspecified) } else { Ok(Host::V4(ip)) };
    }
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let labels_filled = host.trim_end_matches('.').split('.').all(|label| !label.is_empty() && label.len() <= 63);
    if host.len() > HOST_NAME_BYTES_MAX || !host.bytes().all(known) || !labels_filled {
        return Err(InvalidAddress::Name);
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_in_one_spelling() {
        for (text, printed) in [
            ("10.0.0.1:7001", "10.0.0.1:7001"),
            ("[0:0::1]:7001", "[::1]:7001"),
            ("Db1.Example.org:1", "db1.example.org:1"),
            ("node_1:65535", "node_1:65535"),
        ] {
            assert_eq!(text.parse::<HostPort>().map(|a| a.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused_with_its_reason() {
        use InvalidAddress::*;
        for (text, reason) in [
            ("", Form),
            ("host", Form),
            (":7001", Form),
            ("[::1]", Form),
            ("[::1]7001", Form),
            ("redis://host:7001", Form),
            ("::1:7001", Brackets),
            ("[fe80::1%eth0]:1", Ipv6),
            ("[10.0.0.1]:1", Ipv6),
            ("10.0.0:1", Ipv4),
            ("10.0.0.256:1", Ipv4),
            ("a b:1", Name),
            ("a..b:1", Name),
            ("höst:1", Name),
            ("h:0", Port),
            ("h:", Port),
            ("h:+1", Port),
            ("h:65536", Port),
            ("0.0.0.0:1", Unspecified),
            ("[::]:1", Unspecified),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(reason), "{text}");
        }
    }
}
