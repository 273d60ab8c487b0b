//! What keeps a controller from starting, and what it leaves alone then.

use super::rig::{Controller, refused};
use std::fs;

#[test]
fn a_store_that_is_mistyped_is_told_before_anything_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let place = ["--data-dir", data.to_str().expect("UTF-8"), "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1"];
    for (store, told) in [
        (&["--store", "etdc://a"][..], "is not a store"),
        (&["--store", "etcd://a:x"], "etcd://HOST:PORT"),
        (&["--store", "etcd://a", "--store-ca", "/nowhere/ca.crt"], "/nowhere/ca.crt"),
    ] {
        let said = refused(&[&place[..], store].concat());
        assert!(said.contains(told), "{said}");
        assert!(!data.exists(), "something was made");
    }
}

#[test]
fn a_store_that_is_damaged_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let controller = Controller::start(&data);
    controller.describe();
    controller.kill();
    let path = data.join("store.redb");
    let mut bytes = fs::read(&path).expect("a store");
    let middle = bytes.len() / 2;
    bytes[64..middle].fill(0xa5);
    fs::write(&path, &bytes).expect("written");
    let place = ["--data-dir", data.to_str().expect("UTF-8"), "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1"];
    let said = refused(&place);
    assert!(said.contains("store.redb") && said.contains("gatewayctl restore"), "{said}");
    assert_eq!(fs::read(&path).expect("the file"), bytes);
}

#[test]
fn another_key_file_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let controller = Controller::start(&data);
    controller.describe();
    controller.kill();
    let (key, kept) = (data.join("secrets.key"), data.join("kept"));
    fs::rename(&key, &kept).expect("moved");
    let place = ["--data-dir", data.to_str().expect("UTF-8"), "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1"];
    let said = refused(&place);
    assert!(said.contains("secrets.key") && said.contains("copy"), "{said}");
    // With the old key behind a new one it goes on, and the new one seals.
    let text = |path| fs::read_to_string(path).expect("a key file");
    fs::write(&key, text(&key) + &text(&kept)).expect("written");
    let controller = Controller::start(&data);
    assert_eq!(controller.get("credentials/dial-in")["properties"]["userName"], "a");
    controller.kill();
    fs::copy(&kept, &key).expect("copied");
    assert!(refused(&place).contains("secrets.key"));
}
