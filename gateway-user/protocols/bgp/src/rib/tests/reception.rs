//! What is taken, and for how long it is kept.
