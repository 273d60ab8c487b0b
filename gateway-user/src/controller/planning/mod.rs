//! One document per agent, from the resources, the placements and the health.
