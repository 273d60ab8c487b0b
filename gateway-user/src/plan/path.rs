//! Where in a plan something stands: keys and indices from the top, whatever the plan was read from.

use std::fmt;

/// A place in a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Path(Vec<Step>);

/// One step down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Into a table.
    Key(&'static str),
    /// Into a list.
    Index(usize),
}

impl Path {
    /// The plan as a whole.
    pub fn root() -> Self {
        Self::default()
    }

    /// A tenant.
    pub fn tenant(index: usize) -> Self {
        Self::root().item("tenant", index)
    }

    /// A tenant's connection.
    pub fn connection(tenant: usize, index: usize) -> Self {
        Self::tenant(tenant).item("connection", index)
    }

    /// What stands under a key here.
    pub fn key(mut self, key: &'static str) -> Self {
        self.0.push(Step::Key(key));
        self
    }

    /// One of the list under a key here.
    pub fn item(mut self, key: &'static str, index: usize) -> Self {
        self.0.extend([Step::Key(key), Step::Index(index)]);
        self
    }

    /// The steps from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Goes a step down, in place.
    pub fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    /// Goes a step up, in place.
    pub fn pop(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
