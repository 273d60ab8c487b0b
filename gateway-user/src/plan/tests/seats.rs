//! Seats and their pool, which are in JSON alone.

use super::*;
use serde_json::{Value, json};

/// A gateway that holds one seat and may take another, with one tenant on both.
fn plan() -> Value {
    let connection = |vip: &str| json!([{"name": "hq", "type": "gre", "vip": vip, "remote": "203.0.113.20"}]);
    let tenant = |seat: &str, vip: &str| {
        json!({"name": "contoso", "seat": seat, "connection": connection(vip),
               "subnets": [{"vsid": 5001, "prefix": "10.1.0.0/24"}]})
    };
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let grant = |epoch, to| json!({"epoch": epoch, "to": to, "incarnation": 1});
    json!({
        "gateway": {"name": "GW1", "encapsulation": "vxlan", "pa": ["10.10.0.1"]},
        "port": [{"name": "eth1", "role": "both"}],
        "seat": [
            {"name": "GW1", "number": 1, "pa": ["10.10.0.101"], "mac": "02:5e:a7:00:00:01", "next_hop": ["198.51.100.101"]},
            {"name": "GW2", "number": 2, "pa": ["10.10.0.102"], "mac": "02:5e:a7:00:00:02"},
        ],
        "pool": {
            "name": "default", "number": 1, "fabric": "10.10.0.1",
            "charter": {"number": 1, "electorate": {"number": 1, "voters": [{"gateway": "GW1"}, {"gateway": "GW2"}, "controllers"]},
                        "seats": {"GW1": {"grants": [grant(1, "GW1"), grant(2, "GW2")]}}},
            "peers": [{"name": "GW2", "number": 2, "fabric": "10.10.0.2", "key": key}],
        },
        "tenant": [tenant("GW1", "198.51.100.11"), tenant("GW2", "198.51.100.12")],
    })
}

fn read(plan: &Value) -> Result<Plan, PlanErrors> {
    parse(&plan.to_string(), "plan.json")
}

#[test]
fn one_tenant_is_there_once_for_each_of_its_seats() {
    let plan = read(&plan()).unwrap_or_else(|errors| panic!("{errors}"));
    let keys: Vec<_> = plan.tenants.iter().map(Tenant::key).collect();
    assert_eq!(keys, ["contoso@GW1", "contoso@GW2"]);
    assert_eq!(plan.pa_of(&plan.tenants[1]).v4, Some([10, 10, 0, 102].into()));
    assert_eq!(plan.vips_of(Some(&plan.seats[0].name)).len(), 1);
    assert_eq!(plan.vips_of(None).len(), 0);
    let again = serde_json::to_string(&plan).expect("text");
    assert_eq!(parse(&again, "again.json").expect("good"), plan);
    assert!(!format!("{plan:?}").contains("AAAA"), "a key is not shown");
}

#[test]
fn what_only_one_seat_can_have_is_refused_a_second_time_with_its_place() {
    let same = |from: &str, to: &str| {
        let mut plan = plan();
        let value = plan.pointer(from).expect("there").clone();
        *plan.pointer_mut(to).expect("there") = value;
        read(&plan).expect_err("refused").to_string()
    };
    for (from, to, what) in [
        ("/seat/0/name", "/seat/1/name", "plan.json: seat[1].name"),
        ("/seat/0/number", "/seat/1/number", "the number 1 is another seat's"),
        ("/seat/0/mac", "/seat/1/mac", "plan.json: seat[1].mac"),
        ("/seat/0/pa", "/seat/1/pa", "plan.json: seat[1].pa"),
        ("/gateway/pa", "/seat/1/pa", "the address 10.10.0.1 is there already"),
        ("/tenant/0/seat", "/tenant/1/seat", "a second tenant of the seat GW1 is called contoso"),
        ("/tenant/0/connection/0/vip", "/tenant/1/connection/0/vip", "the VIP 198.51.100.11 is the seat GW1's"),
        ("/gateway/name", "/pool/peers/0/name", "a second gateway of the pool is called GW1"),
        ("/pool/number", "/pool/peers/0/number", "plan.json: pool.peers[0].number"),
        ("/pool/fabric", "/pool/peers/0/fabric", "10.10.0.1 is a seat's address, or another gateway's"),
    ] {
        let said = same(from, to);
        assert!(said.contains(what), "{from} as {to}: {said}");
    }
}

#[test]
fn a_seat_that_is_nowhere_and_values_that_mean_nothing_are_refused() {
    for (at, value, what) in [
        ("/tenant/1/seat", json!("GW9"), "no seat is called GW9"),
        ("/seat/0/number", json!(0), "this is not a plan"),
        ("/seat/0/mac", json!("00:5e:a7:00:00:01"), "locally administered"),
        ("/seat/0/pa", json!([]), "the seat GW1 has no provider address"),
        ("/seat/0/next_hop", json!(["198.51.100.12"]), "198.51.100.12 is a VIP"),
        ("/pool/site", json!("10.10.0.102"), "10.10.0.102 is a seat's address"),
        ("/pool/peers/0/key", json!("short"), "a pair's key"),
    ] {
        let mut plan = plan();
        match plan.pointer_mut(at) {
            Some(place) => *place = value,
            None => plan["pool"]["site"] = value,
        }
        let said = read(&plan).expect_err(what).to_string();
        assert!(said.contains(what), "{at}: {said}");
    }
}

#[test]
fn a_plan_in_toml_knows_no_seats() {
    let said = refusal(&format!("{BASE}\n[[seat]]\nname = \"GW1\"\n")).to_string();
    assert!(said.contains("`seat`"), "{said}");
}
