//! Pictures in the answers of tools. Invariant: what is kept of them is of a kind that models see, and bounded
//! for each answer; whatever is not kept leaves words in its place.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::Image;

/// The key of an answer that holds its pictures.
pub const PICTURES: &str = "images";
/// The most pictures that are kept of one answer.
pub const PICTURES_MAX: usize = 4;
/// The most that they may have together, in bytes of base64: a half of what a model call may ask.
pub const PICTURES_BYTES_MAX: usize = 512 << 10;

/// The pictures of one answer, as far as they are kept.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    kept: Vec<Image>,
    bytes: usize,
}

impl Pictures {
    /// Takes a picture in, if there is room for it, and gives the words that stand in its place.
    pub(super) fn take(&mut self, media_type: &str, base64: &str) -> String {
        let left_out = |why: &str| format!("(an image, {media_type}, left out: {why})");
        let image = match Image::of_bytes(media_type, base64) {
            Ok(image) => image,
            Err(why) => return left_out(&why),
        };
        if self.kept.len() >= PICTURES_MAX {
            return left_out(&format!("{PICTURES_MAX} are kept of one answer"));
        }
        if self.bytes + base64.len() > PICTURES_BYTES_MAX {
            let (has, most) = (base64.len(), PICTURES_BYTES_MAX);
            return left_out(&format!("it has {has} bytes of base64, and all of an answer may have {most}"));
        }
        self.bytes += base64.len();
        self.kept.push(image);
        format!("(an image, {media_type})")
    }

    /// The answer with its pictures; an answer that has something else in their place goes without.
    pub(super) fn beside(self, mut answer: Value) -> Value {
        if let Some(fields) = answer.as_object_mut().filter(|_| !self.kept.is_empty()) {
            fields.entry(PICTURES).or_insert_with(|| json!(self.kept));
        }
        answer
    }
}

/// The pictures of an answer, and the rest of it. A server may write what it likes in their place, so that each is
/// checked: an address would have the provider fetch it, and what models do not see would have it refuse the request.
#[must_use]
pub fn apart(answer: &Value) -> Option<(Vec<Image>, Map<String, Value>)> {
    let fields = answer.as_object()?;
    let pictures = Vec::<Image>::deserialize(fields.get(PICTURES)?).ok().filter(|pictures| !pictures.is_empty())?;
    let bytes: usize = pictures.iter().map(Image::bytes).sum();
    if pictures.len() > PICTURES_MAX || bytes > PICTURES_BYTES_MAX || !pictures.iter().all(is_seen) {
        return None;
    }
    let rest = fields.iter().filter(|(name, _)| *name != PICTURES);
    Some((pictures, rest.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// Whether models see it, and it is here whole.
fn is_seen(image: &Image) -> bool {
    matches!(image, Image::Bytes { media_type, base64 } if Image::of_bytes(media_type, base64).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_leaves_words() {
        let mut pictures = Pictures::default();
        assert_eq!(pictures.take("image/png", "AAAA"), "(an image, image/png)");
        assert!(pictures.take("image/tiff", "AAAA").contains("left out: models see"));
        assert!(pictures.take("image/png", "no base64").contains("left out: it is no base64"));
        let large = "A".repeat(PICTURES_BYTES_MAX);
        assert!(pictures.take("image/png", &large).contains("all of an answer may have 524288"));
        for _ in 1..PICTURES_MAX {
            pictures.take("image/png", "AAAA");
        }
        assert!(pictures.take("image/png", "AAAA").contains("4 are kept of one answer"));
        let answer = pictures.beside(json!({ "text": "it" }));
        let (kept, rest) = apart(&answer).unwrap();
        assert_eq!((kept.len(), Value::Object(rest)), (PICTURES_MAX, json!({ "text": "it" })));
    }

    #[test]
    fn what_another_calls_images_is_left_as_it_is() {
        let mut pictures = Pictures::default();
        pictures.take("image/png", "AAAA");
        let own = json!({ "images": ["a.png"] });
        assert_eq!(pictures.beside(own.clone()), own);
        assert_eq!(apart(&own), None);
        assert_eq!(Pictures::default().beside(json!({ "text": "" })), json!({ "text": "" }));
    }

    #[test]
    fn what_a_server_writes_in_their_place_is_checked() {
        let bytes = |media_type: &str, base64: &str| json!({ "bytes": { "media_type": media_type, "base64": base64 } });
        let good = bytes("image/png", "AAAA");
        assert!(apart(&json!({ "images": [good] })).is_some());
        let bad = [
            json!({ "url": "http://169.254.169.254/latest" }),
            json!({ "url": "https://a.example/b.png" }),
            bytes("image/tiff", "AAAA"),
            bytes("image/png", "no base64"),
        ];
        for bad in bad {
            assert_eq!(apart(&json!({ "images": [good, bad] })), None, "{bad}");
        }
    }
}
