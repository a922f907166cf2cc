//! What reading promises: by place, by stream, and along the tail.

use super::*;

fn rolling() -> Machine {
    Machine::with(Options { segment_bytes: ByteSize(1000), unindexed_max: 16, ..small_reserve() })
}

/// Appends `count` batches of two events, one to `all` and one to `s0`..`s4` in turn.
async fn fill(journal: &Journal, from: u128, count: u128) {
    for id in from..from + count {
        let payload = id.to_string();
        let own = format!("s{}", id % 5);
        let writes = vec![write("all", None, &[&payload]), write(&own, None, &[&payload])];
        journal.append(batch(id, writes)).await.unwrap();
    }
}

#[tokio::test]
async fn reads_begin_and_end_anywhere() {
    let machine = rolling();
    machine
        .session(async |journal| {
            fill(&journal, 0, 60).await;
            let all = journal.read(Seq::ZERO, usize::MAX).unwrap();
            assert_eq!(all.iter().map(|event| event.seq.0).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
            for from in 1..=121 {
                for events_max in [0, 1, 2, 7, 1000] {
                    let end = (from - 1 + events_max).min(120);
                    assert_eq!(journal.read(Seq(from as u64), events_max).unwrap(), all[from - 1..end.max(from - 1)]);
                }
            }
            for stream in ["all", "s3", "absent"] {
                let whole: Vec<Event> = all.iter().filter(|event| event.stream.as_str() == stream).cloned().collect();
                assert_eq!(journal.version(&stream.into()).unwrap(), Version(whole.len() as u64));
                for after in 0..=whole.len() {
                    for events_max in [0, 1, 5, 1000] {
                        let read = journal.read_stream(&stream.into(), Version(after as u64), events_max).unwrap();
                        assert_eq!(read, whole[after..(after + events_max).min(whole.len())]);
                    }
                }
            }
        })
        .await;
    assert!(machine.segments().len() > 5);
}

#[tokio::test]
async fn a_tail_yields_every_event_once_in_order_across_segments() {
    let machine = rolling();
    machine
        .session(async |journal| {
            fill(&journal, 0, 20).await;
            let mut tail = journal.tail(Seq(5));
            let follow = async {
                let mut seen = Vec::new();
                while seen.last() != Some(&120) {
                    seen.extend(tail.next().await.unwrap().iter().map(|event| event.seq.0));
                }
                seen
            };
            let (seen, ()) = tokio::join!(follow, fill(&journal, 20, 40));
            assert_eq!(seen, (5..=120).collect::<Vec<_>>());
            assert_eq!(tail.position(), Seq(121));
        })
        .await;
}

#[tokio::test]
async fn a_tail_ends_with_the_journal_and_does_not_keep_it_open() {
    let machine = rolling();
    let (journal, committer, _) = machine.open().unwrap();
    let mut tail = journal.tail(Seq::FIRST);
    let work = async {
        fill(&journal, 0, 1).await;
        drop(journal);
    };
    tokio::join!(work, committer.run());
    assert_eq!(tail.next().await.unwrap().len(), 2);
    assert!(matches!(tail.next().await, Err(ReadError::Closed)));
}

#[tokio::test]
async fn nothing_can_be_read_before_its_sync() {
    let machine = rolling();
    machine
        .life(async |journal| {
            let disk = &machine.disk;
            fill(&journal, 0, 1).await;
            disk.fail_next_sync();
            journal.append(one(9, "all", None)).await.unwrap_err();
            assert_eq!(journal.head(), Seq(2));
            assert_eq!(journal.read(Seq::FIRST, 99).unwrap().len(), 2);
            assert_eq!(journal.version(&"all".into()).unwrap(), Version(1));
            assert_eq!(journal.read_stream(&"all".into(), Version(0), 9).unwrap().len(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_lost_or_stale_index_is_made_anew() {
    let mut machine = rolling();
    let stale = machine.shelves.clone();
    let before = machine
        .session(async |journal| {
            fill(&journal, 0, 30).await;
            journal.read_stream(&"s1".into(), Version(0), 99).unwrap()
        })
        .await;
    machine.shelves = MemoryShelves::new();
    let (journal, _, opened) = machine.open().unwrap();
    assert_eq!(opened.indexed, 60);
    assert_eq!(journal.read_stream(&"s1".into(), Version(0), 99).unwrap(), before);
    drop(journal);
    machine.session(async |journal| fill(&journal, 30, 10).await).await;
    machine.shelves = stale;
    let (journal, _, opened) = machine.open().unwrap();
    assert_eq!(opened.indexed, 20);
    assert_eq!(journal.version(&"all".into()).unwrap(), Version(40));
}

#[tokio::test]
async fn opening_twice_changes_no_event() {
    let machine = rolling();
    machine.life(async |journal| fill(&journal, 0, 30).await).await;
    let first = machine.open().map(|(journal, _, opened)| (journal.read(Seq::FIRST, 999).unwrap(), opened)).unwrap();
    let second = machine.open().map(|(journal, _, opened)| (journal.read(Seq::FIRST, 999).unwrap(), opened)).unwrap();
    assert_eq!(first.0, second.0);
    assert_eq!((first.1.head, second.1.head), (Seq(60), Seq(60)));
    assert_eq!((first.1.torn, second.1.torn), (None, None));
    verify_chain(&machine.disk).unwrap();
}

#[test]
fn a_thread_of_its_own_writes_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(crate::disk::files::FileDisk::new(folder.path()));
    let shelves = MemoryShelves::new();
    let open = || Journal::open(disk.clone(), shelves.open("s", 1).unwrap(), Options::default(), NOW);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for life in 0..3_u64 {
        let (journal, committer, opened) = open().unwrap();
        assert_eq!((opened.head, opened.epoch), (Seq(life * 20), life + 1));
        let refusal = open().map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        std::thread::scope(|scope| {
            scope.spawn(|| committer.run_blocking());
            runtime.block_on(async {
                fill(&journal, u128::from(life) * 10, 10).await;
                journal.close().await;
            });
        });
    }
    assert_eq!(verify_chain(&*disk).unwrap().head, Seq(60));
}
