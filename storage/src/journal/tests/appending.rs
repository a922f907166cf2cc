//! What an append promises while the disk works, and when it does not.

use super::*;
use crate::disk::Disk;
use crate::disk::sim::Operation;
use futures::FutureExt;
use futures::future::join_all;

fn small() -> Options {
    Options { segment_bytes: ByteSize(600), unindexed_max: 4, ..small_reserve() }
}

async fn submit_all(journal: &Journal, batches: Vec<Batch>) -> Vec<Result<Appended, AppendError>> {
    let mut pending = Vec::new();
    for batch in batches {
        pending.push(journal.submit(batch).await.unwrap());
    }
    join_all(pending).await
}

#[tokio::test]
async fn a_batch_over_several_streams_is_whole_and_in_order() {
    let machine = Machine::default();
    let two = batch(1, vec![write("a", Some(0), &["1", "2"]), write("b", None, &["3"]), write("a", Some(2), &["4"])]);
    let appended = machine.session(async |journal| journal.append(two).await.unwrap()).await;
    let versions = vec![("a".into(), Version(3)), ("b".into(), Version(1))];
    assert_eq!(appended, Appended { first: Seq(1), last: Seq(4), versions });
    let events = machine.all().await;
    assert_eq!(payloads(&events), ["1", "2", "3", "4"]);
    let places: Vec<_> = events.iter().map(|event| (event.seq.0, event.stream.as_str(), event.version.0)).collect();
    assert_eq!(places, [(1, "a", 1), (2, "a", 2), (3, "b", 1), (4, "a", 3)]);
    let Event { time, kind, schema, principal, trace, cause, subject, erased, .. } = events[0].clone();
    let back = NewEvent { kind, schema, time, principal, trace, cause, subject, payload: b"1".to_vec() };
    assert_eq!((back, erased), (event("1"), false));
}

#[tokio::test]
async fn those_who_wait_share_one_sync() {
    let machine = Machine::default();
    machine
        .session(async |journal| {
            let batches = (1..=100).map(|id| one(id, &format!("s{id}"), Some(0))).collect();
            let outcomes = submit_all(&journal, batches).await;
            assert!(outcomes.iter().all(Result::is_ok));
            assert_eq!(journal.syncs(), 1);
            assert_eq!(journal.head(), Seq(100));
        })
        .await;
}

#[tokio::test]
async fn a_stale_writer_is_refused_and_nothing_of_its_batch_is_kept() {
    let machine = Machine::default();
    machine
        .session(async |journal| {
            let stale = batch(3, vec![write("b", Some(0), &["no"]), write("a", Some(0), &["no"])]);
            let guarded = Batch { preconditions: vec![("a".into(), Version(2))], ..one(4, "b", None) };
            let met = Batch {
                preconditions: vec![("a".into(), Version(1)), ("new".into(), Version(0))],
                ..one(5, "b", Some(0))
            };
            let outcomes = submit_all(&journal, vec![one(1, "a", Some(0)), stale, guarded, met]).await;
            let conflict = |expected| {
                Err(AppendError::Conflict { stream: "a".into(), expected: Version(expected), actual: Version(1) })
            };
            assert_eq!(outcomes[1..3], [conflict(0), conflict(2)]);
            assert_eq!(outcomes[3].as_ref().unwrap().first, Seq(2));
            // The same again, now that nothing of it is in the same group.
            assert_eq!(journal.append(one(6, "a", Some(0))).await, conflict(0));
            assert_eq!(journal.version(&"b".into()).unwrap(), Version(1));
        })
        .await;
    assert_eq!(machine.all().await.len(), 2);
}

#[tokio::test]
async fn a_repetition_is_answered_with_the_first_outcome() {
    let machine = Machine::with(small());
    let first = machine
        .session(async |journal| {
            let outcomes = submit_all(&journal, vec![one(1, "a", Some(0)), one(1, "a", Some(0))]).await;
            assert_eq!(outcomes[0], outcomes[1]);
            assert_eq!(journal.append(one(1, "a", Some(0))).await, outcomes[0]);
            for id in 2..20 {
                journal.append(one(id, "a", None)).await.unwrap();
            }
            outcomes[0].clone()
        })
        .await;
    let again = machine.session(async |journal| journal.append(one(1, "a", Some(0))).await).await;
    assert_eq!(again, first);
    assert_eq!(machine.all().await.len(), 19);
}

#[tokio::test]
async fn what_can_never_be_appended_is_refused_at_once() {
    let options = Options {
        batch_bytes_max: ByteSize(300),
        payload_bytes_max: ByteSize(400),
        inline_max: ByteSize(350),
        ..small()
    };
    let machine = Machine::with(options);
    machine
        .session(async |journal| {
            let long = "x".repeat(310);
            let longer = "x".repeat(401);
            for (writes, invalid) in [
                (vec![], true),
                (vec![write("a", None, &[])], true),
                (vec![write("", None, &["1"])], true),
                (vec![write("a\0b", None, &["1"])], true),
                (vec![write("a", None, &[&long])], false),
                (vec![write("a", None, &[&longer])], false),
            ] {
                let error = journal.append(batch(1, writes)).await.unwrap_err();
                assert_eq!(matches!(error, AppendError::Invalid { .. }), invalid, "{error}");
                assert_eq!(matches!(error, AppendError::TooLarge { .. }), !invalid, "{error}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_works_again_with_room() {
    // What is reserved would be room.
    let machine = Machine::with(Options { reserve_bytes: ByteSize(0), ..small() });
    machine
        .session(async |journal| {
            let disk = &machine.disk;
            journal.append(one(1, "a", Some(0))).await.unwrap();
            let mut room = journal.watch_room();
            disk.set_capacity(Some(disk.used() + 100));
            let large = batch(2, vec![write("a", Some(1), &[&"x".repeat(200)])]);
            for _ in 0..2 {
                let refusal = journal.append(large.clone()).await.unwrap_err();
                assert!(matches!(refusal, AppendError::Full { .. }), "{refusal}");
                assert!(!journal.has_room());
            }
            let shortage = room.next().await.unwrap().expect("there is no room");
            assert!(shortage.asked.bytes() > 200, "{shortage:?}");
            assert!(room.next().now_or_never().is_none(), "the second refusal is no news");
            disk.set_capacity(Some(disk.used() + 300));
            journal.append(one(3, "a", Some(1))).await.expect("a smaller one fits");
            assert_eq!(room.next().await.unwrap(), None);
            disk.set_capacity(None);
            journal.append(large).await.unwrap_err();
            let large = batch(4, vec![write("a", Some(2), &[&"x".repeat(2000)])]);
            journal.append(large.clone()).await.unwrap();
            // Now the segment is full, and the next one does not fit either.
            disk.set_capacity(Some(disk.used() + 10));
            journal.append(one(5, "a", Some(3))).await.unwrap_err();
            assert!(!journal.has_room());
            disk.set_capacity(None);
            assert!(journal.has_room());
            journal.append(one(5, "a", Some(3))).await.unwrap();
            assert_eq!(journal.read(Seq::FIRST, 99).unwrap().len(), 4);
        })
        .await;
}

#[tokio::test]
async fn a_quota_acts_like_a_full_disk_and_lets_smaller_batches_pass() {
    let machine = Machine::with(Options { bytes_max: Some(ByteSize(1000)), ..small_reserve() });
    machine
        .session(async |journal| {
            let large = batch(2, vec![write("a", None, &[&"x".repeat(900)])]);
            let outcomes = submit_all(&journal, vec![one(1, "a", None), large, one(3, "a", Some(1))]).await;
            let fates: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
            assert_eq!(fates, [true, false, true]);
            assert!(outcomes[1].as_ref().unwrap_err().to_string().contains("1000B"), "{:?}", outcomes[1]);
        })
        .await;
}

#[tokio::test]
async fn a_write_error_that_can_be_taken_back_is_survived() {
    let machine = Machine::default();
    machine
        .session(async |journal| {
            machine.disk.fail_nth(Operation::Append, 1);
            let refusal = journal.append(one(1, "a", Some(0))).await.unwrap_err();
            assert!(matches!(refusal, AppendError::Retry { .. }), "{refusal}");
            journal.append(one(1, "a", Some(0))).await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn a_failed_sync_ends_the_writer_and_the_next_opening_is_right() {
    for loss in [Loss::KeepAll, Loss::LoseUnsynced, Loss::Torn { seed: 5 }] {
        let machine = Machine::default();
        machine
            .life(async |journal| {
                let disk = &machine.disk;
                journal.append(one(1, "a", Some(0))).await.unwrap();
                disk.fail_next_sync();
                let unknown = journal.submit(one(2, "a", None)).await.unwrap();
                let outcome = unknown.await.unwrap_err();
                assert!(matches!(outcome, AppendError::Unknown { .. }), "{outcome}");
                let later = journal.append(one(3, "a", None)).await.unwrap_err();
                assert!(matches!(later, AppendError::Stopped { .. }), "{later}");
                assert!(journal.stopped().is_some_and(|reason| reason.contains(".seg")));
                assert!(!journal.has_room());
            })
            .await;
        machine.disk.power_cut(loss);
        // Repeating it is safe whether or not it was kept, and what is acknowledged now stays,
        // although the system took the failed pages for clean.
        machine.life(async |journal| journal.append(one(2, "a", Some(1))).await.unwrap()).await;
        machine.disk.power_cut(Loss::LoseUnsynced);
        assert_eq!(machine.all().await.len(), 2, "{loss:?}");
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_gone() {
    let machine = Machine::default();
    let first = machine.open().unwrap();
    let refusal = machine.open().map(|_| ()).unwrap_err();
    assert!(matches!(refusal, OpenError::Locked { .. }), "{refusal}");
    drop(first);
    assert_eq!(machine.open().unwrap().2.epoch, 2);
}

#[tokio::test]
async fn an_owner_whose_epoch_has_passed_is_fenced_off() {
    let machine = Machine::with(small());
    machine
        .session(async |journal| {
            machine.disk.forge(super::super::writer::EPOCH_PATH, b"9");
            let mut fenced = None;
            for id in 0..20 {
                fenced = fenced.or(journal.append(one(id, "a", None)).await.err());
            }
            assert_eq!(fenced, Some(AppendError::Fenced));
        })
        .await;
}

#[tokio::test]
async fn a_closed_journal_refuses_and_closes_twice() {
    let machine = Machine::default();
    let journal = machine
        .session(async |journal| {
            journal.append(one(1, "a", None)).await.unwrap();
            journal
        })
        .await;
    journal.close().await;
    let refusal = journal.append(one(2, "a", None)).await.unwrap_err();
    assert_eq!(refusal, AppendError::Stopped { reason: "it was closed".into() });
    assert_eq!(journal.read(Seq::FIRST, 9).unwrap().len(), 1);
}

#[tokio::test]
async fn personal_and_large_payloads_are_kept_apart_and_can_be_erased() {
    let machine = Machine::default();
    let large = "x".repeat(20_000);
    let about = |subject: &str| NewEvent { subject: Some(subject.to_owned()), ..event("\"secret\"") };
    let events = vec![about("ada"), about("bob"), event(large.clone()), event("7")];
    let writes = vec![Write { stream: "a".into(), expected: None, events }];
    machine.session(async |journal| journal.append(batch(1, writes)).await.unwrap()).await;
    let segment = machine.disk.read(&machine.segments()[0]).unwrap();
    assert!(segment.len() < 2000 && !segment.windows(6).any(|window| window == b"secret"));
    assert_eq!(payloads(&machine.all().await), ["\"secret\"", "\"secret\"", &large, "7"]);
    machine.session(async |journal| journal.blobs().erase("ada").unwrap()).await;
    let events = machine.all().await;
    assert_eq!(payloads(&events), ["null", "\"secret\"", &large, "7"]);
    assert_eq!(events.iter().map(|event| event.erased).collect::<Vec<_>>(), [true, false, false, false]);
    verify_chain(&machine.disk).unwrap();
}
