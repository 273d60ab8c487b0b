//! Host plans that are read, and those that are refused.

use super::*;

const GOOD: &str = r#"
[host]
name = "host1"
pa = ["10.10.0.11", "fd00:10::11"]

[[port]]
name = "eth0"

[[tenant]]
name = "contoso"
encapsulation = "vxlan"
mtu = 1500
subnets = [
    { vsid = 5001, prefix = "10.1.0.0/24", gateway = "10.1.0.1" },
    { vsid = 5001, prefix = "fd01::/64", gateway = "fd01::1" },
    { vsid = 5002, prefix = "10.1.1.0/24" },
]
vms = [
    { ca = ["10.1.0.5", "fd01::5"], mac = "02:00:00:00:01:05", vsid = 5001, pa = "10.10.0.11", device = "tap1" },
    { ca = ["10.1.0.6"], mac = "02:00:00:00:01:06", vsid = 5001, pa = "10.10.0.12" },
    { ca = ["10.1.1.5"], mac = "02:00:00:00:02:05", vsid = 5002, pa = "10.10.0.12" },
]
routes = [
    { destination = "10.2.0.0/16", gateways = ["10.10.0.1", "10.10.0.2"] },
    { destination = "0.0.0.0/0", gateways = ["10.10.0.1"], metric = 10 },
]
"#;

fn refused(change: impl Fn(&str) -> String) -> String {
    let text = change(GOOD);
    assert_ne!(text, GOOD, "the change changed nothing");
    HostPlan::parse(&text, "host.toml").expect_err("to be refused").to_string()
}

#[test]
fn a_plan_is_the_same_from_toml_and_from_json() {
    let plan = HostPlan::parse(GOOD, "host.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let json = serde_json::to_string(&plan).expect("it can be written");
    let again: HostPlan = serde_json::from_str(&json).expect("it can be read");
    assert_eq!(again, plan);
    assert_eq!(plan.devices().map(PortName::as_str).collect::<Vec<_>>(), ["tap1"]);
    let common = plan.common();
    assert_eq!(common.tenants[0].vms.len(), 4);
    assert_eq!(common.gateway.name.as_str(), "host1");
}

#[test]
fn what_contradicts_itself_is_refused_with_its_place_and_a_remedy() {
    for (old, new, says) in [
        ("device = \"tap1\"", "device = \"eth0\"", "is a port to the fabric"),
        (", device = \"tap1\"", "", "has no `device`"),
        ("pa = \"10.10.0.11\", device", "pa = \"10.10.0.12\", device", "its host is 10.10.0.12"),
        ("ca = [\"10.1.0.6\"]", "ca = [\"10.1.0.5\"]", "second VM of the tenant"),
        ("ca = [\"10.1.0.6\"]", "ca = [\"10.1.0.1\"]", "subnet's router"),
        ("ca = [\"10.1.0.6\"]", "ca = [\"10.9.0.6\"]", "in no subnet"),
        ("ca = [\"10.1.0.6\"]", "ca = []", "no address"),
        ("02:00:00:00:01:06", "02:00:00:00:01:05", "second VM of the subnet"),
        ("02:00:00:00:01:06", "02:00:5e:00:00:01", "routers have"),
        ("gateway = \"10.1.0.1\"", "gateway = \"10.2.0.1\"", "no address of 10.1.0.0/24"),
        ("gateways = [\"10.10.0.1\"]", "gateways = []", "no gateway"),
        ("gateways = [\"10.10.0.1\"]", "gateways = [\"10.10.0.11\"]", "own provider address"),
        ("prefix = \"10.1.1.0/24\"", "prefix = \"10.1.0.0/16\"", "lies within"),
        ("[[port]]\nname = \"eth0\"", "", "no port"),
        ("name = \"host1\"", "nam = \"host1\"", "did you mean `name`"),
        ("pa = [\"10.10.0.11\", \"fd00:10::11\"]", "pa = []", "no provider address"),
    ] {
        let report = refused(|text| text.replacen(old, new, 1));
        assert!(report.contains(says), "{new}: {report}");
        assert!(report.contains("host.toml:") || report.contains("--> host.toml"), "{report}");
        assert!(report.contains("= help: "), "{report}");
    }
}

#[test]
fn hosts_of_one_subnet_are_reached_over_one_ip_version() {
    let report = refused(|text| {
        text.replacen(
            "{ ca = [\"10.1.1.5\"]",
            "{ ca = [\"10.1.0.7\"], mac = \"02:00:00:00:01:07\", vsid = 5001, pa = \"fd00:10::12\" },\n    { ca = [\"10.1.1.5\"]",
            1,
        )
    });
    assert!(report.contains("both IP versions"), "{report}");
}

#[test]
fn a_vsid_belongs_to_one_tenant() {
    let report = refused(|text| {
        format!(
            "{text}\n[[tenant]]\nname = \"woodgrove\"\nencapsulation = \"nvgre\"\nsubnets = [ {{ vsid = 5001, prefix = \"10.1.0.0/24\" }} ]\n"
        )
    });
    assert!(report.contains("belongs to the tenant contoso"), "{report}");
}

#[test]
fn json_is_checked_like_toml() {
    let bad = r#"{"host": {"name": "h", "pa": []}}"#;
    let error = serde_json::from_str::<HostPlan>(bad).expect_err("refused").to_string();
    assert!(error.contains("no provider address"), "{error}");
}
