//! Where the configuration is kept, and who leads.
