//! Torn tails are cut, damage stops the start, and edits break the chain.

use super::super::{frame, record, segment};
use super::*;
use crate::disk::Disk;

/// Appends one group for each number: that many batches, each of two events.
async fn groups(journal: &Journal, sizes: &[u128]) {
    let mut id = 0;
    for size in sizes {
        let mut pending = Vec::new();
        for _ in 0..*size {
            id += 1;
            pending.push(journal.submit(batch(id, vec![write("a", None, &["1", "\"two\""])])).await.unwrap());
        }
        for answer in pending {
            answer.await.unwrap();
        }
    }
}

fn copy(machine: &Machine) -> Machine {
    let other = Machine::with(machine.options.clone());
    other.disk.create_dir_all("journal").unwrap();
    for path in machine.segments() {
        other.disk.forge(&path, &machine.disk.read(&path).unwrap());
    }
    other
}

/// Flips each byte of the journal in turn: every flip must be refused with its file and a place at or
/// before it, except that up to `spared` events at the end may be cut.
async fn flip_every_byte(machine: &Machine, events: u64, spared: u64) {
    for path in machine.segments() {
        for offset in 0..machine.disk.read(&path).unwrap().len() as u64 {
            let flipped = copy(machine);
            flipped.disk.flip(&path, offset);
            match flipped.open() {
                Err(OpenError::Damaged { file, offset: found, .. }) => {
                    assert!(file >= path && (file > path || found <= offset), "{path} {offset}: {file} {found}");
                }
                Err(OpenError::Format { file, .. }) => assert_eq!(file, path),
                Err(other) => panic!("{path} {offset}: {other}"),
                Ok((journal, _, opened)) => {
                    let torn = opened.torn.unwrap_or_else(|| panic!("{path} {offset}: not noticed"));
                    assert!(torn.offset <= offset && torn.file == path);
                    assert!(opened.head.0 + spared >= events, "{path} {offset}: cut to {}", opened.head);
                    assert_eq!(journal.read(Seq::FIRST, 99).unwrap().len() as u64, opened.head.0);
                }
            }
        }
    }
}

#[tokio::test]
async fn any_flipped_byte_is_refused_or_costs_at_most_the_last_group() {
    let machine = Machine::with(Options { segment_bytes: ByteSize(900), ..small_reserve() });
    machine.life(async |journal| groups(&journal, &[2, 1, 3, 1, 2]).await).await;
    assert!(machine.segments().len() > 1);
    flip_every_byte(&machine, 18, 4).await;
}

#[tokio::test]
async fn once_closed_or_opened_again_a_flipped_byte_costs_no_event() {
    let machine = Machine::with(Options { segment_bytes: ByteSize(900), ..small_reserve() });
    machine.session(async |journal| groups(&journal, &[2, 1, 2]).await).await;
    flip_every_byte(&machine, 10, 0).await;
    let machine = Machine::default();
    machine.life(async |journal| groups(&journal, &[2, 1]).await).await;
    drop(machine.open().unwrap());
    flip_every_byte(&machine, 6, 0).await;
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_reported() {
    let machine = Machine::default();
    machine.life(async |journal| groups(&journal, &[1, 1]).await).await;
    let path = machine.segments().remove(0);
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let bytes = machine.disk.read(&path).unwrap();
    let whole = &bytes[..end(&bytes)];
    for kept in 1..=40 {
        let torn = copy(&machine);
        let left = &whole[..whole.len() - kept];
        // With what was reserved behind it, or without.
        let reserve = vec![0; kept % 3 * 100];
        torn.disk.forge(&path, &[left, &reserve].concat());
        let (journal, _, opened) = torn.open().unwrap();
        let found = opened.torn.unwrap();
        assert_eq!((opened.head, &found.file), (Seq(2), &path));
        assert_eq!(found.offset + found.bytes, end(left) as u64);
        assert_eq!(journal.read(Seq::FIRST, 9).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn damage_in_an_earlier_segment_names_file_and_offset_and_what_to_do() {
    let machine = Machine::with(Options { segment_bytes: ByteSize(300), ..small_reserve() });
    machine.session(async |journal| groups(&journal, &[1, 1, 1, 1]).await).await;
    let path = machine.segments().remove(1);
    machine.disk.flip(&path, 100);
    let refusal = machine.open().map(|_| ()).unwrap_err().to_string();
    assert!(
        refusal.contains(&path) && refusal.contains("byte 64") && refusal.contains("callboard doctor"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_missing_segment_or_tail_stops_the_start() {
    let machine = Machine::with(Options { segment_bytes: ByteSize(300), unindexed_max: 1, ..small_reserve() });
    machine.session(async |journal| groups(&journal, &[1, 1, 1, 1]).await).await;
    let segments = machine.segments();
    for (nth, path) in segments.iter().enumerate() {
        let lacking = Machine { shelves: machine.shelves.clone(), ..copy(&machine) };
        lacking.disk.remove(path).unwrap();
        let refusal = lacking.open().map(|_| ()).unwrap_err();
        let last = nth + 1 == segments.len();
        assert_eq!(matches!(refusal, OpenError::Missing { .. }), last, "{path}: {refusal}");
    }
}

#[tokio::test]
async fn another_format_is_named() {
    let machine = Machine::default();
    machine.session(async |journal| groups(&journal, &[1]).await).await;
    let path = machine.segments().remove(0);
    let mut bytes = machine.disk.read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    machine.disk.forge(&path, &bytes);
    assert!(matches!(machine.open(), Err(OpenError::Format { format: 2, known: 1, .. })));
}

#[tokio::test]
async fn an_edited_record_with_a_corrected_checksum_breaks_the_chain() {
    let machine = Machine::default();
    machine.session(async |journal| groups(&journal, &[1, 1, 1]).await).await;
    let path = machine.segments().remove(0);
    let honest = machine.disk.read(&path).unwrap();
    let verified = verify_chain(&machine.disk).unwrap();
    assert_eq!((verified.head, verified.segments, verified.torn), (Seq(6), 1, None));

    let at = honest.windows(5).position(|window| window == b"\"two\"").unwrap();
    let mut edited = honest.clone();
    edited[at + 1..at + 4].copy_from_slice(b"six");
    let start = edited[..at].windows(4).rposition(|window| window == frame::MAGIC).unwrap();
    let length = u32::from_le_bytes(edited[start + 4..start + 8].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&edited[start + 12..start + 12 + length]);
    edited[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
    machine.disk.forge(&path, &edited);
    assert_eq!(payloads(&machine.all().await)[1], "\"six\"", "an opening checks no chain");
    let Err(OpenError::Damaged { file, offset, what }) = verify_chain(&machine.disk) else { panic!("not noticed") };
    assert_eq!((file, offset), (path, start as u64));
    assert!(what.contains("chain"), "{what}");
}

#[test]
fn a_walk_reads_frames_larger_than_its_chunk() {
    let disk = SimDisk::new();
    let mut file = disk.open("f").unwrap();
    let head = |kind, count| frame::Head {
        kind,
        count,
        epoch: 1,
        group_start: 0,
        id: RecordId(1),
        first: Seq(1),
        time: NOW,
        chain: frame::Chain::default(),
    };
    let mut bytes = Vec::new();
    for size in [0, 10, 5000, 3, 900] {
        frame::write(&mut bytes, &head(frame::Kind::Opened, 0), &vec![7; size], &[], &[]);
    }
    file.append(&bytes).unwrap();
    for chunk in [16, 97, 128, 4096] {
        let mut sizes = Vec::new();
        let walked = segment::walk(&*file, 0, bytes.len() as u64, chunk, |_, frame| {
            sizes.push(frame.events.len());
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(walked.unwrap(), segment::Walked::Whole);
        assert_eq!(sizes, [0, 10, 5000, 3, 900]);
    }
    let frame = frame::parse(&bytes).unwrap();
    assert!(record::raws(&frame).unwrap().is_empty());
}

#[tokio::test]
async fn payloads_that_are_missing_or_damaged_are_named_with_their_events() {
    let machine = Machine::default();
    let large = |letter: &str| format!("\"{}\"", letter.repeat(20_000));
    machine
        .session(async |journal| {
            for (id, letter) in [(1, "a"), (2, "b"), (3, "c")] {
                let stream = format!("run/{letter}");
                journal.append(batch(id, vec![write(&stream, None, &[&large(letter)])])).await.unwrap();
            }
        })
        .await;
    let disk: Arc<dyn Disk> = Arc::new(machine.disk.clone());
    let (verified, payloads) = verify(&disk).unwrap();
    assert_eq!((verified.head, payloads.whole, payloads.faults_count), (Seq(3), 3, 0));
    let folder = format!("blobs/{}", machine.disk.list("blobs").unwrap()[0]);
    let names = machine.disk.list(&folder).unwrap();
    let files: Vec<String> =
        names.iter().filter(|name| *name != "key").map(|name| format!("{folder}/{name}")).collect();
    machine.disk.remove(&files[0]).unwrap();
    machine.disk.flip(&files[1], 9);
    let (_, payloads) = verify(&disk).unwrap();
    assert_eq!((payloads.whole, payloads.faults_count), (1, 2));
    for (file, what) in [(&files[0], "missing"), (&files[1], "damaged")] {
        let fault = payloads.faults.iter().find(|fault| fault.reason.contains(file.as_str())).unwrap();
        assert!(fault.reason.contains(what) && fault.reason.contains("backup"), "{fault:?}");
        assert!(fault.stream.as_str().starts_with("run/") && fault.kind == "test.happened", "{fault:?}");
    }
}

#[tokio::test]
async fn what_an_index_has_seen_beyond_the_end_is_counted_by_stream() {
    let machine = Machine::default();
    machine.session(async |journal| journal.append(one(1, "a", None)).await.unwrap()).await;
    let path = machine.segments().remove(0);
    let kept = machine.disk.read(&path).unwrap().len() as u64;
    machine
        .session(async |journal| {
            journal.append(batch(2, vec![write("a", None, &["1", "2"]), write("b", None, &["3"])])).await.unwrap();
        })
        .await;
    let index = machine.shelves.open("streams", INDEX_VERSION).unwrap();
    assert_eq!(lost(&verify_chain(&machine.disk).unwrap(), &*index).unwrap(), Lost::default());
    let mut file = machine.disk.open(&path).unwrap();
    file.truncate(kept).unwrap();
    let verified = verify_chain(&machine.disk).unwrap();
    assert_eq!((verified.head, verified.torn.is_none(), verified.openings_unrecorded), (Seq(1), true, 1));
    let lost = lost(&verified, &*index).unwrap().events;
    assert_eq!(lost.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
}
