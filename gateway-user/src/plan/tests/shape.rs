//! How refusals look, how many are told at once, and that no text is too odd.

use super::*;
use proptest::prelude::*;

#[test]
fn a_refusal_shows_the_place_the_line_the_other_place_and_a_remedy() {
    let text = edited("vlan = 1002", "vlan = 1001").replace("port = \"tor1\"", "port = \"tor0\"");
    let expected = "\
error: the VLAN 1001 on tor0 is the connection dc of the tenant contoso already
  --> plan.toml:80:8
   |
80 | vlan = 1001
   |        ^^^^
   = note: the other is at plan.toml:59:8: vlan = 1001
   = help: take another VLAN or another port: a VLAN on a port belongs to one connection";
    assert_eq!(refusal(&text).to_string(), expected);
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = edited("role = \"site\"", "role = \"sight\"")
        .replace("vsid = 5002", "vsid = 52")
        .replace("remote = \"203.0.113.21\"", "remote = \"2001:db8::21\"")
        .replace("gateway = \"10.10.0.4\"", "gatway = \"10.10.0.4\"");
    let errors = refusal(&text);
    let what: Vec<&str> = errors.problems().iter().map(|problem| problem.complaint.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "`role` cannot be \"sight\"",
            "the VSID 52 is outside 4096..=16777214",
            "the remote 2001:db8::21 is IPv6, the VIP 198.51.100.11 is IPv4",
            "`[[steer]]` with protocol \"gre\" lacks `gateway`",
            "`[[steer]]` with protocol \"gre\" has no key `gatway`",
        ]
    );
}

#[test]
fn places_are_right_behind_an_element_that_was_left_out() {
    // The first VM, the first connection and the first tenant's name are unreadable; what is wrong further down is still told in its own place.
    let text = edited("ca = \"10.1.0.5\"", "ca = \"10.1.0\"")
        .replace("ca = \"fd01::5\"", "ca = \"ff02::5\"")
        .replace("key = 100\n", "key = -1\n")
        .replace("type = \"gre\"\nvip = \"198.51.100.10\"", "type = \"gre\"\nvip = \"198.51.100\"")
        .replace("peers = [\"10.127.134.55\"]", "peers = [\"10.127.134.50\"]");
    let errors = refusal(&text);
    let lines: Vec<(&str, &str)> = errors
        .problems()
        .iter()
        .map(|problem| match &problem.place {
            Place::Text { text, .. } => (problem.complaint.what.as_str(), text.trim()),
            _ => panic!("no place"),
        })
        .collect();
    assert_eq!(lines.len(), 5, "{errors}");
    assert!(lines[1].0.starts_with("ff02::5 is multicast") && lines[1].1.starts_with("{ ca = \"ff02::5\""), "{errors}");
    assert!(lines[4].1.starts_with("peers = [\"10.127.134.50\"]"), "{errors}");
}

#[test]
fn more_than_twenty_problems_are_counted() {
    let mut text = BASE.to_owned();
    for index in 0..30 {
        text.push_str(&format!("[[port]]\nname = \"p{index}\"\nrole = \"none\"\n"));
    }
    let errors = refusal(&text);
    assert_eq!((errors.problems().len(), errors.omitted()), (20, 10));
    assert!(errors.to_string().ends_with("\n\nand 10 more"));
    let many = format!("{BASE}\n{}", "[[port]]\n".repeat(1000));
    assert_eq!(refusal(&many).omitted(), 2000 - 20);
}

#[test]
fn a_long_line_is_shown_around_the_place() {
    let vms: Vec<String> = (10..200)
        .map(|host| {
            format!(
                "{{ ca = \"10.1.1.{host}\", mac = \"02:00:00:00:00:{host:02x}\", vsid = 5002, pa = \"10.10.0.12\" }}"
            )
        })
        .collect();
    let text =
        edited("vms = [\n    { ca = \"10.1.0.5\"", &format!("vms = [ {},\n    {{ ca = \"10.1.0.5\"", vms.join(", ")))
            .replace("10.1.1.100", "10.1.9.100");
    let shown = refusal(&text).to_string();
    assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    let column = lines[4].find('^').expect("a marker");
    let at: String = lines[3].chars().skip(column).take(12).collect();
    assert_eq!(at, "\"10.1.9.100\"");
}

#[test]
fn a_long_list_is_told_about_as_if_it_were_not_read_in_pieces() {
    let vm = |host: usize, prefix: &str| {
        format!("    {{ ca = \"{prefix}.{host}\", mac = \"02:00:00:00:00:01\", vsid = 5002, pa = \"10.10.0.12\" }},\n")
    };
    let mut vms: Vec<String> = (1..200).map(|host| vm(host, "10.1.1")).collect();
    vms[50] = vms[50].replace("ca =", "cs =");
    vms[120] = vms[120].replace("5002", "5001");
    vms[150] = vm(3, "10.1.1");
    vms[180] = vms[180].replace("10.10.0.12", "10.10.0");
    let text = edited("vms = [\n", &format!("vms = [\n{}", vms.concat()));
    let errors = refusal(&text);
    let first = text.lines().position(|line| line.contains("\"10.1.1.1\"")).expect("the first one") + 1;
    let told: Vec<(usize, &str)> = errors
        .problems()
        .iter()
        .map(|problem| match problem.place {
            Place::Text { line, .. } => (line - first, problem.complaint.what.as_str()),
            _ => panic!("{errors}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (50, "a VM lacks `ca`"),
            (50, "a VM has no key `cs`"),
            (120, "10.1.1.121 is in no subnet with the VSID 5001 (10.1.0.0/24, fd01::/64)"),
            (150, "a second VM of the tenant has the address 10.1.1.3"),
            (180, "\"10.10.0\" is not an IP address"),
        ]
    );
    assert!(errors.to_string().contains(&format!("the other is at plan.toml:{}:", first + 2)), "{errors}");
}

#[test]
fn a_slip_in_a_long_list_is_told_in_its_place() {
    let routes: Vec<String> = (0..200).map(|net| format!("    {{ destination = \"10.200.{net}.0/24\" }},\n")).collect();
    let text = edited("    { destination = \"fd02::/48\" },\n", &routes.concat());
    assert!(parse(&text, "plan.toml").is_ok());
    let errors = refusal(&text.replace("\"10.200.150.0/24\" },", "\"10.200.150.0/24\" }"));
    let line = text.lines().position(|line| line.contains("10.200.151.0")).expect("there") + 1;
    assert_eq!(errors.problems().len(), 1, "{errors}");
    assert!(errors.to_string().contains("missing comma"), "{errors}");
    let Place::Text { line: told, .. } = errors.problems()[0].place else { panic!("{errors}") };
    assert!(told + 1 >= line && told <= line, "{errors}");
}

#[test]
fn what_is_missing_because_it_could_not_be_read_is_not_told_twice() {
    for (from, to) in [
        ("name = \"tor1\"", "name = \"tor 1\""),
        ("[[port]]\nname = \"fab0\"", "[[prot]]\nname = \"fab0\""),
        ("role = \"fabric\"", "role = \"febric\""),
        ("vsid = 6001, prefix", "vsid = 61, prefix"),
        ("subnets = [ { vsid = 6001", "subnet = [ { vsid = 6001"),
        ("subnets = [ { vsid = 6001, prefix = \"10.1.0.0/23\" } ]", "subnets = \"10.1.0.0/23\""),
        ("addresses = [\"10.127.134.60/24\"]", "addresses = [\"10.127.134.60\"]"),
        ("pa = [\"10.10.0.1\", \"fd00:10::1\"]", "pa = [\"10.10.0.1\", \"fd00:10:1\"]"),
        ("name = \"gw1\"", "name = gw1"),
        ("name = \"woodgrove\"", "name = woodgrove"),
    ] {
        let errors = refusal(&edited(from, to));
        assert_eq!(errors.problems().len(), 1, "{errors}");
    }
}

#[test]
fn a_tenant_that_is_not_toml_leaves_the_places_in_others_right() {
    let text = edited("gateway_subnet = ", "gateway_subnet : ").replace("10.127.134.65", "10.127.135.65");
    let errors = refusal(&text);
    assert_eq!(errors.problems().len(), 2, "{errors}");
    assert!(
        errors.to_string().contains("| routes = [ { destination = \"0.0.0.0/0\", next_hop = \"10.127.135.65\" } ]"),
        "{errors}"
    );
}

#[test]
fn a_route_is_held_in_forty_bytes() {
    assert!(size_of::<Route>() <= 40);
}

/// Pieces that plans are made of, and of what could be taken for them.
fn piece() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = BASE.lines().collect();
    prop_oneof![
        6 => prop::sample::select(lines).prop_map(|line| format!("{line}\n")),
        1 => prop::sample::select(vec![
            "[[tenant]]", "[tenant]", "[[tenant.connection]]", "[[ \"tenant\" ]]", "[[tenant.subnets]]", "[", "]", "{", "}",
            "\"\"\"", "'''", "\"", "'", "=", ",", "#", "\r\n", "\n", "\u{feff}", "\0", "é", "🦀", "tenant = [", "x.y.z = 1",
            "peers = [[[[", "vsid = 99999999999999999999", "mtu = 0x_1", "key = 1e400", "d = 1979-05-27", "mtu = +0b2",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => any::<String>(),
    ]
}

fn look_at(text: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = parse(text, "plan.toml") {
        prop_assert!(!errors.problems().is_empty());
        for problem in errors.problems() {
            if let Place::Text { line, column, .. } = problem.place {
                prop_assert!(line <= text.matches('\n').count() + 1 && column <= text.len() + 1);
            }
            prop_assert!(!problem.complaint.remedy.is_empty());
        }
        prop_assert!(errors.to_string().starts_with("error: "));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in any::<String>()) {
        look_at(&text)?;
    }

    #[test]
    fn no_mixture_of_pieces_is_too_odd(pieces in prop::collection::vec(piece(), 0..40)) {
        look_at(&pieces.concat())?;
    }

    #[test]
    fn no_damaged_plan_is_too_odd(at in 0..BASE.len(), len in 0usize..40, with in "\\PC{0,6}") {
        let end = (at + len).min(BASE.len());
        look_at(&format!("{}{with}{}", &BASE[..at], &BASE[end..]))?;
    }

    #[test]
    fn a_good_plan_after_damage_reads_the_same_as_with_serde(at in 0..BASE.len(), with in "[0-9a-z\"= \\[\\]\n]{0,2}") {
        let text = format!("{}{with}{}", &BASE[..at], &BASE[at + 1..]);
        match (parse(&text, "plan.toml"), toml::from_str::<Plan>(&text)) {
            (Ok(ours), Ok(serde)) => prop_assert_eq!(ours, serde),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => prop_assert!(false, "serde refuses it: {error}"),
            (Err(errors), Ok(_)) => prop_assert!(false, "serde takes it: {errors}"),
        }
    }
}
