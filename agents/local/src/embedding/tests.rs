//! The embedders against a small retrieval task, with the real files.

use agents::embed::{EmbedError, Embedder};

use super::*;
use crate::pins::{MINILM, WORDLLAMA};
use crate::testbed::files;

/// A note, and a question that it answers in other words.
const PAIRS: [(&str, &str); 12] = [
    ("Refunds are paid within ten working days.", "When do customers get their money back?"),
    ("The battery lasts for thirty hours on one charge.", "How long can I use the device without plugging it in?"),
    ("Never use exclamation marks in our posts.", "What punctuation does the brand guide forbid?"),
    ("Our headquarters moved from Lyon to Hamburg in spring.", "In which city is the company's main office?"),
    ("The kettle boils a litre of water in ninety seconds.", "How fast does it heat water?"),
    ("Ana Duarte leads the design team.", "Who is the head designer?"),
    ("The app is free for schools and universities.", "What does it cost for education?"),
    ("Deliveries to islands take two more days.", "Is shipping slower overseas?"),
    ("All bottles are made of recycled glass.", "Which packaging material is used?"),
    ("The beta had four hundred testers in nine countries.", "How many people tried the preview?"),
    ("Passwords are stored as salted hashes.", "Is my login data kept safe?"),
    ("Press inquiries go to the communications desk.", "Whom do journalists contact?"),
];
const RIGHT_MIN: usize = 10;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How many questions find their note first.
fn retrieved(embedder: &dyn Embedder) -> usize {
    let notes = embedder.embed(&PAIRS.map(|(note, _)| note)).unwrap();
    let questions = embedder.embed(&PAIRS.map(|(_, question)| question)).unwrap();
    for vector in notes.iter().chain(&questions) {
        assert_eq!(vector.len(), embedder.dimension());
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4);
    }
    let best = |question: &[f32]| {
        (0..notes.len()).max_by(|&a, &b| dot(question, &notes[a]).total_cmp(&dot(question, &notes[b])))
    };
    questions.iter().enumerate().filter(|(index, question)| best(question) == Some(*index)).count()
}

fn refuses_what_has_no_words(embedder: &dyn Embedder) {
    for text in ["", " \n\t"] {
        let refused = embedder.embed(&["fine", text]).unwrap_err();
        assert_eq!(refused, EmbedError::Text("it holds no words".into()));
    }
    let huge = "word ".repeat(TEXT_BYTES_MAX / 4);
    assert!(matches!(embedder.embed(&[&huge]), Err(EmbedError::Text(_))));
}

#[test]
fn static_embeddings_find_paraphrases() {
    let paths = files(&WORDLLAMA);
    let embedder = WordLlama::load(&paths[0], &paths[1]).unwrap();
    assert_eq!(embedder.dimension(), 256);
    let right = retrieved(&embedder);
    assert!(right >= RIGHT_MIN, "{right} of {}", PAIRS.len());
    refuses_what_has_no_words(&embedder);
}

#[test]
fn quality_embeddings_find_paraphrases() {
    let paths = files(&MINILM);
    let embedder = MiniLm::load(&paths[0], &paths[1], &paths[2]).unwrap();
    assert_eq!(embedder.dimension(), 384);
    let right = retrieved(&embedder);
    assert!(right >= RIGHT_MIN, "{right} of {}", PAIRS.len());
    refuses_what_has_no_words(&embedder);
}

#[test]
fn a_file_of_another_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    std::fs::write(&path, b"not weights").unwrap();
    let error = WordLlama::load(&path, &path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{} cannot be used for embeddings", path.display())), "{error}");
}
