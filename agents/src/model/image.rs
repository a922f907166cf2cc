//! A picture. Invariant: one that came from outside is of a kind that all models with eyes see, and is whole
//! base64 or an address.

use serde::{Deserialize, Serialize};

/// The kinds of pictures that every provider with eyes takes.
pub const MEDIA_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// The picture itself.
    Bytes {
        /// Such as `image/png`.
        media_type: String,
        /// The bytes in base64.
        base64: String,
    },
    /// Where the provider finds it.
    Url(String),
}

impl Image {
    /// A picture of these bytes.
    ///
    /// # Errors
    /// Why it is none that a model sees.
    pub fn of_bytes(media_type: &str, base64: &str) -> Result<Self, String> {
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(format!("models see {}", MEDIA_TYPES.join(", ")));
        }
        if !is_base64(base64) {
            return Err("it is no base64".to_owned());
        }
        Ok(Self::Bytes { media_type: media_type.to_owned(), base64: base64.to_owned() })
    }

    /// A picture as people name one: `data:image/png;base64,…`, or an address of https.
    ///
    /// # Errors
    /// Why it is none, for a person.
    pub fn named(name: &str) -> Result<Self, String> {
        if let Some(data) = name.strip_prefix("data:") {
            let (media_type, base64) = data.split_once(";base64,").ok_or("a data URL is `data:TYPE;base64,BYTES`")?;
            return Self::of_bytes(media_type, base64);
        }
        let is_address = name.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !is_address || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("a picture is `data:TYPE;base64,BYTES` or an address that begins with https://".to_owned());
        }
        Ok(Self::Url(name.to_owned()))
    }

    /// What it takes in a request, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes { base64, .. } => base64.len(),
            Self::Url(url) => url.len(),
        }
    }
}

/// Whether a text is the base64 of something, padded.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    !digits.is_empty() && text.len().is_multiple_of(4) && text.len() - digits.len() <= 2 && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_named_by_its_data_or_its_address() {
        let bytes = Image::Bytes { media_type: "image/png".to_owned(), base64: "iVBORw==".to_owned() };
        assert_eq!(Image::named("data:image/png;base64,iVBORw=="), Ok(bytes));
        assert_eq!(Image::named("https://a.example/b.png"), Ok(Image::Url("https://a.example/b.png".to_owned())));
        for (name, wanted) in [
            ("data:image/png,abc", "a data URL is"),
            ("data:image/svg+xml;base64,AAAA", "models see image/png"),
            ("data:image/png;base64,AAA", "no base64"),
            ("data:image/png;base64,====", "no base64"),
            ("http://a.example/b.png", "begins with https://"),
            ("https://a.example/b c", "begins with https://"),
            ("photo.png", "a picture is"),
            ("", "a picture is"),
        ] {
            assert!(Image::named(name).unwrap_err().contains(wanted), "{name}");
        }
    }
}
