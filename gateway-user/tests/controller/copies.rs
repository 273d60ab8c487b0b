//! Backup and restore.

use super::rig::{Controller, SECRET, agent, plan, said};
use gateway_user::controller::store::{FileStore, Op, Store, Txn};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What has to be as it was: everything but the moment at which it was looked at.
fn settled(mut value: Value) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(members) => {
                let times = ["lastUpdatedTime", "lastUpdated"];
                let states = ["configurationState", "connectionState", "healthState", "agent"];
                for name in times.into_iter().chain(states) {
                    members.remove(name);
                }
                members.values_mut().for_each(forget);
            }
            Value::Array(values) => values.iter_mut().for_each(forget),
            _ => {}
        }
    }
    forget(&mut value);
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_lost_comes_back_from_a_backup_with_its_agents() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new, backup) = (directory.path().join("old"), directory.path().join("new"), directory.path().join("b"));
    let controller = Controller::start(&old);
    controller.describe();
    let home = directory.path().join("gw1");
    let mut link = agent(&controller.address, "GW1", Some(controller.token("GW1")), &home);
    let before = plan(&mut link).await;
    assert_eq!(before.0.len(), 1, "{before:?}");
    let everything = || ["tenant/contoso", "gateway/GW1", "credentials/dial-in", "pool/default"];
    let was: Vec<Value> = everything().map(|what| settled(controller.get(what))).into();
    let told = controller.ask(&["backup", text(&backup)]);
    assert!(told.contains("as of revision"), "{told}");
    let written = fs::read_to_string(&backup).expect("a backup");
    assert!(written.contains("sealed:1:") && !written.contains(SECRET));
    // Not into a store that holds something, unless that is wished.
    let output = controller.ctl(&["restore", text(&backup)]);
    assert!(said(&output).contains("--force"), "{}", said(&output));
    controller.ask(&["delete", "tenant/contoso"]);
    assert!(plan(&mut link).await.0.is_empty());
    controller.ask(&["restore", text(&backup), "--force"]);
    let again = plan(&mut link).await;
    assert_eq!(again.0, before.0);
    assert!(again.1.epoch > before.1.epoch, "{again:?} after {before:?}");
    assert_eq!(everything().map(|what| settled(controller.get(what))).to_vec(), was);

    // The machine is lost, and with it the store; what was kept apart is not.
    let listen = controller.listen().to_owned();
    controller.kill();
    fs::create_dir(&new).expect("a directory");
    for name in ["ca.crt", "ca.key", "admin.crt", "admin.key"] {
        fs::copy(old.join(name), new.join(name)).expect("copied");
    }
    let controller = Controller::at(&new, &listen, &[]);
    // The key is another one: nothing is touched.
    let output = controller.ctl(&["restore", text(&backup)]);
    assert!(said(&output).contains("secrets.key") && said(&output).contains("OtherKey"), "{}", said(&output));
    assert!(controller.ask(&["get", "gateways"]).contains("nothing there"));
    controller.kill();
    fs::remove_dir_all(&new).expect("removed");
    fs::create_dir(&new).expect("a directory");
    for name in ["ca.crt", "ca.key", "admin.crt", "admin.key", "secrets.key"] {
        fs::copy(old.join(name), new.join(name)).expect("copied");
    }
    let controller = Controller::at(&new, &listen, &[]);
    controller.ask(&["restore", text(&backup)]);
    assert_eq!(everything().map(|what| settled(controller.get(what))).to_vec(), was);
    // The agent comes back by itself, and is given the plan of a leader that is later than all that it knew.
    let back = plan(&mut link).await;
    assert_eq!(back.0, before.0);
    assert!(back.1.epoch > again.1.epoch, "{back:?} after {again:?}");
    controller.until("the gateway to be well", || {
        (controller.get("gateway/GW1")["properties"]["healthState"] == "Healthy").then_some(())
    });
    // And the tenant's secret can be used and changed as before.
    assert_eq!(controller.get("credentials/dial-in")["properties"]["userName"], "a");
}

#[tokio::test]
async fn what_is_no_backup_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    controller.describe();
    let (backup, broken) = (directory.path().join("backup"), directory.path().join("broken"));
    controller.ask(&["backup", text(&backup)]);
    let whole = fs::read_to_string(&backup).expect("a backup");
    for wrong in [&whole[..whole.len() / 2], &whole.replace("contoso", "fabrikam"), "", "{}\n"] {
        fs::write(&broken, wrong).expect("written");
        let output = controller.ctl(&["restore", text(&broken), "--force"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("backup"), "{}", said(&output));
    }
    assert_eq!(controller.get("tenant/contoso")["resourceId"], "contoso");
    // Only an administrator takes or restores one.
    let token = directory.path().join("reader.token");
    controller.ask(&["token", "create", "client/reader", "--role", "read-only", "-w", text(&token)]);
    for what in [&["backup", text(&broken)][..], &["restore", text(&backup), "--force"]] {
        let output = controller.ctl_as(&["--token-file", text(&token)], what);
        assert!(said(&output).contains("role admin"), "{}", said(&output));
    }
    assert_eq!(fs::read_to_string(&broken).expect("as it was"), "{}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_interrupted_is_refused_until_it_is_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let controller = Controller::start(&data);
    controller.describe();
    let backup = directory.path().join("backup");
    controller.ask(&["backup", text(&backup)]);
    let home = directory.path().join("gw1");
    let mut link = agent(&controller.address, "GW1", Some(controller.token("GW1")), &home);
    let before = plan(&mut link).await;
    assert_eq!(before.0.len(), 1, "{before:?}");
    let listen = controller.listen().to_owned();
    controller.kill();
    // As a crash in the middle leaves it.
    let store = Store::from(FileStore::open(&data).expect("a store"));
    let half = Txn::of([Op::put("restoring", *b"1"), Op::delete("resources/virtualgateways/contoso")]);
    store.commit(half).await.expect("committed");
    drop(store);
    let controller = Controller::at(&data, &listen, &[]);
    for what in [&["get", "gateways"][..], &["delete", "pool/default"], &["backup", text(&directory.path().join("no"))]]
    {
        let output = controller.ctl(what);
        let told = said(&output);
        assert!(told.contains("interrupted") && told.contains("restore"), "{what:?}: {told}");
    }
    controller.ask(&["restore", text(&backup), "--force"]);
    assert_eq!(controller.get("tenant/contoso")["resourceId"], "contoso");
    // The agent, which joined after the backup, was told nothing meanwhile, and has to join again.
    drop(link);
    fs::remove_dir_all(&home).expect("removed");
    let mut link = agent(&controller.address, "GW1", Some(controller.token("GW1")), &home);
    assert_eq!(plan(&mut link).await.0, before.0);
}
