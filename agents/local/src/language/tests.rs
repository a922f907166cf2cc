//! The real language model.

use std::ops::ControlFlow::{Break, Continue};

use agents::model::{Message, ModelRequest};
use policies::tokens::Tokens;

use super::*;
use crate::testbed::{files, language};

const PREFILL: &str = "We're happy to announce Brightleaf,";

fn request() -> ModelRequest {
    let brief = "Brightleaf is a solar lamp for balconies. It charges in four hours and shines all night. \
                 Write one friendly sentence that announces it.";
    ModelRequest {
        prefill: Some(PREFILL.into()),
        stop: vec!["\n".into()],
        temperature: 0.4,
        seed: 7,
        ..ModelRequest::asking(vec![Message::user(brief)], Tokens(40))
    }
}

fn generate(model: &LanguageModel, request: &ModelRequest) -> Generated {
    model.generate(request, &mut |_| Continue(())).unwrap()
}

#[test]
fn a_reply_follows_its_prefill_and_repeats_with_its_seed() {
    let model = language();
    let first = generate(&model, &request());
    assert!(first.text.starts_with(PREFILL) && first.text.len() > PREFILL.len() + 20, "{first:?}");
    assert!(!first.text.contains('\n'), "{first:?}");
    assert_eq!(generate(&model, &request()), first);
    assert_ne!(generate(&model, &ModelRequest { seed: 8, ..request() }).text, first.text);
    assert_eq!(model.count_prompt(&request()).unwrap(), first.input_tokens);
}

#[test]
fn a_reply_keeps_its_bound() {
    let model = language();
    let mut steps = Vec::new();
    let short = ModelRequest { output_max: Tokens(5), stop: vec![], ..request() };
    let reply = model
        .generate(&short, &mut |written| {
            steps.push(written);
            Continue(())
        })
        .unwrap();
    assert_eq!((reply.output_tokens, reply.stopped_by), (5, StoppedBy::Bound));
    assert_eq!(steps, [0, 1, 2, 3, 4, 5]);
    assert_eq!(generate(&model, &ModelRequest { output_max: Tokens(0), ..request() }).text, PREFILL);
}

#[test]
fn a_reply_stops_before_a_stop_string() {
    let model = language();
    let whole = generate(&model, &request()).text;
    let word = whole.split_whitespace().nth(8).unwrap();
    let reply = generate(&model, &ModelRequest { stop: vec![word.into()], ..request() });
    assert_eq!(reply.stopped_by, StoppedBy::StopString);
    assert!(whole.starts_with(&reply.text) && !reply.text[PREFILL.len()..].contains(word), "{reply:?}");
}

#[test]
fn a_reply_ends_when_its_caller_breaks_off() {
    let model = language();
    let reply = model.generate(&request(), &mut |written| if written < 3 { Continue(()) } else { Break(()) }).unwrap();
    assert_eq!((reply.output_tokens, reply.stopped_by), (3, StoppedBy::Cancelled));
    let unread = model.generate(&request(), &mut |_| Break(())).unwrap();
    assert_eq!((unread.output_tokens, unread.stopped_by), (0, StoppedBy::Cancelled));
}

#[test]
fn a_request_that_cannot_be_answered_is_refused_at_once() {
    let model = language();
    let long = ModelRequest { messages: vec![Message::user("word ".repeat(2100))], ..request() };
    let refused = model.generate(&long, &mut |_| Continue(())).unwrap_err();
    assert!(refused.to_string().contains("more than the 2048 that fit; shorten the prompt"), "{refused}");
    for temperature in [-0.1, 2.1, f32::NAN] {
        let odd = ModelRequest { temperature, ..request() };
        assert!(matches!(model.generate(&odd, &mut |_| Continue(())), Err(LanguageError::Temperature(_))));
    }
}

#[test]
fn control_tokens_in_a_text_are_plain_letters() {
    let model = language();
    assert!(model.count_tokens("<|im_end|>").unwrap() > 1);
    assert_eq!(model.count_tokens("2026").unwrap(), 4);
}

#[test]
fn a_digit_is_expected_between_one_and_nine() {
    let model = language();
    let ask = |text: &str| {
        let messages = [Message::user(format!("How many legs has {text}? Answer with one digit."))];
        model.expected_digit(&messages, "Answer: ").unwrap()
    };
    let (cat, human) = (ask("a cat"), ask("a human"));
    assert!((1.0..=9.0).contains(&cat) && (1.0..=9.0).contains(&human), "{cat} {human}");
}

#[test]
fn a_prefill_that_ends_in_a_space_is_kept_as_it_is() {
    let model = language();
    let spaced = format!("{PREFILL} ");
    let reply = generate(&model, &ModelRequest { prefill: Some(spaced.clone()), ..request() });
    assert!(reply.text.starts_with(&spaced) && !reply.text.contains("  "), "{reply:?}");
}

#[test]
fn a_conversion_is_made_once_for_its_source() {
    let source = files(&crate::pins::SMOLLM2).remove(0);
    let folder = source.parent().unwrap();
    let first = convert::quick_file(&source, folder).unwrap();
    let made = std::fs::metadata(&first).unwrap().modified().unwrap();
    assert_eq!(convert::quick_file(&source, folder).unwrap(), first);
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), made);
    // A file that is quick already is used where it is.
    assert_eq!(convert::quick_file(&first, folder).unwrap(), first);
}

#[test]
fn a_file_that_is_no_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let missing = LanguageModel::load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(missing.starts_with(&format!("cannot read {}: No such file", path.display())), "{missing}");
    std::fs::write(&path, b"not a model").unwrap();
    let damaged = LanguageModel::load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(damaged.contains("is not a model file that can be read"), "{damaged}");
}
