//! Addresses in the configuration. Invariant: an address that was read can be used, and no error repeats
//! one that may hold a password.

use std::net::SocketAddr;

use http::Uri;
use serde::{Deserialize, Deserializer, de};

/// An address that HTTP requests can be sent to.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HttpAddress(pub(super) String);

/// Text that is no such address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHttpAddress {
    #[error("`{0}` is no http address; write one such as \"http://127.0.0.1:11434/v1\"")]
    Form(String),
    #[error("an address holds no user and no password; take what stands before the `@` out, and name a `key`")]
    Password,
}

impl TryFrom<String> for HttpAddress {
    type Error = NotHttpAddress;

    fn try_from(text: String) -> Result<Self, NotHttpAddress> {
        if text.contains('@') {
            return Err(NotHttpAddress::Password);
        }
        let fits = text.parse::<Uri>().is_ok_and(|uri| {
            let port = uri.authority().is_some_and(|place| {
                let name = place.host();
                !name.is_empty() && (place.port_u16().is_some() || place.as_str() == name)
            });
            matches!(uri.scheme_str(), Some("http" | "https")) && port
        });
        if fits { Ok(Self(text)) } else { Err(NotHttpAddress::Form(text)) }
    }
}

/// The same, for a field that is a text.
pub(super) fn http<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    HttpAddress::try_from(text).map(|address| address.0).map_err(de::Error::custom)
}

/// An address to listen on.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Listen(pub(super) SocketAddr);

/// Text that is no such address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address to listen on; write an IP address and a port, such as \"127.0.0.1:8080\"")]
pub(super) struct NotListen(String);

impl TryFrom<String> for Listen {
    type Error = NotListen;

    fn try_from(text: String) -> Result<Self, NotListen> {
        text.parse().map(Self).map_err(|_| NotListen(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_scheme_and_a_place() {
        for good in ["http://127.0.0.1:11434/v1", "https://api.example/v1", "http://[::1]:80", "http://a"] {
            assert!(HttpAddress::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a", "a:80/v1", "http://", "http:///v1", "ftp://a", "http://a b", "http://a:99999", "http://a:"]
        {
            assert!(HttpAddress::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let error = HttpAddress::try_from("http://me:s3cret@a".to_owned()).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn one_listens_on_an_address_and_a_port() {
        assert!(Listen::try_from("[::1]:80".to_owned()).is_ok());
        for bad in ["localhost:80", "127.0.0.1", "8080", ""] {
            assert!(Listen::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
