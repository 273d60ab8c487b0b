//! What the northbound interface's description asks for, row by row, each with the tests that show it: so that none is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A row: what is asked for, and the tests that show it.
type Row = (&'static str, &'static [&'static str]);

const CONVENTIONS: &[Row] = &[
    (
        "HTTPS and JSON below `/networking/v1`, and every later version's path",
        &["the_core_sees_one_version_and_no_slash_at_the_end", "paths_lead_to_resources_collections_and_the_rest"],
    ),
    (
        "`/networking/discovery` tells the versions",
        &["paths_lead_to_resources_collections_and_the_rest", "what_everybody_may_see_needs_no_certificate"],
    ),
    (
        "PUT creates or replaces, GET, GET of a collection without pages, DELETE; no PATCH",
        &[
            "the_table_of_etags_holds_for_put",
            "a_collection_is_a_value_without_pages",
            "what_is_asked_is_an_operation_that_can_be_followed",
        ],
    ),
    (
        "resourceRef, resourceId, instanceId, etag, tags, resourceMetadata, properties; an id never changes",
        &[
            "the_order_of_creation_of_sdn_express_runs_through",
            "what_is_no_resource_is_refused",
            "a_tenant_sees_its_own_and_nothing_of_others",
        ],
    ),
    (
        "paths and property names compare without regard to case",
        &["ids_and_names_compare_without_regard_to_case_and_keep_their_spelling"],
    ),
    (
        "provisioningState: what was accepted",
        &["the_order_of_creation_of_sdn_express_runs_through", "what_is_observed_is_shown_and_never_stored"],
    ),
    (
        "the table of If-Match and If-None-Match",
        &[
            "the_table_of_etags_holds_for_put",
            "the_table_of_etags_holds_for_delete",
            "an_etag_is_read_without_its_quotes_and_in_a_list",
        ],
    ),
    (
        "parents' and children's etags change with each other, siblings' do not",
        &["a_change_of_a_child_changes_the_etags_above_and_below_it_and_none_beside_it"],
    ),
    (
        "Azure-AsyncOperation, Location, Retry-After, operations and operationResults",
        &[
            "what_is_asked_is_an_operation_that_can_be_followed",
            "an_operation_tells_how_it_ended",
            "what_was_written_is_known_to_the_next_leader_and_the_oldest_is_forgotten",
            "the_next_leader_knows_what_became_of_an_operation",
            "a_request_reaches_the_core_without_its_escapes_and_an_answer_its_client_with_urls",
        ],
    ),
    (
        "x-ms-client-request-id: the same request is answered the same; x-ms-return-client-request-id",
        &[
            "the_same_request_is_known_and_another_is_refused",
            "a_request_that_comes_again_is_answered_again_even_by_the_next_leader",
            "a_request_reaches_the_core_without_its_escapes_and_an_answer_its_client_with_urls",
        ],
    ),
    (
        "one write of a tree after the other, none half done; DELETE of what is in use is a 409 that names who uses it",
        &[
            "no_answer_leaves_before_what_it_tells_is_durable",
            "a_put_is_taken_whole_or_not_at_all",
            "what_is_in_use_stays_and_its_users_are_named",
            "a_vip_s_addresses_stay_while_a_connection_has_it",
        ],
    ),
    (
        "errors have a code, a message, a target and details",
        &[
            "several_faults_are_told_at_once",
            "values_of_the_wrong_form_are_refused_where_they_stand",
            "a_body_that_is_no_json_is_refused_with_its_place_and_nothing_of_its_content",
            "a_refusal_names_no_other_tenant",
        ],
    ),
    (
        "configurationState: what has been reached, apart from what was accepted",
        &["what_has_been_reached_is_told_with_its_code"],
    ),
    (
        "a gateway's codes: HostUnreachable, PolicyConfigurationFailure",
        &["what_has_been_reached_is_told_with_its_code", "a_gateway_with_too_much_keeps_it_and_carries_a_warning"],
    ),
    (
        "a virtual gateway's and a connection's codes",
        &[
            "what_has_been_reached_is_told_with_its_code",
            "what_is_not_placed_or_not_complete_is_named",
            "ipsec_is_planned_nowhere_and_says_so",
            "agents_that_never_enrolled_are_named",
        ],
    ),
    (
        "a gateway's external interface has exactly one address, the internal one none; both stay",
        &["references_have_to_lead_somewhere"],
    ),
    (
        "credentials of all types; secrets are never returned",
        &[
            "the_order_of_creation_of_sdn_express_runs_through",
            "a_secret_that_is_left_out_stays",
            "no_secret_is_logged_or_shown",
        ],
    ),
    (
        "certificates for clients and agents",
        &[
            "a_client_with_a_good_certificate_is_answered",
            "an_expired_certificate_is_refused",
            "a_certificate_of_another_authority_is_refused",
            "an_agent_speaks_for_itself_only",
        ],
    ),
    (
        "monitoring/networkControllerStatistics",
        &["what_has_been_reached_is_told_with_its_code", "roles_allow_what_they_say"],
    ),
    ("auditingSettings/configuration", &["auditing_settings_are_kept"]),
    (
        "internalResourceInstances: from an instance id to its resource",
        &["an_instance_id_leads_to_its_resource", "paths_lead_to_resources_collections_and_the_rest"],
    ),
    (
        "a client that retries for minutes and polls each second is served",
        &["not_now_is_asked_again_as_the_same_request", "deletion_goes_backwards_and_waits_until_it_is_done"],
    ),
];

const CAPACITY: &[Row] = &[
    (
        "best fit over pools and gateways, by inbound and outbound together",
        &[
            "the_smallest_sufficient_remainder_wins",
            "best_fit_is_over_all_pools_that_the_tenant_subscribes_to_and_that_carry_the_type",
        ],
    ),
    (
        "2016: the ratios 3/20, 1/5, 1/2; the specification's own sample to the last kbit/s",
        &["a_gateway_shows_what_the_specification_s_sample_shows"],
    ),
    (
        "2019: the maxima of 5, 15 and 5 Gbit/s, at most the capacity",
        &["a_gateway_shows_what_the_specification_s_sample_shows", "l3_bandwidth_is_counted"],
    ),
    (
        "IPsec by the 2016 rule until the last gateway of the pool is a fast one",
        &["ipsec_is_counted_as_on_classic_gateways_until_the_last_of_them_has_gone"],
    ),
    (
        "too much after a change: connections stay, a warning says so",
        &["a_gateway_with_too_much_keeps_it_and_carries_a_warning"],
    ),
    (
        "what does not fit is refused at once, with which pool lacks how much",
        &["what_does_not_fit_is_refused_and_changes_nothing", "a_refusal_says_which_pool_lacks_how_much"],
    ),
    ("a tenant on a pool of type All subscribes to no other", &["a_tenant_on_an_all_pool_subscribes_to_no_other"]),
    (
        "M + N, N at most M",
        &[
            "n_is_at_most_m_when_it_is_raised",
            "a_gateway_is_removed_only_if_the_rest_holds_what_is_placed",
            "a_pool_that_has_not_all_its_gateways_works_and_says_what_is_missing",
            "a_pool_without_standbys_is_shown_as_unprotected",
        ],
    ),
];

const BODIES: &[Row] = &[
    ("gatewayPools", &["the_order_of_creation_of_sdn_express_runs_through", "a_pool_comes_back_with_who_uses_it"]),
    (
        "gateways, PUT and GET",
        &["the_order_of_creation_of_sdn_express_runs_through", "a_gateway_s_types_are_those_of_its_pool_at_least"],
    ),
    ("virtualGateways", &["a_virtual_gateway_comes_whole"]),
    (
        "networkConnections: IPSec, GRE, L3",
        &["the_order_of_creation_of_sdn_express_runs_through", "each_connection_type_has_its_own_needs"],
    ),
    (
        "bgpRouters, with truth values as words and as text",
        &["the_order_of_creation_of_sdn_express_runs_through", "a_virtual_gateway_comes_whole"],
    ),
    (
        "bgpPeers, with asNumber, extAsNumber and peerAsNumber",
        &[
            "the_order_of_creation_of_sdn_express_runs_through",
            "autonomous_systems_are_numbers_that_a_speaker_may_have",
        ],
    ),
    ("policyMaps", &["the_order_of_creation_of_sdn_express_runs_through", "every_kind_of_match_and_set_is_checked"]),
    ("configurationState with details", &["what_has_been_reached_is_told_with_its_code"]),
    (
        "the order of creation of SDN Express, from credentials to bgpPeers",
        &["the_order_of_creation_of_sdn_express_runs_through", "sites_on_different_gateways_reach_each_other"],
    ),
];

const PARTS: &[(&str, &[Row])] = &[
    ("Conventions", CONVENTIONS),
    ("Capacity and placement", CAPACITY),
    ("Bodies, as printed in the description", BODIES),
];

fn page() -> String {
    let mut page = String::from(
        "# Conformance\n\nWhat the description of Network Controller's northbound interface asks for, row by row, and the tests that show it. \
         `cargo xtask test -- NAME` runs one. This page is made by the test `the_page_on_conformance_is_up_to_date`.\n",
    );
    for (title, rows) in PARTS {
        page += &format!("\n## {title}\n\n| asked for | shown by |\n|---|---|\n");
        for (asked, tests) in *rows {
            let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
            page += &format!("| {asked} | {} |\n", tests.join("<br>"));
        }
    }
    page
}

/// To make it anew: `UPDATE_DOCS=1` before this test.
#[test]
fn the_page_on_conformance_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, page()).expect("docs/ can be written");
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page(), "docs/conformance.md differs from the rows here; run this test with UPDATE_DOCS=1");
}

/// The names of all tests below a directory.
fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("the sources").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            tests_below(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).expect("a source");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
                    found.extend(name.split(['(', '<']).next().map(str::to_owned));
                    is_test = false;
                } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                }
            }
        }
    }
}

#[test]
fn every_row_has_tests_that_exist() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    tests_below(&sources.join("src"), &mut known);
    tests_below(&sources.join("../tests/tests"), &mut known);
    for (asked, tests) in PARTS.iter().flat_map(|(_, rows)| *rows) {
        assert!(!tests.is_empty(), "{asked}: no test");
        for test in *tests {
            assert!(known.contains(*test), "{asked}: there is no test {test}");
        }
    }
}
