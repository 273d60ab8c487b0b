//! Bidirectional forwarding detection (RFC 5880, 5881, 5883) as pure state machines: packets and the time come in, packets,
//! timers and changes of state come out. Whoever drives it owns the sockets.
#![deny(missing_docs)]
