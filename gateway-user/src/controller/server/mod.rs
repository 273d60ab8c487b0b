//! HTTPS for clients and agents.
