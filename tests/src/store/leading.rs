//! Leaders, and how they write.

use super::{commit, list, put, texts};
use gateway_user::controller::store::backup::{Backup, BackupError, Existing, check_complete};
use gateway_user::controller::store::{Epoch, Error, Leadership, Op, Outcome, Store, Txn};

list! {
    one_leads_at_a_time: "one leads at a time, and the next has a larger epoch",
    a_leader_that_is_gone_writes_nothing: "what a leader of the past writes is refused",
    dropping_a_leadership_ends_it: "a leadership that is dropped ends",
    names_are_led_apart: "several names are led at once",
    a_writer_keeps_its_order: "a writer's transactions are made in order, many at once",
    a_writer_stops_at_the_first_failure: "a writer stops for good at its first failure",
}

async fn one_leads_at_a_time(store: Store) {
    let first = store.campaign("controller", "https://one").await.unwrap();
    assert!(first.is_held());
    let leader = store.leader("controller").await.unwrap().unwrap();
    assert_eq!((leader.address.as_str(), leader.epoch), ("https://one", first.term().epoch));
    let contender = store.clone();
    let second = tokio::spawn(async move { contender.campaign("controller", "https://two").await.unwrap() });
    // It waits however long it is given: what it would become leader by is the first one's end.
    for number in 0..20 {
        put(&store, "a", &number.to_string()).await;
        assert!(!second.is_finished());
    }
    let term = first.term().clone();
    first.resign().await;
    let second = second.await.unwrap();
    assert!(second.term().epoch > term.epoch);
    assert_ne!(second.term().guard, term.guard);
    assert_eq!(store.leader("controller").await.unwrap().unwrap().address, "https://two");
    second.resign().await;
    assert_eq!(store.leader("controller").await.unwrap(), None);
    let third = store.campaign("controller", "https://one").await.unwrap();
    assert_eq!(third.term().epoch, Epoch(term.epoch.0 + 2));
}

async fn a_leader_that_is_gone_writes_nothing(store: Store) {
    let leadership = store.campaign("controller", "https://one").await.unwrap();
    let term = leadership.term().clone();
    let mut writer = store.writer(&term);
    assert!(matches!(writer.commit(Txn::of([Op::put("a", *b"1")])).await, Ok(Outcome::Committed(_))));
    // What the end of a lease does, while the leader sleeps.
    commit(&store, Txn::of([Op::delete(&term.guard.key)])).await;
    assert_eq!(writer.commit(Txn::of([Op::put("a", *b"2")])).await.unwrap(), Outcome::Conflict);
    let next = store.campaign("controller", "https://two").await.unwrap();
    assert_eq!(store.writer(&term).commit(Txn::of([Op::put("a", *b"3")])).await.unwrap(), Outcome::Conflict);
    assert_eq!(texts(&store.range("a").await.unwrap().entries), ["a=1"]);
    leadership.lost().await;
    assert!(!leadership.is_held() && next.is_held());
    // The end of the lost one takes nothing from its successor.
    leadership.resign().await;
    assert_eq!(store.leader("controller").await.unwrap().unwrap().address, "https://two");
    assert!(next.is_held());
}

async fn dropping_a_leadership_ends_it(store: Store) {
    let first = store.campaign("controller", "https://one").await.unwrap();
    drop(first);
    store.campaign("controller", "https://two").await.unwrap();
}

async fn names_are_led_apart(store: Store) {
    let one = store.campaign("one", "https://one").await.unwrap();
    let two = store.campaign("one-more", "https://two").await.unwrap();
    assert_eq!(store.leader("one").await.unwrap().unwrap().address, "https://one");
    one.resign().await;
    assert!(two.is_held());
    assert_eq!(store.leader("one-more").await.unwrap().unwrap().address, "https://two");
}

async fn a_writer_keeps_its_order(store: Store) {
    const WRITES: usize = 300;
    let leadership = store.campaign("controller", "https://one").await.unwrap();
    let mut writer = store.writer(leadership.term());
    let pending: Vec<_> = (0..WRITES)
        .map(|number| {
            let own = Op::put(format!("own/{number}"), *b"x");
            writer.commit(Txn::of([own, Op::put("last", number.to_string().into_bytes())]))
        })
        .collect();
    let mut last = None;
    for pending in pending {
        let Ok(Outcome::Committed(revision)) = pending.await else { panic!("a write failed") };
        assert!(Some(revision) > last || Some(revision) == last, "{revision} after {last:?}");
        last = Some(revision);
    }
    assert_eq!(store.range("own/").await.unwrap().entries.len(), WRITES);
    assert_eq!(texts(&store.range("last").await.unwrap().entries), [format!("last={}", WRITES - 1)]);
}

async fn a_writer_stops_at_the_first_failure(store: Store) {
    let leadership = store.campaign("controller", "https://one").await.unwrap();
    let mut writer = store.writer(leadership.term());
    let one = writer.commit(Txn::of([Op::put("one", *b"x")]));
    let two =
        writer.commit(Txn::of([Op::put("two", *b"x")]).when(gateway_user::controller::store::Compare::absent("one")));
    let three = writer.commit(Txn::of([Op::put("three", *b"x")]));
    assert!(matches!(one.await, Ok(Outcome::Committed(_))));
    assert_eq!(two.await.unwrap(), Outcome::Conflict);
    assert!(matches!(three.await, Err(Error::Halted)));
    assert!(matches!(writer.commit(Txn::of([Op::put("four", *b"x")])).await, Err(Error::Halted)));
    // Another writer of the same leadership begins afresh.
    assert!(matches!(
        store.writer(leadership.term()).commit(Txn::of([Op::put("five", *b"x")])).await,
        Ok(Outcome::Committed(_))
    ));
    let entries = store.range("").await.unwrap().entries;
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).filter(|key| !key.contains('/')).collect();
    assert_eq!(keys, ["five", "one"]);
}

/// Restores a backup of `store` into an empty store and into `store` itself, which holds other things by then.
pub async fn restore_everywhere(store: &Store, leadership: Leadership, empty: Store, backup: Backup) {
    const NOW: u64 = 1_800_000_000_000;
    let own = |keys: Vec<gateway_user::controller::store::Entry>| {
        let own =
            keys.into_iter().filter(|entry| !entry.key.starts_with("leaders/") && !entry.key.starts_with("epochs/"));
        own.map(|entry| (entry.key, entry.value)).collect::<Vec<_>>()
    };
    let first = empty.campaign("controller", "https://there").await.unwrap();
    backup.restore(&mut empty.writer(first.term()), Existing::Keep, NOW).await.unwrap();
    check_complete(&empty).await.unwrap();
    assert_eq!(own(empty.range("").await.unwrap().entries), backup.entries);
    first.resign().await;
    let second = empty.campaign("controller", "https://there").await.unwrap();
    assert!(second.term().epoch > Epoch(NOW), "an epoch could be one that was used before: {}", second.term().epoch);

    commit(store, Txn::of([Op::put("a", *b"changed"), Op::put("new", *b"x"), Op::delete("c")])).await;
    let mut writer = store.writer(leadership.term());
    let refused = backup.restore(&mut writer, Existing::Keep, NOW).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty(5))), "{refused:?}");
    assert_eq!(store.get("new").await.unwrap().unwrap().value, (*b"x").into());
    backup.restore(&mut writer, Existing::Replace, NOW).await.unwrap();
    assert_eq!(own(store.range("").await.unwrap().entries), backup.entries);
    // Without its leadership it stops, and says that the store is not complete.
    let before = own(store.range("").await.unwrap().entries);
    leadership.resign().await;
    let refused = backup.restore(&mut writer, Existing::Replace, NOW).await;
    assert!(matches!(refused, Err(BackupError::NotLeader)), "{refused:?}");
    assert_eq!(own(store.range("").await.unwrap().entries), before);
    put(store, "restoring", "1").await;
    assert!(check_complete(store).await.unwrap_err().to_string().contains("--force"));
    assert!(Backup::take(store).await.is_err());
}
