use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use storage::disk::sim::Loss;
use storage::index::memory::MemoryIndex;
use storage::index::{ContextIndex, Filter};

use super::*;
use crate::embed::{EmbedError, Embedder};
use crate::fixture::{self, Ground};

const DIMENSION: usize = 64;

/// Counts words by their hash: enough to tell texts apart in tests.
struct Words;

impl Embedder for Words {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn id(&self) -> &str {
        "words"
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let embed = |text: &&str| {
            let mut vector = vec![0.0_f32; DIMENSION];
            for word in text.split_whitespace() {
                let hash = blake3::hash(word.to_lowercase().as_bytes());
                vector[usize::from(hash.as_bytes()[0]) % DIMENSION] += 1.0;
            }
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            if text.contains("unspeakable") || length == 0.0 {
                return Err(EmbedError::Text((*text).to_owned()));
            }
            Ok(vector.into_iter().map(|x| x / length).collect())
        };
        texts.iter().map(embed).collect()
    }
}

async fn start(ground: &Ground, index: &Arc<MemoryIndex>) -> (ContextHandle, ActorRef<ContextMsg>) {
    let handle = ContextHandle::new();
    let arguments = ContextArguments {
        journal: ground.journal.clone(),
        index: Arc::clone(index) as Arc<dyn ContextIndex>,
        embedder: Arc::new(Words),
    };
    let actor = fixture::start(handle.front(), ContextActor::new(ground.world.clone()), arguments).await;
    (handle, actor)
}

fn index() -> Arc<MemoryIndex> {
    Arc::new(MemoryIndex::new(DIMENSION))
}

fn notes(texts: &[&str]) -> Remember {
    let note =
        |text: &&str| NewNote { text: (*text).to_owned(), source: "brief.md".to_owned(), kind: "fact".to_owned() };
    Remember {
        collection: "main".to_owned(),
        run: "a".to_owned(),
        agent: "researcher".to_owned(),
        subject: None,
        notes: texts.iter().map(note).collect(),
    }
}

fn search(query: &str, filter: Filter) -> Search {
    Search { collection: "main".to_owned(), query: query.to_owned(), filter, limit: 3 }
}

async fn texts(context: &ContextHandle, query: &str) -> Vec<String> {
    let found = context.search(search(query, Filter::any())).await.unwrap();
    found.into_iter().map(|found| found.text).collect()
}

const FACTS: [&str; 3] = ["The pump is blue.", "It ships in May.", "Batteries last two days."];

#[tokio::test(start_paused = true)]
async fn what_was_remembered_is_found_at_once() {
    let ground = Ground::new(1);
    let (context, _) = start(&ground, &index()).await;
    let remembered = context.remember(notes(&FACTS)).await.unwrap();
    assert_eq!(remembered.ids.len(), 3);
    let found = context.search(search("the pump is", Filter::any().and("source", "brief.md"))).await.unwrap();
    assert_eq!((found[0].text.as_str(), found[0].kind.as_str()), ("The pump is blue.", "fact"));
    assert!(found[0].score > found[1].score);
    assert!(context.search(search("pump", Filter::any().and("run", "b"))).await.unwrap().is_empty());
    let elsewhere = Search { collection: "other".to_owned(), ..search("pump", Filter::any()) };
    assert!(context.search(elsewhere).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn remembering_again_changes_nothing() {
    let ground = Ground::new(1);
    let index = index();
    let (context, _) = start(&ground, &index).await;
    let first = context.remember(notes(&FACTS)).await.unwrap();
    let again = context.remember(notes(&FACTS)).await.unwrap();
    assert_eq!(first.ids, again.ids);
    assert_eq!(texts(&context, "pump").await.len(), 3);
    assert_eq!(index.count().await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_is_not_found_and_comes_back_when_remembered() {
    let ground = Ground::new(1);
    let (context, _) = start(&ground, &index()).await;
    let ids = context.remember(notes(&FACTS)).await.unwrap().ids;
    assert_eq!(context.forget("main".to_owned(), Forget::Ids(vec![ids[0], NoteId(5)])).await.unwrap(), 1);
    assert!(!texts(&context, "the pump is blue").await.contains(&FACTS[0].to_owned()));
    let by_source = Forget::Matching(Filter::any().and("source", "brief.md"));
    assert_eq!(context.forget("main".to_owned(), by_source.clone()).await.unwrap(), 2);
    assert_eq!(context.forget("main".to_owned(), by_source).await.unwrap(), 0);
    assert!(texts(&context, "pump").await.is_empty());
    context.remember(notes(&FACTS[..1])).await.unwrap();
    assert_eq!(texts(&context, "pump").await, [FACTS[0]]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_index_is_rebuilt_from_the_journal() {
    let ground = Ground::new(1);
    let before = index();
    let (context, actor) = start(&ground, &before).await;
    let ids = context.remember(notes(&FACTS)).await.unwrap().ids;
    context.remember(Remember { run: "b".to_owned(), ..notes(&FACTS[..2]) }).await.unwrap();
    context.forget("main".to_owned(), Forget::Ids(vec![ids[1]])).await.unwrap();
    let expected = context.search(search("ships in may", Filter::any())).await.unwrap();
    actor.stop_and_wait(None, None).await.unwrap();
    let anew = index();
    let (context, _) = start(&ground, &anew).await;
    assert_eq!(context.search(search("ships in may", Filter::any())).await.unwrap(), expected);
    assert_eq!(anew.count().await.unwrap(), before.count().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_from_what_was_committed_and_waits_for_what_was_not() {
    let mut ground = Ground::new(1);
    let index = index();
    let (context, actor) = start(&ground, &index).await;
    context.remember(notes(&FACTS[..2])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(index.sequence().await.unwrap(), Some(ground.journal.head()));
    context.remember(notes(&FACTS[2..])).await.unwrap();
    actor.kill();
    ground.crash(Loss::LoseUnsynced).await;
    let (context, _) = start(&ground, &index).await;
    assert_eq!(texts(&context, "batteries").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_index_of_another_past_is_built_anew() {
    let ground = Ground::new(1);
    let index = index();
    index.commit(storage::journal::Seq(99)).await.unwrap();
    let (context, _) = start(&ground, &index).await;
    context.remember(notes(&FACTS)).await.unwrap();
    assert_eq!(texts(&context, "pump").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_document_becomes_notes_and_too_much_of_it_is_refused() {
    let ground = Ground::new(1);
    let (context, _) = start(&ground, &index()).await;
    let paragraph = "A sentence with some words in it. ".repeat(20);
    let ids = context.remember(notes(&[&format!("# Title\n\n{paragraph}\n\nLast one.")])).await.unwrap().ids;
    assert!(ids.len() >= 3);
    let many: Vec<String> = (0..=NOTES_MAX).map(|n| format!("note {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let before = ground.journal.head();
    assert!(matches!(context.remember(notes(&many)).await, Err(ContextError::TooMany { .. })));
    let bad = Remember { collection: "a b".to_owned(), ..notes(&FACTS) };
    assert!(matches!(context.remember(bad).await, Err(ContextError::Collection(_))));
    assert_eq!(ground.journal.head(), before);
    assert_eq!(context.remember(notes(&["  "])).await.unwrap(), Remembered { ids: Vec::new(), seq: None });
}

#[tokio::test(start_paused = true)]
async fn a_text_that_cannot_be_embedded_does_not_stop_the_others() {
    let ground = Ground::new(1);
    let (context, _) = start(&ground, &index()).await;
    context.remember(notes(&["An unspeakable word.", FACTS[0]])).await.unwrap();
    assert_eq!(texts(&context, "pump").await, [FACTS[0]]);
}

#[tokio::test(start_paused = true)]
async fn an_embedder_of_another_size_is_refused() {
    let ground = Ground::new(1);
    let (_, actor) = start(&ground, &Arc::new(MemoryIndex::new(DIMENSION + 1))).await;
    actor.wait(None).await.unwrap();
}
