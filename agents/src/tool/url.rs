//! Where a page may be read from. Invariant: an address is judged in the form in which it is used: what the URL
//! standard makes of it, in which `0x7f.1` is 127.0.0.1.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The longest address.
const CHARS_MAX: usize = 2048;

/// A host that is allowed: `example.com`, `*.example.com` for all below it, `*` for all, each with a port if it
/// is not that of http or https: `example.com:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    host: String,
    port: Option<u16>,
}

/// Text that is no pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no hosts; write \"example.com\", \"*.example.com\" for all below it or \"*\" for all, with `:port` where that is neither 80 nor 443"
)]
pub struct HostPatternError(String);

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, HostPatternError> {
        let error = || HostPatternError(text.clone());
        let (name, port) = match text.rsplit_once(':') {
            // What stands in brackets is an IPv6 address.
            Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse().map_err(|_| error())?)),
            _ => (text.as_str(), None),
        };
        let below = name.strip_prefix("*.");
        if name == "*" {
            return Ok(Self { host: "*".to_owned(), port });
        }
        let host = Host::parse(below.unwrap_or(name)).map_err(|_| error())?;
        let is_name = matches!(host, Host::Domain(_));
        if name.contains('*') && below.is_none_or(|below| below.contains('*') || !is_name) {
            return Err(error());
        }
        let host = host.to_string();
        Ok(Self { host: if below.is_some() { format!("*.{host}") } else { host }, port })
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl HostPattern {
    /// Whether it stands for this place.
    #[must_use]
    pub fn covers(&self, place: &Place) -> bool {
        let port = self.port.map_or([80, 443].contains(&place.port), |port| port == place.port);
        let host = place.host.strip_suffix('.').unwrap_or(&place.host);
        let named = match self.host.strip_prefix("*.") {
            Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
            None => self.host == "*" || self.host == host,
        };
        port && named
    }

    /// Whether it names this place itself, and not a family that it belongs to.
    #[must_use]
    pub fn names(&self, place: &Place) -> bool {
        !self.host.starts_with('*') && self.covers(place)
    }

    /// Whether it names the host of this place itself, at whatever port.
    pub(super) fn names_host(&self, place: &Place) -> bool {
        self.host == place.host.strip_suffix('.').unwrap_or(&place.host)
    }
}

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The whole address, in the standard's form.
    pub url: Url,
    /// The host, as it is written; an IPv6 address in brackets.
    pub host: String,
    /// The address, where the host is one.
    pub literal: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Place {
    /// The place of an address.
    ///
    /// # Errors
    /// Why nothing can be read from there, for a model.
    pub fn of(text: &str) -> Result<Self, String> {
        if text.len() > CHARS_MAX {
            return Err(format!("the address is longer than {CHARS_MAX} bytes"));
        }
        let url = Url::parse(text.trim()).map_err(|error| format!("{text:?} is no address: {error}"))?;
        Self::of_url(url)
    }

    /// The place that a redirection from here points to.
    ///
    /// # Errors
    /// Why nothing can be read from there, for a model.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        if location.len() > CHARS_MAX {
            return Err(format!("it redirects to an address longer than {CHARS_MAX} bytes"));
        }
        let url = self.url.join(location).map_err(|error| format!("it redirects to {location:?}: {error}"))?;
        Self::of_url(url)
    }

    fn of_url(mut url: Url) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is not read, only http and https", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address with a user or a password in it is not read".to_owned());
        }
        url.set_fragment(None);
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err("the address names no host".to_owned()),
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        Ok(Self { url, host, literal, port })
    }
}
