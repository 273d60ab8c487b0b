//! Members of a pool with each other: single failures, one by one; schedules of many; and all that can happen within a few steps.

mod explore;
mod failover;
mod room;
mod schedules;
mod world;
