//! What goes to whom, and how it is changed.
