//! The controller's store in memory and in a file: what every engine has to do, and what the file alone has to survive.

#![expect(clippy::unwrap_used, reason = "everything here is a test, which fails by panicking")]

use gateway_user::controller::store::{FileStore, MemoryStore, Store};
use lab::store::{all, random};
use proptest::test_runner::{Config, TestRunner};
use std::future::Future;
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
