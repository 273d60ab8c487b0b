//! The controller's store in memory and in a file: what every engine has to do, and what the file alone has to survive.

#![expect(clippy::unwrap_used, reason = "everything here is a test, which fails by panicking")]

use gateway_user::controller::store::backup::{Backup, BackupError};
use gateway_user::controller::store::file::Retention;
use gateway_user::controller::store::{
    Compare, Entry, Epoch, FileStore, MemoryStore, Op, Outcome, Revision, Store, Txn, WatchError,
};
use lab::store::{all, commit, next, put, random, texts};
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn file() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(&directory.path().join("store")).unwrap();
    (directory, store.into())
}

#[test]
fn the_memory_behaves_like_every_store() {
    run(async {
        for behaviour in all() {
            println!("{}", behaviour.sentence);
            behaviour.run(MemoryStore::new().into()).await;
        }
    });
}

#[test]
fn a_file_behaves_like_every_store() {
    run(async {
        for behaviour in all() {
            println!("{}", behaviour.sentence);
            let (_directory, store) = file();
            behaviour.run(store).await;
        }
    });
}

#[test]
fn the_memory_does_what_a_naive_model_does() {
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    runner
        .run(&random::steps(40), |steps| {
            run(random::run(&MemoryStore::new().into(), &steps));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_file_does_what_a_naive_model_does() {
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    runner
        .run(&random::steps(40), |steps| {
            let (_directory, store) = file();
            run(random::run(&store, &steps));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_file_keeps_everything_but_leaderships() {
    let directory = tempfile::tempdir().unwrap();
    // What is left in the end goes with its runtime, as it does with a process that ends without a word.
    let (first, last, term, before, history) = run(async {
        let store = Store::from(FileStore::open(directory.path()).unwrap());
        let first = put(&store, "a", "1").await;
        let leadership = store.campaign("controller", "here").await.unwrap();
        let term = leadership.term().clone();
        std::mem::forget(leadership);
        let last = commit(&store, Txn::of([Op::put("b", *b"2")]).when(term.guard.clone())).await;
        let before = store.range("b").await.unwrap();
        (first, last, term, before, store.watch("", first).next().await.unwrap())
    });
    run(async {
        let store = Store::from(FileStore::open(directory.path()).unwrap());
        assert_eq!(store.range("b").await.unwrap().entries, before.entries);
        assert_eq!(store.watch("", first).next().await.unwrap(), history);
        assert_eq!(store.leader("controller").await.unwrap(), None);
        let stale = Txn::of([Op::put("b", *b"3")]).when(term.guard);
        assert_eq!(store.commit(stale).await.unwrap(), Outcome::Conflict);
        let leadership = store.campaign("controller", "here").await.unwrap();
        assert_eq!(leadership.term().epoch, Epoch(term.epoch.0 + 1));
        assert!(put(&store, "a", "2").await > last);
        leadership.resign().await;
    });
}

#[test]
fn changes_are_forgotten_in_the_end_and_watches_are_told() {
    let directory = tempfile::tempdir().unwrap();
    run(async {
        let retention = Retention { revisions: 10, ..Retention::default() };
        let open = || Store::from(FileStore::open_with(directory.path(), retention).unwrap());
        let store = open();
        let mut revisions = Vec::new();
        for number in 0..25 {
            revisions.push(put(&store, "a", &number.to_string()).await);
        }
        drop(store);
        {
            let store = open();
            let told = store.watch("", revisions[0]).next().await;
            assert!(matches!(told, Err(WatchError::Compacted(revision)) if revision == revisions[14]), "{told:?}");
            let told = store.watch("", revisions[14]).next().await;
            assert!(matches!(told, Err(WatchError::Compacted(_))), "{told:?}");
            assert_eq!(next(&mut store.watch("", revisions[15])).await.revision, revisions[15]);
            let snapshot = store.range("").await.unwrap();
            assert_eq!(texts(&snapshot.entries), ["a=24"]);
        }
        let by_size = Retention { bytes: 1000, ..Retention::default() };
        let store = Store::from(FileStore::open_with(directory.path(), by_size).unwrap());
        let last = commit(&store, Txn::of([Op::put("b", vec![0; 2000])])).await;
        assert!(matches!(store.watch("", last).next().await, Ok(batch) if batch.revision == last));
        assert!(matches!(store.watch("", revisions[24]).next().await, Err(WatchError::Compacted(_))));
    });
}

/// Makes a store with something in it, and returns what a reader finds there.
fn filled(directory: &Path) -> Vec<Entry> {
    run(async {
        let store = Store::from(FileStore::open(directory).unwrap());
        for number in 0..40 {
            commit(&store, Txn::of((0..5).map(|key| Op::put(format!("{key}/{number}"), vec![number; 300])))).await;
        }
        store.range("").await.unwrap().entries
    })
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let expected = filled(directory.path());
    let path = directory.path().join("store.redb");
    let sound = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..sound.len()).filter(|&place| sound[place] != 0).collect();
    let (mut refused, tries) = (0, 150);
    for number in 0..tries {
        // The first bytes describe the file, the others are anywhere.
        let place = if number < 50 { number * 6 } else { used[used.len() * (number - 50) / (tries - 50)] };
        let mut damaged = sound.clone();
        damaged[place] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        match FileStore::open(directory.path()) {
            Ok(store) => {
                let found = run(async { Store::from(store).range("").await.unwrap().entries });
                assert!(found == expected, "byte {place} was changed, and what is read is something else");
            }
            Err(error) => {
                refused += 1;
                let told = error.to_string();
                assert!(told.contains("store.redb") && told.contains("left as it is"), "{told}");
                assert!(fs::read(&path).unwrap() == damaged, "the damaged file was written to (byte {place})");
            }
        }
    }
    assert!(refused > tries / 2, "only {refused} of {tries} damages were noticed");
    // What was moved back is as good as ever.
    fs::write(&path, &sound).unwrap();
    assert!(
        run(async { Store::from(FileStore::open(directory.path()).unwrap()).range("").await.unwrap().entries })
            == expected
    );
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let path = directory.path().join("store.redb");
    let sound = fs::read(&path).unwrap();
    for foreign in [&b""[..], b"x", b"SQLite format 3\0", &sound[..sound.len() / 2], &sound[..4096], &sound[..9]] {
        fs::write(&path, foreign).unwrap();
        let told = FileStore::open(directory.path()).unwrap_err().to_string();
        assert!(told.contains("store.redb") && told.contains("left as it is"), "{told}");
        assert!(fs::read(&path).unwrap() == foreign, "{} bytes were written over", foreign.len());
    }
}

#[test]
fn a_directory_has_one_user_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let told = FileStore::open(directory.path()).unwrap_err().to_string();
    assert!(told.contains("another process") && told.contains("--data-dir"), "{told}");
    drop(store);
    FileStore::open(directory.path()).unwrap();
}

/// Starts this program again, to do only what the test of this name does, and to tell what it did.
pub fn again(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env("STORE_DIRECTORY", directory);
    command
}

const STARTED: &str = "acknowledged ";

#[test]
#[ignore = "is a part of a_killed_process_loses_no_acknowledged_write"]
fn commit_until_killed() {
    let directory = PathBuf::from(std::env::var_os("STORE_DIRECTORY").unwrap());
    run(async {
        let store = Store::from(FileStore::open(&directory).unwrap());
        let leadership = store.campaign("controller", "here").await.unwrap();
        let mut writer = store.writer(leadership.term());
        let first = store.range("a/").await.unwrap().entries.len();
        let mut pending = std::collections::VecDeque::new();
        for number in first.. {
            let ops = ["a", "b"].map(|key| Op::put(format!("{key}/{number:06}"), number.to_string().into_bytes()));
            let compare = Compare::absent(format!("a/{number:06}"));
            pending.push_back((number, writer.commit(Txn::of(ops).when(compare))));
            // Several at once, so that groups are killed in their middle.
            if pending.len() >= 8 {
                let (number, outcome) = pending.pop_front().unwrap();
                let Ok(Outcome::Committed(revision)) = outcome.await else { panic!("a write failed") };
                writeln!(std::io::stdout(), "{STARTED}{number} {revision}").unwrap();
            }
        }
    });
}

#[test]
fn a_killed_process_loses_no_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(usize, u64)> = Vec::new();
    for round in 0..6 {
        let mut child = again("commit_until_killed", directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut heard = 0;
        // At another place every time.
        while heard < 5 + 17 * round {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the writing process ended by itself");
            heard += usize::from(note(&line, &mut acknowledged));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // A line that was cut off was not acknowledged.
        for line in rest.split_inclusive('\n') {
            note(line, &mut acknowledged);
        }
        run(async {
            let store = Store::from(FileStore::open(directory.path()).unwrap());
            let (a, b) = (store.range("a/").await.unwrap().entries, store.range("b/").await.unwrap().entries);
            let halves = |entries: &[Entry]| {
                entries.iter().map(|entry| (entry.key[2..].to_owned(), entry.created)).collect::<Vec<_>>()
            };
            assert_eq!(halves(&a), halves(&b), "a transaction was made by halves");
            for &(number, revision) in &acknowledged {
                let entry = a.get(number).unwrap_or_else(|| panic!("write {number} is lost"));
                assert_eq!((&entry.key, entry.created), (&format!("a/{number:06}"), Revision(revision)));
            }
        });
    }
}

fn note(line: &str, acknowledged: &mut Vec<(usize, u64)>) -> bool {
    let Some(rest) = line.strip_prefix(STARTED).and_then(|rest| rest.strip_suffix('\n')) else { return false };
    let (number, revision) = rest.split_once(' ').unwrap();
    acknowledged.push((number.parse().unwrap(), revision.parse().unwrap()));
    true
}

#[test]
fn no_byte_of_a_backup_can_be_changed() {
    let mut bytes = Vec::new();
    run(async {
        let store = Store::from(MemoryStore::new());
        commit(&store, Txn::of([Op::put("a", *br#"{"x":1}"#), Op::put("b", *b"text"), Op::put("c", *b"\xff")])).await;
        Backup::take(&store).await.unwrap().write(&mut bytes).unwrap();
    });
    let backup = Backup::read(&bytes[..]).unwrap();
    assert_eq!(backup.entries.len(), 3);
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let read = Backup::read(&changed[..]);
        assert!(read.is_err(), "{}", String::from_utf8_lossy(&changed));
        let cut = Backup::read(&bytes[..place]);
        assert!(cut.is_err(), "cut at {place}");
    }
    let later = String::from_utf8(bytes.clone()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(Backup::read(later.as_bytes()), Err(BackupError::Version(2))));
    let foreign = Backup::read(&b"{\"a\":1}\n"[..]).unwrap_err().to_string();
    assert!(foreign.contains("not a backup"), "{foreign}");
    bytes.push(b'x');
    assert!(matches!(Backup::read(&bytes[..]), Err(BackupError::Damaged { line: 6, .. })));
}
