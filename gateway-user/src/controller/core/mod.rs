//! What the controller decides: one state machine, without I/O.
