//! Plans as a whole: what is taken, what is refused, and in which words.

mod bgp;
mod files;
mod refusals;
mod seats;
mod shape;
mod tor;

use super::*;

/// A plan with something of everything.
const BASE: &str = include_str!("base.toml");

/// The base plan with one place changed.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(BASE.matches(from).count(), 1, "{from:?} must stand once in the base plan");
    BASE.replacen(from, to, 1)
}

fn refusal(text: &str) -> PlanErrors {
    parse(text, "plan.toml").expect_err("the plan must be refused")
}
