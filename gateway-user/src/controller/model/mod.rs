//! Typed views of the resources: what the controller itself reads of their JSON.
