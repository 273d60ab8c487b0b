//! The host's network as the kernel tells it: links, routes, neighbours, namespaces, and what ports are fit for.

pub mod ethtool;
pub mod fitness;
pub mod frame_sender;
pub mod link_frames;
pub mod links;
pub mod neighbours;
pub mod netlink;
pub mod netns;
pub mod next_hops;
pub mod virtio;
pub mod xdp_features;
