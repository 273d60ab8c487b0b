//! One test a refusal: what is changed in the base plan, what is said, and what it points at.

use super::*;

/// The one thing that is wrong with a text: what is said, and the part of the line that is marked.
fn only_problem(text: &str) -> (String, String) {
    let errors = refusal(text);
    assert_eq!(errors.problems().len(), 1, "{errors}");
    let problem = &errors.problems()[0];
    let Place::Text { line, column, width, .. } = problem.place else { panic!("{errors}") };
    let line = text.lines().nth(line - 1).unwrap_or_default();
    let marked = line.chars().skip(column - 1).take(width).collect();
    assert!(!problem.complaint.remedy.is_empty());
    (problem.complaint.what.clone(), marked)
}

macro_rules! refused {
    ($($name:ident: [$($from:literal => $to:literal),+], $what:literal, $marked:literal;)+) => {
        $(
            #[test]
            fn $name() {
                let mut text = BASE.to_owned();
                $(
                    assert_eq!(text.matches($from).count(), 1, "{:?} must stand once in the base plan", $from);
                    text = text.replacen($from, $to, 1);
                )+
                assert_eq!(only_problem(&text), ($what.to_owned(), $marked.to_owned()));
            }
        )+
    };
}

mod form {
    use super::*;

    refused! {
        an_unknown_key_with_a_near_one: ["vlan = 1001" => "vlna = 5\nvlan = 1001"],
            "a connection of type \"l3\" has no key `vlna`", "vlna";
        a_key_of_the_other_type_of_connection: ["vlan = 1001" => "vlan = 1001\nremote = \"203.0.113.1\""],
            "a connection of type \"l3\" has no key `remote`", "remote";
        a_port_for_esp: ["spi = 0x1234" => "port = 500"],
            "`[[steer]]` with protocol \"esp\" has no key `port`", "port";
        an_spi_for_udp: ["source_port = 501" => "spi = 0x1234"],
            "`[[steer]]` with protocol \"udp\" has no key `spi`", "spi";
        an_unknown_section: ["[gateway]" => "[gateway.extra]\n[gateway]"],
            "`[gateway]` has no key `extra`", "extra";
        a_key_in_front_of_every_section: ["[gateway]\n" => "mtu = 1400\n[gateway]\n"],
            "a plan has no key `mtu`", "mtu";
        a_missing_key: ["vlan = 1001\n" => ""],
            "a connection of type \"l3\" lacks `vlan`", "[[tenant.connection]]";
        a_missing_type: ["type = \"l3\"\nport = \"tor0\"" => "port = \"tor0\""],
            "`[[tenant.connection]]` lacks `type`", "[[tenant.connection]]";
        a_missing_key_in_braces: ["ca = \"10.1.0.5\", " => ""],
            "a VM lacks `ca`", "{ mac = \"02:00:00:00:01:05\", vsid = 5001, pa = \"10.10.0.11\" }";
        l3_without_addresses: ["addresses = [\"10.127.134.60/24\"]\n" => "", "routes = [ { destination = \"0.0.0.0/0\", next_hop = \"10.127.134.65\" } ]\n" => ""],
            "a connection of type \"l3\" lacks `addresses`", "[[tenant.connection]]";
        udp_without_a_port: ["port = 500\n" => ""],
            "`[[steer]]` with protocol \"udp\" lacks `port`", "[[steer]]";
        a_text_for_a_number: ["vlan = 1001" => "vlan = \"1001\""],
            "`vlan` is a whole number without quotes, not a text", "\"1001\"";
        a_number_for_a_text: ["name = \"tor0\"" => "name = 10", "port = \"tor0\"" => "port = \"tor1\""],
            "`name` is a text in quotes, not a number", "10";
        a_fraction: ["mtu = 1400" => "mtu = 1400.5"],
            "`mtu` is a whole number without quotes, not a number with a fraction", "1400.5";
        a_number_for_true: ["enabled = true" => "enabled = 1"],
            "`enabled` is `true` or `false`, not a number", "1";
        a_text_for_a_list: ["peers = [\"10.2.0.1\"]" => "peers = \"10.2.0.1\""],
            "`peers` is a list, not a text", "\"10.2.0.1\"";
        a_text_for_a_table: ["subnets = [ { vsid = 6001, prefix = \"10.1.0.0/23\" } ]" => "subnets = [ \"10.1.0.0/23\" ]"],
            "a subnet is expected here, not a text", "\"10.1.0.0/23\"";
        a_number_beyond_all: ["key = 100\n" => "key = 99999999999999999999\n"],
            "the number \"99999999999999999999\" is too large for anything here", "99999999999999999999";
        an_unknown_type: ["type = \"l3\"\nport = \"tor0\"" => "type = \"l2\"\nport = \"tor0\""],
            "`type` cannot be \"l2\"", "\"l2\"";
        an_unknown_encapsulation: ["encapsulation = \"vxlan\"" => "encapsulation = \"geneve\""],
            "`encapsulation` cannot be \"geneve\"", "\"geneve\"";
        an_unknown_role: ["role = \"fabric\"" => "role = \"Fabric\""],
            "`role` cannot be \"Fabric\"", "\"Fabric\"";
        an_unknown_mode: ["mode = \"generic\"" => "mode = \"skb\""],
            "`mode` cannot be \"skb\"", "\"skb\"";
        an_unknown_anti_spoofing: ["anti_spoofing = \"off\"" => "anti_spoofing = \"loose\""],
            "`anti_spoofing` cannot be \"loose\"", "\"loose\"";
        an_unknown_protocol: ["protocol = \"udp\"" => "protocol = \"sctp\""],
            "`protocol` cannot be \"sctp\"", "\"sctp\"";
        a_key_twice: ["vlan = 1001" => "vlan = 1001\nvlan = 1003"],
            "this is not TOML: duplicate key", "vlan";
        an_open_quote: ["name = \"fab0\"" => "name = \"fab0"],
            "this is not TOML: invalid basic string, expected `\"`", "";
        no_quotes: ["name = \"fab0\"" => "name = eth0"],
            "this is not TOML: string values must be quoted, expected literal string", "eth0";
        an_open_list: ["peers = [\"10.2.0.1\"]" => "peers = [\"10.2.0.1\""],
            "this is not TOML: missing comma between array elements, expected `,`", "";
        a_second_form_of_tenants: ["[gateway]" => "tenant = []\n[gateway]"],
            "`tenant` stands here and as `[[tenant]]` below", "[]";
        one_tenant_in_single_brackets: ["[gateway]" => "[tenant.a]\n[gateway]"],
            "`tenant` stands here and as `[[tenant]]` below", "tenant";
    }

    #[test]
    fn an_empty_file() {
        let errors = refusal("");
        let what: Vec<&str> = errors.problems().iter().map(|problem| problem.complaint.what.as_str()).collect();
        assert_eq!(what, ["the plan has no `[gateway]`", "the plan has no port"]);
    }
}

mod values {
    use super::*;

    refused! {
        a_name_with_a_space: ["name = \"contoso\"" => "name = \"con toso\""],
            "\"con toso\" is not a name", "\"con toso\"";
        an_empty_name: ["name = \"gw1\"" => "name = \"\""],
            "\"\" is not a name", "\"\"";
        a_long_interface_name: ["name = \"fab0\"" => "name = \"enp65s0f0np0v123\""],
            "\"enp65s0f0np0v123\" cannot be the name of an interface", "\"enp65s0f0np0v123\"";
        a_path_as_interface_name: ["name = \"fab0\"" => "name = \"../fab0\""],
            "\"../fab0\" cannot be the name of an interface", "\"../fab0\"";
        a_reserved_low_vsid: ["vsid = 5002" => "vsid = 4095"],
            "the VSID 4095 is outside 4096..=16777214", "4095";
        the_reserved_highest_vsid: ["vsid = 5002" => "vsid = 16777215"],
            "the VSID 16777215 is outside 4096..=16777214", "16777215";
        vlan_0: ["vlan = 1001" => "vlan = 0"],
            "the VLAN 0 is outside 1..=4094", "0";
        vlan_4095: ["vlan = 1001" => "vlan = 4095"],
            "the VLAN 4095 is outside 1..=4094", "4095";
        an_mtu_below_ipv4s_least: ["mtu = 1400" => "mtu = 575"],
            "an MTU of 575 is outside 576..=9000", "575";
        an_mtu_beyond_jumbo: ["mtu = 1400" => "mtu = 9001"],
            "an MTU of 9001 is outside 576..=9000", "9001";
        a_limit_of_nothing: ["inbound_kbps = 100000" => "inbound_kbps = 0"],
            "a limit of 0 kbit/s is outside 1..=4294967295", "0";
        a_negative_limit: ["outbound_kbps = 50000" => "outbound_kbps = -5"],
            "a limit of -5 kbit/s is outside 1..=4294967295", "-5";
        a_key_of_33_bits: ["key = 100\n" => "key = 4294967296\n"],
            "4294967296 is outside 0..=4294967295", "4294967296";
        a_negative_metric: ["metric = 20" => "metric = -1"],
            "-1 is outside 0..=4294967295", "-1";
        a_reserved_spi: ["spi = 0x1234" => "spi = 255"],
            "the SPI 255 is outside 256..=4294967295", "255";
        port_0: ["port = 500\n" => "port = 0\n"],
            "0 is outside 1..=65535", "0";
        a_short_mac: ["mac = \"02-00-00-00-02-06\"" => "mac = \"02:00:00:00:02\""],
            "\"02:00:00:00:02\" is not a MAC address", "\"02:00:00:00:02\"";
        a_zero_mac: ["mac = \"02-00-00-00-02-06\"" => "mac = \"00:00:00:00:00:00\""],
            "a MAC address of zero is nobody's", "\"00:00:00:00:00:00\"";
        a_groups_mac: ["mac = \"02-00-00-00-02-06\"" => "mac = \"01:00:5e:00:02:06\""],
            "01:00:5e:00:02:06 is a group's (multicast) MAC address", "\"01:00:5e:00:02:06\"";
        a_prefix_with_host_bits: ["prefix = \"10.1.1.0/24\"" => "prefix = \"10.1.1.7/24\""],
            "10.1.1.7/24 has bits set behind its prefix length", "\"10.1.1.7/24\"";
        a_v6_prefix_with_host_bits: ["destination = \"fd02::/48\"" => "destination = \"fd02::1/48\""],
            "fd02::1/48 has bits set behind its prefix length", "\"fd02::1/48\"";
        a_prefix_without_length: ["prefix = \"10.1.1.0/24\"" => "prefix = \"10.1.1.0\""],
            "\"10.1.1.0\" is not an address with a prefix length", "\"10.1.1.0\"";
        a_prefix_length_of_33: ["prefix = \"10.1.1.0/24\"" => "prefix = \"10.1.1.0/33\""],
            "\"10.1.1.0/33\" is not an address with a prefix length", "\"10.1.1.0/33\"";
        an_address_with_length: ["remote = \"203.0.113.21\"" => "remote = \"203.0.113.21/32\""],
            "\"203.0.113.21/32\" is not an IP address", "\"203.0.113.21/32\"";
        a_host_name_for_an_address: ["remote = \"203.0.113.21\"" => "remote = \"site.example\""],
            "\"site.example\" is not an IP address", "\"site.example\"";
        the_network_for_an_interface: ["addresses = [\"10.127.134.60/24\"]" => "addresses = [\"10.127.134.0/24\"]"],
            "10.127.134.0/24 names the network, not an address in it", "\"10.127.134.0/24\"";
        a_network_of_everything: ["addresses = [\"10.127.134.60/24\"]" => "addresses = [\"10.127.134.60/0\"]"],
            "the network of 10.127.134.60/0 is everything", "\"10.127.134.60/0\"";
        two_addresses_of_a_family: ["pa = [\"10.10.0.1\", \"fd00:10::1\"]" => "pa = [\"10.10.0.1\", \"fd00:10::1\", \"10.10.0.9\"]"],
            "10.10.0.9 is the second IPv4 address after 10.10.0.1", "\"10.10.0.9\"";
        a_multicast_ca: ["ca = \"10.1.0.6\"" => "ca = \"224.0.0.5\""],
            "224.0.0.5 is multicast, which cannot be used here", "\"224.0.0.5\"";
        a_loopback_pa: ["pa = \"10.10.0.12\"" => "pa = \"127.0.0.1\""],
            "127.0.0.1 is loopback, which cannot be used here", "\"127.0.0.1\"";
        an_unspecified_vip: ["vip = \"198.51.100.11\"" => "vip = \"0.0.0.0\""],
            "0.0.0.0 is the unspecified address, which cannot be used here", "\"0.0.0.0\"";
        a_link_local_remote: ["remote = \"203.0.113.21\"" => "remote = \"fe80::1\""],
            "fe80::1 is link-local, which cannot be used here", "\"fe80::1\"";
        a_broadcast_remote: ["remote = \"203.0.113.21\"" => "remote = \"255.255.255.255\""],
            "255.255.255.255 is broadcast or reserved, which cannot be used here", "\"255.255.255.255\"";
        ipv4_in_ipv6: ["remote = \"203.0.113.21\"" => "remote = \"::ffff:203.0.113.21\""],
            "::ffff:203.0.113.21 is IPv4 in IPv6's form, which cannot be used here", "\"::ffff:203.0.113.21\"";
        a_multicast_own_address: ["gateway_addresses = [\"10.1.255.9\"]" => "gateway_addresses = [\"ff02::9\"]"],
            "ff02::9 is multicast, which cannot be used here", "\"ff02::9\"";
        a_route_to_multicast: ["destination = \"10.3.0.0/16\"" => "destination = \"239.0.0.0/8\""],
            "239.0.0.0/8 is multicast, to which nothing is routed", "\"239.0.0.0/8\"";
        a_route_to_loopback: ["destination = \"10.3.0.0/16\"" => "destination = \"127.0.0.0/8\""],
            "127.0.0.0/8 is loopback, to which nothing is routed", "\"127.0.0.0/8\"";
    }
}

mod whole {
    use super::*;

    refused! {
        no_provider_address: ["pa = [\"10.10.0.1\", \"fd00:10::1\"]" => "pa = []", "vms = [ { ca = \"10.1.0.6\", mac = \"02-00-00-00-02-06\", vsid = 6001, pa = \"10.10.0.12\" } ]" => "",
            "    { ca = \"10.1.0.5\", mac = \"02:00:00:00:01:05\", vsid = 5001, pa = \"10.10.0.11\" },\n" => "", "    { ca = \"fd01::5\", mac = \"02:00:00:00:01:05\", vsid = 5001, pa = \"fd00:10::11\" },\n" => "", "gateways = [ { pa = \"10.10.0.2\", routes = [ { destination = \"10.4.0.0/16\", metric = 10 } ] } ]" => ""],
            "the gateway has no provider address", "[]";
        room_for_no_route: ["routes_per_tenant = 100000" => "routes_per_tenant = 0"],
            "a tenant's table has room for no route", "0";
        more_routes_than_a_tenant_may_have: ["routes_per_tenant = 100000" => "routes_per_tenant = 17"],
            "the tenant contoso needs 18 table entries, more than `routes_per_tenant` allows (17)", "\"contoso\"";
        a_port_twice: ["name = \"tor1\"" => "name = \"tor0\"", "port = \"tor1\"" => "port = \"tor0\""],
            "the port tor0 stands here for the second time", "\"tor0\"";
        a_tenant_twice: ["name = \"woodgrove\"" => "name = \"contoso\""],
            "a second tenant is called contoso", "\"contoso\"";
        a_connection_twice: ["name = \"dc\"\ntype = \"l3\"\nport = \"tor0\"" => "name = \"hq\"\ntype = \"l3\"\nport = \"tor0\""],
            "a second connection of the tenant is called hq", "\"hq\"";
        no_fabric_port_for_vms: ["role = \"fabric\"" => "role = \"site\"", "role = \"both\"" => "role = \"site\""],
            "there is no fabric port to reach the VMs by", "[";
        a_vsid_of_another_tenant: ["vsid = 6001, prefix" => "vsid = 5002, prefix", "vsid = 6001, pa" => "vsid = 5002, pa"],
            "the VSID 5002 belongs to the tenant contoso", "5002";
        a_subnet_twice: ["vsid = 5002, prefix = \"10.1.1.0/24\"" => "vsid = 5002, prefix = \"10.1.0.0/24\""],
            "10.1.0.0/24 lies within the same tenant's 10.1.0.0/24", "\"10.1.0.0/24\"";
        a_subnet_within_another: ["vsid = 5002, prefix = \"10.1.1.0/24\"" => "vsid = 5002, prefix = \"10.1.0.0/16\""],
            "10.1.0.0/24 lies within the same tenant's 10.1.0.0/16", "\"10.1.0.0/16\"";
        a_subnet_of_everything: ["vsid = 5002, prefix = \"10.1.1.0/24\"" => "vsid = 5002, prefix = \"::/0\""],
            "::/0 is everything, not a subnet", "\"::/0\"";
        a_gateway_subnet_of_everything: ["gateway_subnet = \"10.1.255.0/29\"" => "gateway_subnet = \"0.0.0.0/0\""],
            "0.0.0.0/0 is everything, not a subnet", "\"0.0.0.0/0\"";
        own_address_outside_the_gateway_subnet: ["\"10.1.255.1\"" => "\"10.1.254.1\""],
            "the gateway's own address 10.1.254.1 is outside `gateway_subnet` 10.1.255.0/29", "[\"10.1.254.1\", \"fd01:255::1\"]";
        own_address_is_the_broadcast_address: ["gateway_addresses = [\"10.1.255.9\"]" => "gateway_addresses = [\"10.1.1.255\"]"],
            "10.1.1.255 is the network's or broadcast address of 10.1.0.0/23", "[\"10.1.1.255\"]";
        a_vm_twice: ["ca = \"fd01::5\"" => "ca = \"10.1.0.5\""],
            "a second VM of the tenant has the address 10.1.0.5", "\"10.1.0.5\"";
        a_vm_outside_its_subnets: ["ca = \"10.1.0.5\"" => "ca = \"10.1.1.5\""],
            "10.1.1.5 is in no subnet with the VSID 5001 (10.1.0.0/24, fd01::/64)", "\"10.1.1.5\"";
        a_vm_with_a_vsid_of_nobody: ["vsid = 6001, pa" => "vsid = 6002, pa"],
            "the tenant has no subnet with the VSID 6002", "\"10.1.0.6\"";
        a_vm_at_the_network_address: ["ca = \"10.1.0.6\"" => "ca = \"10.1.0.0\""],
            "10.1.0.0 is the network's or broadcast address of 10.1.0.0/23", "\"10.1.0.0\"";
        a_vm_at_the_gateways_own_address: ["gateway_addresses = [\"10.1.255.9\"]" => "gateway_addresses = [\"10.1.0.6\"]"],
            "10.1.0.6 is the gateway's own address in this tenant", "\"10.1.0.6\"";
        a_vm_with_the_gateways_mac: ["mac = \"02-00-00-00-02-06\"" => "mac = \"02:00:5e:00:00:01\""],
            "02:00:5e:00:00:01 is the MAC address that the gateway itself has in virtual subnets", "\"02:00:5e:00:00:01\"";
        a_host_at_the_gateways_pa: ["pa = \"10.10.0.12\"" => "pa = \"10.10.0.1\""],
            "10.10.0.1 is the gateway's own provider address", "\"10.10.0.1\"";
        the_gateways_vsid_is_another_tenants: ["gateway_vsid = 5003" => "gateway_vsid = 6001"],
            "the VSID 6001 belongs to the tenant contoso", "6001";
        other_gateways_without_a_vsid: ["gateway_vsid = 5003\n" => ""],
            "nothing says by which virtual subnet the tenant's gateways send to each other", "[ { pa = \"10.10.0.2\", routes = [ { destination = \"10.4.0.0/16\", metric = 10 } ] } ]";
        another_gateway_at_the_own_pa: ["pa = \"10.10.0.2\"" => "pa = \"10.10.0.1\""],
            "10.10.0.1 is the gateway's own provider address", "\"10.10.0.1\"";
        another_gateway_at_a_hosts_pa: ["pa = \"10.10.0.2\"" => "pa = \"10.10.0.11\""],
            "10.10.0.11 is the provider address of a VM's host", "\"10.10.0.11\"";
        another_gateway_twice: ["gateways = [ {" => "gateways = [ { pa = \"10.10.0.2\" }, {"],
            "the gateway at 10.10.0.2 stands here for the second time", "\"10.10.0.2\"";
        a_route_by_another_gateway_to_multicast: ["destination = \"10.4.0.0/16\"" => "destination = \"239.0.0.0/8\""],
            "239.0.0.0/8 is multicast, to which nothing is routed", "\"239.0.0.0/8\"";
        a_route_by_another_gateway_twice: ["{ destination = \"10.4.0.0/16\", metric = 10 }" => "{ destination = \"10.4.0.0/16\", metric = 10 }, { destination = \"10.4.0.0/16\" }"],
            "10.4.0.0/16 stands here for the second time", "\"10.4.0.0/16\"";
        a_host_of_a_family_without_pa: ["pa = [\"10.10.0.1\", \"fd00:10::1\"]" => "pa = [\"10.10.0.1\"]"],
            "the host is at fd00:10::11, but the gateway has no IPv6 provider address", "\"fd00:10::11\"";
    }
}

mod connections {
    use super::*;

    refused! {
        a_tunnel_twice: ["vip = \"198.51.100.11\"\nremote = \"203.0.113.21\"" => "vip = \"198.51.100.10\"\nremote = \"203.0.113.20\"\nkey = 100"],
            "the tunnel 198.51.100.10 to 203.0.113.20 with key 100 is the connection hq of the tenant contoso already", "\"203.0.113.20\"";
        a_tunnel_between_two_families: ["remote = \"203.0.113.21\"" => "remote = \"2001:db8::21\""],
            "the remote 2001:db8::21 is IPv6, the VIP 198.51.100.11 is IPv4", "\"2001:db8::21\"";
        a_tunnel_to_itself: ["remote = \"203.0.113.21\"" => "remote = \"198.51.100.11\""],
            "the tunnel's two ends are the same address", "\"198.51.100.11\"";
        a_vip_that_is_the_gateways_pa: ["vip = \"198.51.100.11\"" => "vip = \"10.10.0.1\""],
            "the VIP 10.10.0.1 is the gateway's own provider address", "\"10.10.0.1\"";
        a_vip_that_is_a_hosts_pa: ["vip = \"198.51.100.11\"" => "vip = \"10.10.0.12\""],
            "the VIP 10.10.0.12 is the provider address of a VM's host", "\"10.10.0.12\"";
        a_remote_that_is_a_vip: ["remote = \"203.0.113.21\"" => "remote = \"198.51.100.10\""],
            "the remote 198.51.100.10 is a VIP of this gateway", "\"198.51.100.10\"";
        a_remote_that_is_the_gateways_pa: ["remote = \"203.0.113.21\"" => "remote = \"10.10.0.1\""],
            "the remote 10.10.0.1 is the gateway's own provider address", "\"10.10.0.1\"";
        a_port_that_is_not_there: ["port = \"tor1\"" => "port = \"tor2\""],
            "no `[[port]]` is called tor2", "\"tor2\"";
        a_fabric_port_for_a_vlan: ["port = \"tor1\"" => "port = \"fab0\""],
            "the port fab0 is for the fabric only", "\"fab0\"";
        a_vlan_twice_on_a_port: ["port = \"tor1\"\nvlan = 1002" => "port = \"tor0\"\nvlan = 1001"],
            "the VLAN 1001 on tor0 is the connection dc of the tenant contoso already", "1001";
        no_address_on_the_vlan: ["addresses = [\"10.127.134.60/24\"]" => "addresses = []"],
            "the gateway has no address on the VLAN", "[]";
        two_addresses_in_one_vlan_network: ["addresses = [\"10.127.134.60/24\"]" => "addresses = [\"10.127.134.60/24\", \"10.127.134.61/24\"]"],
            "two addresses of the tenant's VLANs are in 10.127.134.0/24", "\"10.127.134.61/24\"";
        a_vlan_network_within_another: ["addresses = [\"10.127.134.60/24\"]" => "addresses = [\"10.127.134.60/24\", \"10.127.0.1/16\"]"],
            "the VLAN network 10.127.134.0/24 lies within the VLAN network 10.127.0.0/16 of the same tenant", "\"10.127.0.1/16\"";
        a_vlan_network_that_is_a_subnet: ["addresses = [\"10.127.134.60/24\"]" => "addresses = [\"10.127.134.60/24\", \"10.1.1.1/24\"]"],
            "the VLAN's network and a virtual subnet of the tenant overlap: 10.1.1.0/24 is in 10.1.0.0/23", "\"10.1.1.1/24\"";
        a_vlan_address_that_is_the_tenants: ["gateway_addresses = [\"10.1.255.9\"]" => "gateway_addresses = [\"10.127.134.60\"]"],
            "10.127.134.60 is the gateway's own address in this tenant already", "\"10.127.134.60/24\"";
        a_peer_beyond_the_vlan: ["peers = [\"10.127.134.55\"]" => "peers = [\"10.127.135.55\"]"],
            "the peer 10.127.135.55 is not on the VLAN (10.127.134.0/24, fd01:134::/64)", "\"10.127.135.55\"";
        a_peer_that_is_the_broadcast_address: ["peers = [\"10.127.134.55\"]" => "peers = [\"10.127.134.255\"]"],
            "the peer 10.127.134.255 is the network's or broadcast address of 10.127.134.0/24", "\"10.127.134.255\"";
        a_peer_that_is_the_gateway: ["peers = [\"10.127.134.55\"]" => "peers = [\"10.127.134.50\"]"],
            "the peer 10.127.134.50 is the gateway's own address on a VLAN", "\"10.127.134.50\"";
        a_peer_that_is_a_vm: ["peers = [\"10.2.0.1\"]" => "peers = [\"10.1.0.5\"]"],
            "the peer 10.1.0.5 is a VM's address", "\"10.1.0.5\"";
        a_peer_twice: ["peers = [\"10.127.134.55\"]" => "peers = [\"10.127.134.55\", \"10.127.134.55\"]"],
            "the peer 10.127.134.55 stands here for the second time", "\"10.127.134.55\"";
        a_multicast_peer: ["peers = [\"10.2.0.1\"]" => "peers = [\"224.0.0.1\"]"],
            "224.0.0.1 is multicast, which cannot be used here", "\"224.0.0.1\"";
        an_mtu_too_small_for_ipv6: ["mtu = 1400" => "mtu = 1279"],
            "an MTU of 1279 is too small for the IPv6 that the connection carries", "1279";
        a_route_twice: ["destination = \"fd02::/48\"" => "destination = \"10.2.0.0/16\""],
            "the connection has the route to 10.2.0.0/16 twice", "\"10.2.0.0/16\"";
        a_route_to_a_vm: ["destination = \"fd02::/48\"" => "destination = \"fd01::5/128\""],
            "fd01::5 is a VM's address", "\"fd01::5/128\"";
        a_next_hop_in_a_tunnel: ["destination = \"fd02::/48\"" => "destination = \"fd02::/48\", next_hop = \"fd02::1\""],
            "a route into a tunnel has no next hop", "\"fd02::1\"";
        no_next_hop_on_a_vlan: [", next_hop = \"10.127.134.65\"" => ""],
            "the route to 0.0.0.0/0 by a VLAN has no next hop", "{ destination = \"0.0.0.0/0\" }";
        a_next_hop_beyond_the_vlan: ["next_hop = \"10.127.134.65\"" => "next_hop = \"10.127.135.65\""],
            "the next hop 10.127.135.65 is not on the VLAN (10.127.134.0/24)", "\"10.127.135.65\"";
        a_next_hop_that_is_the_gateway: ["next_hop = \"10.127.134.65\"" => "next_hop = \"10.127.134.60\""],
            "the next hop 10.127.134.60 is the gateway's own address on a VLAN", "\"10.127.134.60\"";
        a_next_hop_of_the_other_family: ["destination = \"0.0.0.0/0\"" => "destination = \"::/0\""],
            "the next hop 10.127.134.65 is IPv4, the destination is not", "\"10.127.134.65\"";
    }

    #[test]
    fn more_equal_routes_than_flows_are_spread_over() {
        let equal = |count: usize| {
            let routes: Vec<String> = (100..100 + count)
                .map(|host| format!("{{ destination = \"10.9.0.0/16\", next_hop = \"10.127.134.{host}\" }}"))
                .collect();
            edited(
                "routes = [ { destination = \"0.0.0.0/0\"",
                &format!("routes = [ {}, {{ destination = \"0.0.0.0/0\"", routes.join(", ")),
            )
        };
        let most = gateway_common::tables::Nexthop::GROUP_SIZE;
        assert!(parse(&equal(most), "plan.toml").is_ok());
        let (what, marked) = only_problem(&equal(most + 1));
        assert_eq!(what, format!("{} routes to 10.9.0.0/16 have the metric 0", most + 1));
        assert_eq!(marked, format!("{{ destination = \"10.9.0.0/16\", next_hop = \"10.127.134.{}\" }}", 100 + most));
    }

    #[test]
    fn more_ports_than_a_gateway_has() {
        let ports: String = (3..65).map(|index| format!("[[port]]\nname = \"p{index}\"\nrole = \"site\"\n")).collect();
        assert_eq!(
            only_problem(&format!("{BASE}{ports}")),
            ("65 ports are more than the 64 that a gateway can have".to_owned(), "\"p64\"".to_owned())
        );
    }

    #[test]
    fn a_tunnel_without_a_site_port() {
        let text = include_str!("../../../../examples/minimal.toml").replace("role = \"both\"", "role = \"fabric\"");
        assert_eq!(
            only_problem(&text),
            ("there is no site port for the tunnel".to_owned(), "\"198.51.100.10\"".to_owned())
        );
    }
}

mod steer {
    use super::*;

    refused! {
        a_rule_twice: ["protocol = \"gre\"" => "protocol = \"gre\"\nsource = \"203.0.113.32\"\ngateway = \"10.10.0.5\"\n[[steer]]\nvip = \"198.51.100.2\"\nprotocol = \"gre\""],
            "a rule above takes the same packets", "\"198.51.100.2\"";
        answers_that_cannot_be_told_apart: ["protocol = \"gre\"" => "protocol = \"gre\"\nsource = \"203.0.113.32\"\ngateway = \"10.10.0.4\"\n[[steer]]\nvip = \"198.51.100.3\"\nprotocol = \"gre\""],
            "answers from the gateway 10.10.0.4 to 203.0.113.32 would belong to this rule and to another, with another VIP", "\"10.10.0.4\"";
        a_gateway_of_another_family: ["gateway = \"10.10.0.4\"" => "gateway = \"fd00:10::4\""],
            "`gateway` fd00:10::4 is IPv6, the VIP 198.51.100.2 is IPv4", "\"fd00:10::4\"";
        a_source_of_another_family: ["source = \"203.0.113.32\"" => "source = \"2001:db8::32\""],
            "`source` 2001:db8::32 is IPv6, the VIP 198.51.100.2 is IPv4", "\"2001:db8::32\"";
        the_vip_as_its_own_gateway: ["gateway = \"10.10.0.4\"" => "gateway = \"198.51.100.2\""],
            "`gateway` is the VIP itself", "\"198.51.100.2\"";
        the_site_as_gateway: ["gateway = \"10.10.0.4\"" => "gateway = \"203.0.113.32\""],
            "`gateway` is the site's own address", "\"203.0.113.32\"";
        a_multicast_source: ["source = \"203.0.113.32\"" => "source = \"224.0.0.32\""],
            "224.0.0.32 is multicast, which cannot be used here", "\"224.0.0.32\"";
        a_steered_vip_that_is_a_pa: ["vip = \"198.51.100.2\"" => "vip = \"10.10.0.1\""],
            "the VIP 10.10.0.1 is the gateway's own provider address", "\"10.10.0.1\"";
        a_tunnel_that_ends_here: ["vip = \"198.51.100.2\"" => "vip = \"198.51.100.10\"", "source = \"203.0.113.32\"" => "source = \"203.0.113.20\""],
            "GRE from 203.0.113.20 to 198.51.100.10 ends in a connection of this gateway", "\"198.51.100.10\"";
    }
}
