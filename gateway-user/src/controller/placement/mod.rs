//! Which gateway carries a connection: pools, the capacity model, best fit.
