//! The controller under the simulator: thousands of schedules, and planted faults that it has to find.

use lab::sim::{Fault, Simulation};

/// How many schedules are run; `SIM_SEEDS` asks for more, `SIM_SEED` for one alone.
const SCHEDULES: u64 = 60;
/// Within so many schedules every planted fault is found.
const PATIENCE: u64 = 2000;

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SCHEDULES),
    }
}

#[test]
fn the_invariants_hold_under_every_schedule() {
    for seed in seeds() {
        if let Err(found) = Simulation::new(seed, None).run() {
            panic!("{found}\nrun it again with SIM_SEED={seed}");
        }
    }
}

fn is_found(fault: Fault) {
    let found = (0..PATIENCE).find_map(|seed| Simulation::new(seed, Some(fault)).run().err());
    let found = found.unwrap_or_else(|| panic!("{fault:?} is not found within {PATIENCE} schedules"));
    println!("{fault:?}: {}", found.what);
}

#[test]
fn an_answer_before_its_commit_is_found() {
    is_found(Fault::AcknowledgeBeforeCommit);
}

#[test]
fn a_write_without_its_compare_is_found() {
    is_found(Fault::SkipCompare);
}

#[test]
fn a_dropped_withdrawal_is_found() {
    is_found(Fault::DropWithdrawal);
}

#[test]
fn a_torn_write_is_found() {
    is_found(Fault::TearWrite);
}

#[test]
fn a_leader_that_has_not_read_everything_is_found() {
    is_found(Fault::LeadUnread);
}

#[test]
fn forgotten_answers_are_found() {
    is_found(Fault::ForgetAnswers);
}

#[test]
fn changes_that_a_watcher_missed_and_is_not_told_are_found() {
    is_found(Fault::SkipMissed);
}

#[test]
fn a_watcher_that_goes_on_inside_of_what_is_there_is_found() {
    is_found(Fault::ResumeInside);
}

#[test]
fn an_agent_that_takes_an_older_leaders_word_is_found() {
    is_found(Fault::SkipEpoch);
}

#[test]
fn placements_that_are_not_written_are_found() {
    is_found(Fault::ForgetPlacements);
}

#[test]
fn allocations_that_are_not_written_are_found() {
    is_found(Fault::ForgetAllocations);
}

#[test]
fn agents_that_are_not_written_are_found() {
    is_found(Fault::ForgetAgents);
}

#[test]
fn a_token_whose_use_is_not_written_is_found() {
    is_found(Fault::ForgetTokens);
}

#[test]
fn a_change_that_an_agent_is_not_told_is_found() {
    is_found(Fault::ForgetToTell);
}

#[test]
fn a_plan_that_is_numbered_ahead_is_found() {
    is_found(Fault::NumberAhead);
}

#[test]
fn a_condition_that_is_not_looked_at_is_found() {
    is_found(Fault::SkipCondition);
}
