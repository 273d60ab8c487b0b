//! Keys, transactions, watches, backups.

use super::{commit, list, next, put, texts};
use gateway_user::controller::store::backup::Backup;
use gateway_user::controller::store::{Change, Compare, Error, MemoryStore, Op, Outcome, Revision, Store, Txn, replay};
use std::collections::BTreeMap;

list! {
    an_empty_store_holds_nothing: "an empty store holds nothing",
    keys_have_values_and_two_revisions: "a key has a value, the revision of its creation and that of its last change",
    a_range_is_a_prefix_in_order: "a range is the keys of a prefix, in order",
    compares_hold_or_nothing_is_done: "all compares hold or nothing is done",
    a_deleted_key_is_created_anew: "a deleted key is created anew",
    a_prefix_is_deleted_at_once: "a prefix is deleted at once",
    a_transaction_without_effect_changes_no_revision: "a transaction without effect changes nothing",
    impossible_transactions_are_refused: "transactions that some engine could not do are refused by all",
    values_are_any_bytes: "values are any bytes",
    large_values_come_back_whole: "values beyond a request's limit come back whole, from ranges and watches",
    a_watch_tells_every_change_in_order: "a watch tells every change in order, a batch a revision",
    a_watch_waits: "a watch waits for what comes",
    a_watch_that_was_not_awaited_loses_nothing: "a watch loses nothing when a wait is given up",
    many_writers_lose_no_update: "writers that compare lose no update of each other",
    a_backup_is_restored_elsewhere: "a backup holds all of one revision",
}

async fn an_empty_store_holds_nothing(store: Store) {
    assert_eq!(store.range("").await.unwrap().entries, []);
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.leader("controller").await.unwrap(), None);
}

async fn keys_have_values_and_two_revisions(store: Store) {
    let first = put(&store, "a", "1").await;
    let second = put(&store, "a", "2").await;
    let third = put(&store, "b", "3").await;
    assert!(first < second && second < third, "{first} {second} {third}");
    let entry = store.get("a").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.created, entry.modified), (&b"2"[..], first, second));
    assert_eq!(store.range("").await.unwrap().revision, third);
    assert!(!format!("{entry:?}").contains("50"), "a value is shown: {entry:?}");
}

async fn a_range_is_a_prefix_in_order(store: Store) {
    let ops = ["b/2", "a/1", "b/10", "b", "c", "b/ö"].map(|key| Op::put(key, key.as_bytes()));
    let revision = commit(&store, Txn::of(ops)).await;
    let snapshot = store.range("b/").await.unwrap();
    assert_eq!(texts(&snapshot.entries), ["b/10=b/10", "b/2=b/2", "b/ö=b/ö"]);
    assert!(snapshot.revision >= revision);
    assert_eq!(store.range("").await.unwrap().entries.len(), 6);
    assert_eq!(store.range("b/3").await.unwrap().entries, []);
    assert_eq!(store.get("b/").await.unwrap(), None);
}

async fn compares_hold_or_nothing_is_done(store: Store) {
    let created = put(&store, "a", "1").await;
    let modified = put(&store, "a", "2").await;
    let holding = [Compare::created("a", created), Compare::modified("a", modified), Compare::absent("b")];
    let failing = [
        Compare::absent("a"),
        Compare::created("a", modified),
        Compare::modified("a", created),
        Compare::created("b", created),
        Compare::modified("b", modified),
        Compare::modified("b", Revision(0)),
        Compare::created("b", Revision(0)),
    ];
    for compare in failing {
        let mut txn = Txn::of([Op::put("c", *b"x"), Op::delete("a")]).when(compare.clone());
        txn.compares.splice(0..0, holding.clone());
        assert_eq!(store.commit(txn).await.unwrap(), Outcome::Conflict, "{compare:?}");
    }
    assert_eq!(texts(&store.range("").await.unwrap().entries), ["a=2"]);
    let txn = holding.into_iter().fold(Txn::of([Op::put("c", *b"x"), Op::delete("a")]), Txn::when);
    commit(&store, txn).await;
    assert_eq!(texts(&store.range("").await.unwrap().entries), ["c=x"]);
}

async fn a_deleted_key_is_created_anew(store: Store) {
    let first = put(&store, "a", "1").await;
    commit(&store, Txn::of([Op::delete("a")])).await;
    let second = put(&store, "a", "2").await;
    let entry = store.get("a").await.unwrap().unwrap();
    assert_eq!((entry.created, entry.modified), (second, second));
    let stale = Txn::of([Op::put("b", *b"x")]).when(Compare::created("a", first));
    assert_eq!(store.commit(stale).await.unwrap(), Outcome::Conflict);
}

async fn a_prefix_is_deleted_at_once(store: Store) {
    commit(&store, Txn::of(["a", "a/1", "a/2", "b"].map(|key| Op::put(key, *b"x")))).await;
    let revision = commit(&store, Txn::of([Op::delete_prefix("a/"), Op::put("c", *b"x")])).await;
    assert_eq!(texts(&store.range("").await.unwrap().entries), ["a=x", "b=x", "c=x"]);
    let batch = next(&mut store.watch("", revision)).await;
    let keys: Vec<&str> = batch.changes.iter().map(Change::key).collect();
    assert_eq!((batch.revision, keys), (revision, vec!["a/1", "a/2", "c"]));
}

async fn a_transaction_without_effect_changes_no_revision(store: Store) {
    put(&store, "a", "1").await;
    let before = store.range("").await.unwrap();
    for txn in [Txn::default(), Txn::of([Op::delete("b")]), Txn::of([Op::delete_prefix("b")])] {
        assert!(
            matches!(store.commit(txn).await.unwrap(), Outcome::Committed(revision) if revision >= before.revision)
        );
    }
    assert_eq!(store.range("").await.unwrap().entries, before.entries);
    // A watch is told of nothing but the next change.
    let after = put(&store, "c", "1").await;
    assert_eq!(next(&mut store.watch("", before.revision.next())).await.revision, after);
}

async fn impossible_transactions_are_refused(store: Store) {
    let many = |count: usize| (0..count).map(|number| Op::put(format!("many/{number}"), *b"x"));
    let impossible = [
        Txn::of([Op::put("a", *b"1"), Op::put("a", *b"2")]),
        Txn::of([Op::put("a", *b"1"), Op::delete("a")]),
        Txn::of([Op::delete_prefix("a"), Op::put("a/b", *b"1")]),
        Txn::of([Op::put("", *b"1")]),
        Txn::of([Op::delete_prefix("")]),
        Txn::of([Op::put("a\0b", *b"1")]),
        Txn::of([Op::put("a".repeat(Txn::MAX_KEY + 1), *b"1")]),
        Txn::of([Op::put("a", vec![0; Txn::MAX_VALUE + 1])]),
        Txn::of(many(Txn::MAX_OPERATIONS + 1)),
    ];
    for txn in impossible {
        assert!(matches!(store.commit(txn).await, Err(Error::Invalid(_))));
    }
    assert_eq!(store.range("").await.unwrap().entries, []);
    let mut most = Txn::of(many(Txn::MAX_OPERATIONS));
    most.compares = (0..Txn::MAX_OPERATIONS).map(|number| Compare::absent(format!("many/{number}"))).collect();
    commit(&store, most).await;
    assert_eq!(store.range("").await.unwrap().entries.len(), Txn::MAX_OPERATIONS);
    commit(&store, Txn::of([Op::put("a".repeat(Txn::MAX_KEY), *b"1")])).await;
    // Deletes may meet.
    commit(&store, Txn::of([Op::delete("many/1"), Op::delete_prefix("many/"), Op::delete("many/1")])).await;
}

async fn values_are_any_bytes(store: Store) {
    let values: [&[u8]; 7] = [b"", b"\0", b"\0chunks\n{}", b"\xff\xfe", b"null", b" {}\n", "ö".as_bytes()];
    for (number, value) in values.iter().enumerate() {
        commit(&store, Txn::of([Op::put(format!("a/{number}"), *value)])).await;
    }
    let entries = store.range("a/").await.unwrap().entries;
    assert_eq!(entries.iter().map(|entry| &*entry.value).collect::<Vec<_>>(), values);
}

/// Bytes of which no two places look alike.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

async fn large_values_come_back_whole(store: Store) {
    let before = put(&store, "small", "1").await;
    let sizes = [1 << 20, (1 << 20) + 1, 5 << 20];
    let ops = |seed| {
        sizes.iter().enumerate().map(move |(number, &size)| Op::put(format!("large/{number}"), pattern(size, seed)))
    };
    let check = |entries: &[_], seed| {
        assert_eq!(entries.len(), sizes.len());
        for (entry, &size) in entries.iter().zip(&sizes) {
            let entry: &gateway_user::controller::store::Entry = entry;
            assert!(*entry.value == pattern(size, seed), "{} bytes differ", entry.key);
        }
    };
    let mut watch = store.watch("", before.next());
    for seed in [1, 2] {
        let revision = commit(&store, Txn::of(ops(seed))).await;
        check(&store.range("large/").await.unwrap().entries, seed);
        let batch = next(&mut watch).await;
        assert_eq!(batch.revision, revision);
        let entries = batch.changes.into_iter().filter_map(|change| match change {
            Change::Put(entry) => Some(entry),
            Change::Deleted { .. } => None,
        });
        check(&entries.collect::<Vec<_>>(), seed);
    }
    commit(&store, Txn::of([Op::delete_prefix("large/")])).await;
    assert_eq!(texts(&store.range("").await.unwrap().entries), ["small=1"]);
    assert_eq!(next(&mut watch).await.changes.len(), sizes.len());
}

async fn a_watch_tells_every_change_in_order(store: Store) {
    let before = put(&store, "a/0", "before").await;
    let mut model = BTreeMap::new();
    let mut all = store.watch("", before.next());
    let mut some = store.watch("a/", before.next());
    let mut written = Vec::new();
    for number in 0..20 {
        let key = format!("{}/{}", ["a", "b"][number % 2], number % 5);
        let op = if number % 7 == 6 { Op::delete(&key) } else { Op::put(&key, number.to_string().into_bytes()) };
        written.push((commit(&store, Txn::of([op, Op::put("z", *b"x")])).await, key));
    }
    for (revision, _) in &written {
        let batch = next(&mut all).await;
        assert_eq!(batch.revision, *revision);
        replay(&mut model, &batch);
    }
    assert_eq!(model.remove("z").unwrap().value, store.get("z").await.unwrap().unwrap().value);
    let mut now = store.range("").await.unwrap().entries;
    now.retain(|entry| entry.modified > before && entry.key != "z");
    assert_eq!(model.into_values().collect::<Vec<_>>(), now);
    // From the middle, and a prefix alone.
    let (middle, _) = written[10];
    assert_eq!(next(&mut store.watch("z", middle)).await.revision, middle);
    let (first, _) = written.iter().find(|(_, key)| key.starts_with("a/")).unwrap();
    let batch = next(&mut some).await;
    assert_eq!((batch.revision, batch.changes.len()), (*first, 1));
}

async fn a_watch_waits(store: Store) {
    let mut watch = store.watch("a", store.range("").await.unwrap().revision.next());
    let waiting = tokio::spawn(async move { next(&mut watch).await });
    put(&store, "b", "1").await;
    let revision = put(&store, "a", "1").await;
    assert_eq!(waiting.await.unwrap().revision, revision);
}

async fn a_watch_that_was_not_awaited_loses_nothing(store: Store) {
    let mut watch = store.watch("", store.range("").await.unwrap().revision.next());
    let mut written = Vec::new();
    for number in 0..50 {
        // A wait that ends at once, mostly before anything came.
        tokio::select! {
            biased;
            batch = watch.next() => assert_eq!(batch.unwrap().revision, written.remove(0)),
            () = tokio::task::yield_now() => {}
        }
        written.push(put(&store, "a", &number.to_string()).await);
    }
    for revision in written {
        assert_eq!(next(&mut watch).await.revision, revision);
    }
}

async fn many_writers_lose_no_update(store: Store) {
    const WRITERS: u32 = 8;
    const ADDITIONS: u32 = 5;
    put(&store, "sum", "0").await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut left = ADDITIONS;
                while left > 0 {
                    let entry = store.get("sum").await.unwrap().unwrap();
                    let sum: u32 = str::from_utf8(&entry.value).unwrap().parse().unwrap();
                    let txn = Txn::of([Op::put("sum", (sum + 1).to_string().into_bytes())]);
                    let outcome = store.commit(txn.when(Compare::modified("sum", entry.modified))).await.unwrap();
                    left -= u32::from(outcome != Outcome::Conflict);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(texts(&store.range("sum").await.unwrap().entries), [format!("sum={}", WRITERS * ADDITIONS)]);
}

async fn a_backup_is_restored_elsewhere(store: Store) {
    commit(&store, Txn::of(["a", "b/1", "b/2"].map(|key| Op::put(key, format!("{{\"is\":\"{key}\"}}").into_bytes()))))
        .await;
    commit(&store, Txn::of([Op::put("c", *b"\xff\0"), Op::put("d", *b"text \n ")])).await;
    let leadership = store.campaign("controller", "https://here").await.unwrap();
    let backup = Backup::take(&store).await.unwrap();
    assert_eq!(backup.epoch, leadership.term().epoch);
    let mut bytes = Vec::new();
    backup.write(&mut bytes).unwrap();
    let read = Backup::read(&bytes[..]).unwrap();
    assert_eq!(read, backup);
    let keys: Vec<&str> = read.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "b/1", "b/2", "c", "d"]);
    super::leading::restore_everywhere(&store, leadership, Store::from(MemoryStore::new()), read).await;
}
