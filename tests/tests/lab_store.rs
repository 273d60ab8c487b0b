//! The controller's store in real etcd clusters: what every engine has to do, and what several members and controllers have to survive.
//! And a file on a disk that is full.

#![expect(clippy::unwrap_used, reason = "everything here is a test, which fails by panicking")]

use etcd_client::PutOptions;
use gateway_user::controller::store::{
    Change, Compare, Epoch, Error, FileStore, Op, Outcome, Revision, Snapshot, Store, Txn, WatchError, replay,
};
use lab::node::{Node, Processes};
use lab::store::etcd::{Cable, Carries, Members, count, is_full, with_arguments, with_members};
use lab::store::{all, commit, next, put, random, texts};
use lab::wait::SOON;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

async fn every_behaviour(members: &Members) {
    for (number, behaviour) in all().enumerate() {
        println!("{}", behaviour.sentence);
        behaviour.run(members.store(&format!("behaviour-{number}"), &members.all()).await).await;
    }
}

#[test]
fn one_member_behaves_like_every_store() {
    with_members(1, async |members| every_behaviour(&members).await);
}

#[test]
fn three_members_behave_like_every_store() {
    with_members(3, async |members| every_behaviour(&members).await);
}

#[test]
fn members_do_what_a_naive_model_does() {
    with_members(1, async |members| {
        let mut runner = TestRunner::deterministic();
        for number in 0..15 {
            let steps = random::steps(40).new_tree(&mut runner).unwrap().current();
            random::run(&members.store(&format!("random-{number}"), &members.all()).await, &steps).await;
        }
    });
}

/// Waits until nothing is left below a prefix.
async fn none_left(raw: &mut etcd_client::Client, prefix: &str) {
    let gone = async {
        while count(raw, prefix).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, gone).await.is_ok(), "keys are left below {prefix}");
}

#[test]
fn large_values_leave_nothing_behind() {
    with_members(1, async |members| {
        let (store, mut raw) = (members.store("large", &members.all()).await, members.raw().await);
        let large = |seed: u8| vec![seed; 3 << 20];
        let first = commit(&store, Txn::of([Op::put("a", large(1)), Op::put("b", large(2))])).await;
        let pieces = count(&mut raw, "large/chunk/").await;
        assert!(pieces >= 6, "{pieces}");
        // What conflicts takes its pieces back.
        let stale = Txn::of([Op::put("c", large(3))]).when(Compare::absent("a"));
        assert_eq!(store.commit(stale).await.unwrap(), Outcome::Conflict);
        commit(&store, Txn::of([Op::put("a", *b"small")])).await;
        commit(&store, Txn::of([Op::delete_prefix("b")])).await;
        none_left(&mut raw, "large/chunk/").await;
        // The past is still whole.
        let batch = next(&mut store.watch("", first)).await;
        let Change::Put(entry) = &batch.changes[1] else { panic!("{batch:?}") };
        assert!(*entry.value == *large(2));

        // A crash leaves pieces without a head; the next leader deletes them, and no others.
        commit(&store, Txn::of([Op::put("d", large(4))])).await;
        for key in ["large/chunk/crashed-1/000/key", "large/chunk/crashed-1/000/00000"] {
            raw.put(key, "d", None).await.unwrap();
        }
        let kept = count(&mut raw, "large/chunk/").await - 2;
        let leadership = store.campaign("controller", "here").await.unwrap();
        assert_eq!(count(&mut raw, "large/chunk/").await, kept);
        assert!(*store.get("d").await.unwrap().unwrap().value == *large(4));
        leadership.resign().await;
    });
}

/// Puts `w/0`, `w/1`, …, each of which must be there once in the end if its commit was acknowledged.
async fn write_through(store: &Store, writes: usize, mut disturb: impl FnMut(usize)) -> Vec<(usize, Revision)> {
    let mut acknowledged = Vec::new();
    for number in 0..writes {
        disturb(number);
        let txn = Txn::of([Op::put(format!("w/{number}"), *b"x")]).when(Compare::absent(format!("w/{number}")));
        match store.commit(txn).await {
            Ok(Outcome::Committed(revision)) => acknowledged.push((number, revision)),
            Ok(Outcome::Conflict) => panic!("write {number} was made twice, or by somebody else"),
            Err(Error::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

async fn check_written(store: &Store, acknowledged: &[(usize, Revision)]) {
    let mut watch = store.watch("w/", Revision(1));
    let mut seen: BTreeMap<String, Revision> = BTreeMap::new();
    for (number, revision) in acknowledged {
        let key = format!("w/{number}");
        while !seen.contains_key(&key) {
            let batch = next(&mut watch).await;
            for change in batch.changes {
                assert_eq!(seen.insert(change.key().into(), batch.revision), None, "{change:?} was made twice");
            }
        }
        assert_eq!(seen[&key], *revision, "{key} is acknowledged with another revision");
    }
}

#[test]
fn a_killed_member_loses_no_acknowledged_write() {
    with_members(3, async |mut members| {
        let store = members.store("killed", &members.all()).await;
        let acknowledged = write_through(&store, 120, |number| match number {
            20 => members.member(0).kill(),
            50 => members.member(0).start(),
            // The leader of the members, whichever that is.
            80 => {
                let leader = members.leader();
                members.member(leader).kill();
            }
            _ => {}
        })
        .await;
        assert!(acknowledged.len() >= 100, "only {} writes were acknowledged", acknowledged.len());
        check_written(&store, &acknowledged).await;
    });
}

#[test]
fn a_write_whose_answer_is_lost_is_made_once() {
    with_members(3, async |members| {
        let all = members.all();
        let cable = Cable::to(all[0]).await;
        let direct = members.store("lost", &all[1..]).await;
        let store = members.store("lost", &[cable.address(), all[1]]).await;
        put(&store, "before", "1").await;
        // The first member makes it and cannot say so; the second one is asked to make it again.
        cable.set(Carries::RequestsOnly);
        let revision = put(&store, "a", "1").await;
        let entry = direct.get("a").await.unwrap().unwrap();
        assert_eq!((entry.created, entry.modified), (revision, revision));
        // A compare that its own first attempt made false.
        cable.set(Carries::All);
        cable.cut();
        let once = Txn::of([Op::put("b", *b"1")]).when(Compare::absent("b"));
        assert!(matches!(store.commit(once).await, Ok(Outcome::Committed(_))));
        let acknowledged = write_through(&store, 30, |number| match number % 10 {
            3 => cable.set(Carries::RequestsOnly),
            6 => cable.set(Carries::All),
            _ => cable.cut(),
        })
        .await;
        check_written(&direct, &acknowledged).await;
        assert_eq!(acknowledged.len(), 30);
    });
}

#[test]
fn a_frozen_member_is_left_for_another() {
    with_members(3, async |mut members| {
        let store = members.store("frozen", &members.all()).await;
        let mut watch = store.watch("", store.range("").await.unwrap().revision.next());
        let first = put(&store, "a", "1").await;
        assert_eq!(next(&mut watch).await.revision, first);
        // The one that is asked first, whether it leads the others or not.
        members.member(0).freeze();
        let second = put(&store, "a", "2").await;
        assert_eq!(texts(&store.range("a").await.unwrap().entries), ["a=2"]);
        // The watch hangs at the frozen one until its pings stay unanswered.
        assert_eq!(next(&mut watch).await.revision, second);
        members.member(0).thaw();
        let third = put(&store, "a", "3").await;
        assert_eq!(next(&mut watch).await.revision, third);
    });
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_writes_nothing() {
    with_members(3, async |members| {
        let all = members.all();
        let cable = Cable::to(all[0]).await;
        let short =
            |options: &mut gateway_user::controller::store::etcd::Options| options.lease = Duration::from_secs(3);
        let first = members.store_with("cut", &[cable.address()], short).await;
        let second = members.store_with("cut", &all[1..], short).await;
        let old = first.campaign("controller", "https://one").await.unwrap();
        let mut writer = first.writer(old.term());
        assert!(matches!(writer.commit(Txn::of([Op::put("a", *b"1")])).await, Ok(Outcome::Committed(_))));
        let before = second.leader("controller").await.unwrap().unwrap();
        assert_eq!((before.address.as_str(), before.epoch), ("https://one", old.term().epoch));

        cable.set(Carries::Nothing);
        let late = writer.commit(Txn::of([Op::put("a", *b"late")]));
        let new = second.campaign("controller", "https://two").await.unwrap();
        assert!(new.term().epoch > old.term().epoch);
        // It knows by its own clock, without hearing from anybody.
        old.lost().await;
        assert!(matches!(
            second.writer(new.term()).commit(Txn::of([Op::put("a", *b"2")])).await,
            Ok(Outcome::Committed(_))
        ));
        // Back again, it finishes what it had begun to write: in vain.
        cable.set(Carries::All);
        cable.cut();
        let late = late.await;
        assert!(!matches!(late, Ok(Outcome::Committed(_))), "{late:?}");
        assert!(matches!(writer.commit(Txn::of([Op::put("a", *b"later")])).await, Err(Error::Halted)));
        let again = first.writer(old.term()).commit(Txn::of([Op::put("a", *b"later")])).await;
        assert!(matches!(again, Ok(Outcome::Conflict)), "{again:?}");
        assert_eq!(texts(&first.range("a").await.unwrap().entries), ["a=2"]);
        assert_eq!(first.leader("controller").await.unwrap().unwrap().epoch, new.term().epoch);
        // And it may contend again.
        new.resign().await;
        let third = first.campaign("controller", "https://one").await.unwrap();
        assert_eq!(third.term().epoch, Epoch(old.term().epoch.0 + 2));
    });
}

#[test]
fn a_dead_leader_is_replaced() {
    with_members(1, async |members| {
        let mut raw = members.raw().await;
        let store = members.store_with("dead", &members.all(), |options| options.lease = Duration::from_secs(3)).await;
        // What a leader leaves that was killed: its key, on a lease that nobody renews.
        let lease = raw.lease_grant(2, None).await.unwrap().id();
        let leader = r#"{"address":"https://dead","epoch":7}"#;
        raw.put("dead/kv/leaders/controller", leader, Some(PutOptions::new().with_lease(lease))).await.unwrap();
        raw.put("dead/kv/epochs/controller", "7", None).await.unwrap();
        assert_eq!(store.leader("controller").await.unwrap().unwrap().epoch, Epoch(7));
        assert_eq!(store.campaign("controller", "https://next").await.unwrap().term().epoch, Epoch(8));
    });
}

/// Follows all changes of a store, listing again where it has to.
async fn follow(
    store: &Store,
    known: &mut BTreeMap<String, gateway_user::controller::store::Entry>,
    from: Revision,
    to: Revision,
) -> u32 {
    let (mut from, mut listed) = (from, 0);
    let mut watch = store.watch("", from);
    while from <= to {
        match watch.next().await {
            Ok(batch) => {
                replay(known, &batch);
                from = batch.revision.next();
            }
            Err(WatchError::Compacted(_)) => {
                listed += 1;
                let Snapshot { revision, entries } = store.range("").await.unwrap();
                *known = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
                from = revision.next();
                watch = store.watch("", from);
            }
            Err(WatchError::Store(error)) => panic!("{error}"),
        }
    }
    listed
}

#[test]
fn a_watch_resumes_and_is_told_of_compaction() {
    with_members(3, async |members| {
        let all = members.all();
        let cable = Cable::to(all[0]).await;
        let writer = members.store("watch", &all).await;
        let store = members.store("watch", &[cable.address()]).await;
        let mut raw = members.raw().await;
        let start = put(&writer, "k/0", "first").await;
        let mut watch = store.watch("", start);
        assert_eq!(next(&mut watch).await.revision, start);
        // Cut off and back again: nothing is missing, nothing comes twice.
        cable.set(Carries::Nothing);
        let mut written = Vec::new();
        for number in 0..10 {
            written.push(put(&writer, &format!("k/{number}"), "x").await);
        }
        cable.set(Carries::All);
        cable.cut();
        for revision in &written {
            assert_eq!(next(&mut watch).await.revision, *revision);
        }
        // Cut off while the history is compacted: it is told, lists, and goes on.
        let mut known =
            store.range("").await.unwrap().entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let from = written.last().unwrap().next();
        for number in 0..10 {
            commit(&writer, Txn::of([Op::delete(format!("k/{number}")), Op::put(format!("l/{number}"), *b"x")])).await;
        }
        let last = put(&writer, "m", "x").await;
        raw.compact(i64::try_from(last.0).unwrap(), None).await.unwrap();
        let listed = follow(&store, &mut known, from, last).await;
        assert_eq!(listed, 1);
        assert_eq!(known.into_values().collect::<Vec<_>>(), writer.range("").await.unwrap().entries);
        // What comes after the compaction is told without listing.
        let after = commit(&writer, Txn::of([Op::delete("m")])).await;
        assert_eq!(next(&mut store.watch("", last.next())).await.revision, after);
    });
}

#[test]
fn a_full_store_says_so_and_does_nothing_by_halves() {
    with_arguments(1, &["--quota-backend-bytes=4194304"], async |members| {
        let store = members.store("full", &members.all()).await;
        put(&store, "a", "1").await;
        let mut error = None;
        for number in 0..100 {
            let txn = Txn::of([
                Op::put(format!("big/{number}"), vec![1; 2 << 20]),
                Op::put("last", number.to_string().into_bytes()),
            ]);
            match store.commit(txn).await {
                Ok(Outcome::Committed(_)) => {}
                Ok(Outcome::Conflict) => panic!("nothing was compared"),
                Err(full) => {
                    error = Some((number, full));
                    break;
                }
            }
        }
        let (number, error) = error.expect("the store is full in the end");
        assert!(is_full(&error), "{error}");
        assert_eq!(store.get(&format!("big/{number}")).await.unwrap(), None);
        let last = texts(&store.range("last").await.unwrap().entries);
        assert_eq!(last, (number > 0).then(|| format!("last={}", number - 1)).into_iter().collect::<Vec<_>>());
        assert_eq!(texts(&store.range("a").await.unwrap().entries), ["a=1"]);
    });
}

#[test]
fn members_that_are_not_there_are_named() {
    with_members(1, async |members| {
        let mut options =
            gateway_user::controller::store::etcd::Options::parse("etcd://127.0.0.1:1,127.0.0.1:2").unwrap();
        options.patience = Duration::from_millis(200);
        let store = Store::from(gateway_user::controller::store::etcd::EtcdStore::connect(&options).await.unwrap());
        let told = store.get("a").await.unwrap_err().to_string();
        assert!(told.contains("etcd://127.0.0.1:1,127.0.0.1:2"), "{told}");
        let told = store.commit(Txn::of([Op::put("a", *b"x")])).await.unwrap_err();
        assert!(matches!(told, Error::Unavailable { .. }), "{told}");
        drop(members);
    });
}

#[test]
#[ignore = "is a part of a_full_disk_is_told_and_nothing_is_done_by_halves"]
fn fill_the_disk() {
    let directory = Path::new("/run/small");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        fs::write(directory.join("filler"), vec![1; 2 << 20]).unwrap();
        let store = Store::from(FileStore::open(&directory.join("store")).unwrap());
        let txn = |number: usize| {
            Txn::of([
                Op::put(format!("a/{number:04}"), vec![number as u8; 64 << 10]),
                Op::put("last", number.to_string().into_bytes()),
            ])
        };
        let mut acknowledged = 0;
        let error = loop {
            match store.commit(txn(acknowledged)).await {
                Ok(Outcome::Committed(_)) => acknowledged += 1,
                Ok(Outcome::Conflict) => panic!("nothing was compared"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Full { .. }) && error.to_string().contains("make room"), "{error}");
        let check = async |acknowledged: usize| {
            let entries = store.range("").await.unwrap().entries;
            assert_eq!(entries.len(), acknowledged + 1);
            assert_eq!(*entries[acknowledged].value, *(acknowledged - 1).to_string().as_bytes());
            assert!(
                entries[..acknowledged]
                    .iter()
                    .enumerate()
                    .all(|(number, entry)| entry.value.iter().all(|&byte| byte == number as u8))
            );
        };
        check(acknowledged).await;
        // Again, and again nothing happens.
        assert!(store.commit(txn(acknowledged)).await.is_err());
        check(acknowledged).await;
        // Somebody makes room: it goes on by itself.
        fs::remove_file(directory.join("filler")).unwrap();
        assert!(matches!(store.commit(txn(acknowledged)).await, Ok(Outcome::Committed(_))));
        check(acknowledged + 1).await;
    });
}

#[test]
fn a_full_disk_is_told_and_nothing_is_done_by_halves() {
    let node = Node::new("disk", &Processes::new().unwrap()).unwrap();
    node.sh("mkdir /run/small; mount -t tmpfs -o size=8m tmpfs /run/small").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fill_the_disk", "--ignored", "--nocapture"]);
    println!("{}", node.run(&mut command).unwrap());
}
