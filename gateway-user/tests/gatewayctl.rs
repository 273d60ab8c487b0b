//! The manners of `gatewayctl` where no gateway is running.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn gatewayctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayctl"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    gatewayctl(arguments).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_missing_daemon_is_said_with_the_remedy() {
    for what in [&["status"][..], &["show", "drops"], &["top"], &["trace", "--tenant", "contoso"]] {
        let output = run(&[what, &["--socket", "/nowhere/control.sock"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("no gateway is listening on /nowhere/control.sock; start it with"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_call_exits_with_2_and_help_with_0() {
    for what in [&[][..], &["show", "everything"], &["trace"], &["trace", "--tenant", "t", "--dst", "nowhere"]] {
        assert_eq!(run(what).status.code(), Some(2), "{what:?}");
    }
    for what in ["--help", "--version", "help"] {
        assert_eq!(run(&[what]).status.code(), Some(0), "{what}");
    }
    let local = ["show", "top", "trace", "check", "apply", "bfd", "detach", "explain-drop"];
    let remote = [
        "get",
        "describe",
        "diff",
        "delete",
        "watch",
        "explain",
        "drain",
        "cordon",
        "uncordon",
        "where",
        "backup",
        "restore",
        "certificate",
    ];
    for command in local.into_iter().chain(remote).chain(["who-takes-over", "token", "config", "completion", "man"]) {
        let output = run(&[command, "--help"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{command}");
    }
}

#[test]
fn what_makes_no_sense_to_ask_a_controller_is_a_wrong_call() {
    let directory = tempfile::tempdir().expect("a directory");
    let contexts = directory.path().join("contexts.json");
    for (what, remedy) in [
        (&["get", "gateways"][..], "config set-context"),
        (&["get", "gizmos"], "there is no kind"),
        (&["status", "-o", "yaml"], "table or json"),
        (&["get", "connections", "-o", "wide"], "table or json"),
        (&["config", "use-context", "nowhere"], "there is no context"),
    ] {
        let output = gatewayctl(what).env("GATEWAYCTL_CONTEXTS", &contexts).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{what:?}");
        let said = stderr(&output);
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn a_controller_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let contexts = directory.path().join("contexts.json");
    let reach = ["--controller", "https://127.0.0.1:1", "--fingerprint"];
    let fingerprint = "0".repeat(64);
    let what = [&["get", "gateways"], &reach[..], &[&fingerprint]].concat();
    let output = gatewayctl(&what).env("GATEWAYCTL_CONTEXTS", &contexts).output().expect("the program starts");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let said = stderr(&output);
    assert!(said.contains("no controller is to be reached: https://127.0.0.1:1"), "{said}");
}

#[test]
fn a_reader_that_has_gone_is_no_failure_and_no_panic() {
    for format in ["table", "json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = gatewayctl(&["explain-drop", "-o", format])
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("the program starts");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{format}");
    }
}

#[test]
fn a_bad_plan_is_refused_with_its_place() {
    let mut plan = tempfile::NamedTempFile::new().expect("a file");
    plan.write_all(b"[gateway]\nname = \"gw1\"\ncolour = \"red\"\n").expect("written");
    let path = plan.path().to_str().expect("UTF-8");
    let output = run(&["check", path]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("colour") && said.contains(&format!("{path}:3")), "{said}");

    let output = run(&["check", path, "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["valid"], &told["applicable"]), (&false.into(), &false.into()));
    assert!(told["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{told}");
}

#[test]
fn a_plan_that_does_not_fit_the_host_is_valid_but_not_applicable() {
    let mut plan = tempfile::NamedTempFile::new().expect("a file");
    let text = "[gateway]\nname = \"gw1\"\nencapsulation = \"vxlan\"\npa = [\"10.10.0.1\"]\n\n\
                [[port]]\nname = \"nosuchport0\"\nrole = \"both\"\n";
    plan.write_all(text.as_bytes()).expect("written");
    let path = plan.path().to_str().expect("UTF-8");
    let output = run(&["check", path, "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["valid"], &told["applicable"]), (&true.into(), &false.into()), "{told}");
    assert_eq!((&told["ports"][0]["name"], &told["ports"][0]["fit"]), (&"nosuchport0".into(), &false.into()), "{told}");
    let output = run(&["check", path]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("port nosuchport0: unfit\n  refused: there is no interface nosuchport0"), "{said}");
}

#[test]
fn a_drop_reason_is_explained_by_name_and_number() {
    let by_name = run(&["explain-drop", "spoofed", "-o", "json"]);
    let by_number = run(&["explain-drop", "27", "-o", "json"]);
    assert_eq!(by_name.stdout, by_number.stdout);
    let told: serde_json::Value = serde_json::from_slice(&by_name.stdout).expect("JSON");
    assert_eq!(told["reason"], "spoofed");
    let output = run(&["explain-drop", "spofed"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`gatewayctl explain-drop` lists all of them"));
}

#[test]
fn a_plan_says_what_would_become_of_a_route_without_a_gateway() {
    let test = |more: &[&str]| {
        let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bgp.toml");
        let output = run(&[&["bgp", "policy-test", "--tenant", "contoso", "--plan", plan][..], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let from_hq = ["--peer", "hq", "--direction", "in"];
    let with = |more: &[&'static str]| test(&[&from_hq[..], more].concat());
    let preferred = with(&["10.2.0.0/16", "--community", "64513:50"]);
    assert!(preferred.contains("permitted: statement 2 matches"), "{preferred}");
    assert!(preferred.lines().any(|line| line.contains("local preference") && line.contains("50")), "{preferred}");
    let own = with(&["10.1.0.0/24"]);
    assert!(own.contains("denied: statement 1 matches"), "{own}");
    let too_long = with(&["10.2.0.0/25", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&too_long).expect("JSON");
    assert_eq!((&report["permitted"], &report["after"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(3));
    let looped = with(&["10.2.0.0/16", "--as-path", "64513 64512"]);
    assert!(looped.contains("the own AS is in the path"), "{looped}");
    let sent = test(&["10.1.0.0/24", "--peer", "dc", "--direction", "out", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&sent).expect("JSON");
    assert_eq!((&report["after"]["as_path"], &report["after"]["next_hop"]), (&"64512".into(), &"10.127.134.50".into()));
    let alone = test(&["10.2.0.0/16", "--policy", "from-sites"]);
    assert!(alone.contains("permitted: statement 3 matches"), "{alone}");

    let nobody = run(&[
        "bgp",
        "policy-test",
        "10.2.0.0/16",
        "--tenant",
        "contoso",
        "--peer",
        "nobody",
        "--direction",
        "in",
        "--plan",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bgp.toml"),
    ]);
    let said = stderr(&nobody);
    assert!(said.contains("no peer \"nobody\"") && said.contains("dc, hq"), "{said}");
}
