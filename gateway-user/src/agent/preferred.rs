//! Which controller is asked.

use super::address::ControllerAddress;
use super::http::HttpError;
use std::time::{Duration, Instant};

/// For so long a controller that was not there is asked only if there is no other, and is not believed to lead: those that are left may take
/// that long to agree that it does not.
const LOST: Duration = Duration::from_secs(5);

/// A controller, and the last one of the list that was turned to: a leader need not stand on it.
#[derive(Clone, Debug)]
pub struct Preferred {
    address: ControllerAddress,
    at: usize,
    /// The last one that was not there, and when that was.
    lost: Option<(ControllerAddress, Instant)>,
}

impl Preferred {
    /// The first on the list.
    pub fn new(first: ControllerAddress) -> Self {
        Self { address: first, at: 0, lost: None }
    }

    /// Where it is.
    pub fn address(&self) -> &ControllerAddress {
        &self.address
    }

    /// What went wrong there leads to another one: the one that leads, or the next on the list.
    pub fn turn(&mut self, controllers: &[ControllerAddress], error: &HttpError, now: Instant) {
        match error {
            HttpError::Elsewhere(leader) if !self.is_lost(leader, now) => {
                self.address = leader.clone();
                return;
            }
            // It answers, or did so a moment ago.
            HttpError::Elsewhere(_) | HttpError::Refused { .. } | HttpError::Broken(_) => {}
            HttpError::Silent(_) | HttpError::Unreachable { .. } => {
                self.lost = Some((self.address.clone(), now));
            }
        }
        let after = (1..=controllers.len()).map(|step| (self.at + step) % controllers.len());
        let next = after.clone().find(|at| !self.is_lost(&controllers[*at], now)).or(after.clone().next());
        if let Some(at) = next {
            self.at = at;
            self.address = controllers[at].clone();
        }
    }

    fn is_lost(&self, address: &ControllerAddress, now: Instant) -> bool {
        self.lost.as_ref().is_some_and(|(lost, at)| lost == address && now.saturating_duration_since(*at) < LOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn controllers(names: &[&str]) -> Vec<ControllerAddress> {
        names.iter().map(|name| format!("https://{name}").parse().expect("an address")).collect()
    }

    #[test]
    fn a_leader_that_is_gone_is_neither_asked_nor_believed_in_until_the_others_may_know() {
        let list = controllers(&["a", "b", "c"]);
        let [a, b, c] = &list[..] else { panic!("three") };
        let start = Instant::now();
        let mut preferred = Preferred::new(a.clone());
        preferred.turn(&list, &HttpError::Silent(a.clone()), start);
        assert_eq!(preferred.address(), b);
        // The others still point at it, then nobody leads.
        preferred.turn(&list, &HttpError::Elsewhere(a.clone()), start);
        assert_eq!(preferred.address(), c);
        let nobody = HttpError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, message: String::new() };
        preferred.turn(&list, &nobody, start);
        assert_eq!(preferred.address(), b);
        preferred.turn(&list, &HttpError::Elsewhere(c.clone()), start);
        assert_eq!(preferred.address(), c);
        // It is back.
        preferred.turn(&list, &HttpError::Elsewhere(a.clone()), start + LOST);
        assert_eq!(preferred.address(), a);
    }

    #[test]
    fn who_has_one_controller_asks_that_one() {
        let list = controllers(&["a"]);
        let mut preferred = Preferred::new(list[0].clone());
        for _ in 0..2 {
            preferred.turn(&list, &HttpError::Broken(String::new()), Instant::now());
            assert_eq!(preferred.address(), &list[0]);
        }
    }

    #[test]
    fn a_leader_beside_the_list_is_followed_and_left_for_the_list() {
        let list = controllers(&["a", "b"]);
        let leader = controllers(&["c"]).remove(0);
        let mut preferred = Preferred::new(list[0].clone());
        preferred.turn(&list, &HttpError::Elsewhere(leader.clone()), Instant::now());
        assert_eq!(preferred.address(), &leader);
        preferred.turn(&list, &HttpError::Silent(leader), Instant::now());
        assert_eq!(preferred.address(), &list[1]);
    }
}
