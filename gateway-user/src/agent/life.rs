//! Which of its machine's lives an agent is in.

use crate::controller::model::records::Life;
use ring::rand::{SecureRandom, SystemRandom};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;

/// Where the number stands, in a directory that the machine forgets when it starts anew.
const FILE: &str = "incarnation";

/// The life of the machine, which is told apart from others by a number that is made once; with the agent's own address at sites.
///
/// # Errors
/// The number can neither be read nor be kept.
pub fn life(state: &Path, site: Option<IpAddr>) -> io::Result<Life> {
    let path = state.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            if let Ok(incarnation) = text.trim().parse() {
                return Ok(Life { incarnation, site });
            }
            tracing::warn!(path = %path.display(), "this is not a number; another one is made, and the machine counts as started anew");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let incarnation = u64::from_ne_bytes(bytes).max(1);
    std::fs::create_dir_all(state)?;
    let fresh = path.with_extension("made");
    std::fs::write(&fresh, incarnation.to_string())?;
    std::fs::rename(&fresh, &path)?;
    Ok(Life { incarnation, site })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_the_same_until_the_machine_forgets_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let first = life(&state, None).expect("made");
        assert_eq!(life(&state, None).expect("kept"), first);
        let site = Some(IpAddr::from([10, 20, 0, 1]));
        assert_eq!(life(&state, site).expect("kept"), Life { site, ..first });
        std::fs::remove_dir_all(&state).expect("forgotten");
        assert_ne!(life(&state, None).expect("made"), first);
    }
}
