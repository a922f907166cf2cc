use super::*;
use crate::disk::replace;

fn written(disk: &SimDisk, path: &str, synced: &[u8], more: &[u8]) -> Box<dyn File> {
    let mut file = disk.open(path).unwrap();
    file.append(synced).unwrap();
    file.sync().unwrap();
    disk.sync_dir(parent(path)).unwrap();
    file.append(more).unwrap();
    file
}

#[test]
fn a_power_cut_loses_what_was_not_synced_and_nothing_else() {
    let disk = SimDisk::new();
    written(&disk, "a", b"kept", b"lost");
    disk.power_cut(Loss::LoseUnsynced);
    assert_eq!(disk.read("a").unwrap(), b"kept");
    assert_eq!(disk.used(), 4);
}

#[test]
fn a_killed_process_loses_nothing() {
    let disk = SimDisk::new();
    written(&disk, "a", b"kept", b"too");
    disk.power_cut(Loss::KeepAll);
    assert_eq!(disk.read("a").unwrap(), b"kepttoo");
}

#[test]
fn names_and_renames_are_lost_without_a_folder_sync() {
    let disk = SimDisk::new();
    disk.create_dir_all("d/e").unwrap();
    let mut file = disk.open("d/e/a").unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    disk.power_cut(Loss::LoseUnsynced);
    assert!(disk.exists("d/e").unwrap());
    assert!(!disk.exists("d/e/a").unwrap());

    replace(&disk, "d/e/b", b"old").unwrap();
    disk.open("d/e/c").unwrap().append(b"new").unwrap();
    disk.rename("d/e/c", "d/e/b").unwrap();
    disk.power_cut(Loss::LoseUnsynced);
    assert_eq!(disk.read("d/e/b").unwrap(), b"old");
    assert_eq!(disk.list("d/e").unwrap(), ["b"]);
}

#[test]
fn a_tear_spares_what_was_synced_and_repeats_with_its_seed() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..64 {
        let torn = |seed| {
            let disk = SimDisk::new();
            written(&disk, "a", &[1; 700], &[2; 3000]);
            disk.power_cut(Loss::Torn { seed });
            disk.read("a").unwrap()
        };
        let left = torn(seed);
        assert_eq!(left, torn(seed));
        assert_eq!(left[..700], [1; 700]);
        assert!(left.len() <= 3700);
        outcomes.insert(left);
    }
    assert!(outcomes.len() > 32, "{} different tears", outcomes.len());
}

#[test]
fn a_full_disk_takes_what_fits_and_works_again_with_room() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(6));
    let mut file = disk.open("a").unwrap();
    file.append(b"1234").unwrap();
    let error = file.append(b"5678").unwrap_err();
    assert!(crate::disk::is_full(&error));
    assert_eq!(disk.read("a").unwrap(), b"123456");
    file.truncate(4).unwrap();
    file.append(b"56").unwrap();
    disk.set_capacity(None);
    file.append(b"78").unwrap();
    assert_eq!(disk.read("a").unwrap(), b"12345678");
}

#[test]
fn bytes_of_a_failed_sync_stay_lost_though_a_later_one_succeeds() {
    let disk = SimDisk::new();
    let mut file = written(&disk, "a", b"kept", b"lost");
    disk.fail_next_sync();
    file.sync().unwrap_err();
    file.append(b"late").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read("a").unwrap(), b"keptlostlate");
    disk.power_cut(Loss::LoseUnsynced);
    assert_eq!(disk.read("a").unwrap(), b"kept\0\0\0\0late");
}

#[test]
fn handles_and_locks_die_with_the_power() {
    let disk = SimDisk::new();
    let mut file = written(&disk, "a", b"", b"");
    let lock = disk.lock("lock").unwrap();
    assert_eq!(disk.lock("lock").err().unwrap().kind(), io::ErrorKind::WouldBlock);
    disk.power_cut(Loss::LoseUnsynced);
    file.append(b"x").unwrap_err();
    let second = disk.lock("lock").unwrap();
    drop(lock);
    assert!(disk.lock("lock").is_err(), "an old guard must not release a new lock");
    drop(second);
    disk.lock("lock").unwrap();
}

#[test]
fn the_power_goes_off_at_the_chosen_change() {
    let disk = SimDisk::new();
    let mut file = written(&disk, "a", b"", b"");
    disk.power_off_after(1);
    file.append(b"12").unwrap();
    file.append(b"34").unwrap_err();
    file.sync().unwrap_err();
    disk.power_cut(Loss::KeepAll);
    assert_eq!(disk.read("a").unwrap(), b"12");
}

#[test]
fn the_nth_operation_fails_once() {
    let disk = SimDisk::new();
    let mut file = written(&disk, "a", b"", b"");
    disk.fail_nth(Operation::Append, 2);
    file.append(b"1").unwrap();
    file.append(b"22").unwrap_err();
    assert_eq!(disk.read("a").unwrap(), b"12");
    file.append(b"3").unwrap();
    assert_eq!(disk.read("a").unwrap(), b"13", "what failed is written over");
}

#[test]
fn a_file_with_two_names_after_half_a_move_takes_its_room_until_the_last_is_removed() {
    let disk = SimDisk::new();
    disk.create_dir_all("d").unwrap();
    let mut file = disk.open("a").unwrap();
    file.append(b"12345").unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    disk.rename("a", "d/a").unwrap();
    disk.sync_dir("d").unwrap();
    disk.power_cut(Loss::LoseUnsynced);
    assert_eq!((disk.read("a").unwrap(), disk.read("d/a").unwrap()), (b"12345".to_vec(), b"12345".to_vec()));
    disk.remove("a").unwrap();
    assert_eq!(disk.used(), 5);
    disk.remove("d/a").unwrap();
    assert_eq!(disk.used(), 0);
}

#[test]
fn what_is_reserved_takes_room_once_and_is_lost_like_all_else() {
    let disk = SimDisk::new();
    let mut file = written(&disk, "a", b"12", b"");
    disk.set_capacity(Some(6));
    file.reserve(3).unwrap();
    file.append(b"34").unwrap();
    assert_eq!((disk.used(), disk.read("a").unwrap()), (5, b"1234\0".to_vec()));
    assert!(crate::disk::is_full(&file.reserve(9).unwrap_err()));
    file.append(b"56").unwrap();
    assert!(crate::disk::is_full(&file.append(b"7").unwrap_err()));
    assert_eq!((disk.used(), disk.read("a").unwrap()), (6, b"123456".to_vec()));
    disk.power_cut(Loss::LoseUnsynced);
    assert_eq!(disk.read("a").unwrap(), b"12");
    let mut file = disk.open("a").unwrap();
    file.reserve(2).unwrap();
    file.sync().unwrap();
    file.append(b"3").unwrap();
    disk.power_cut(Loss::LoseUnsynced);
    assert_eq!(disk.read("a").unwrap(), b"12\0\0");
}
