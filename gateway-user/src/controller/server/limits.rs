//! What bounds clients, so that none of them can hold the server.

use std::time::Duration;

/// The bounds. The default is for production; tests make them small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. An agent has three.
    pub connections: usize,
    /// Of them, those of clients that showed no certificate, and those that are still shaking hands.
    pub strangers: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a request's header may take, and how long a connection may be kept for the next one.
    pub header: Duration,
    /// How long a request's body may take.
    pub body: Duration,
    /// Bytes of a request's header.
    pub header_bytes: usize,
    /// Bytes of a client's request.
    pub request_bytes: usize,
    /// Bytes of an agent's report.
    pub report_bytes: usize,
    /// Bytes of a backup that is restored.
    pub backup_bytes: usize,
    /// How long a backup may take to come.
    pub backup: Duration,
    /// How long the far end may take nothing of what is written.
    pub write: Duration,
    /// How long nothing may move.
    pub idle: Duration,
    /// How often an event stream shows that it lives.
    pub keep_alive: Duration,
    /// Event streams of one client or agent at once.
    pub streams: usize,
    /// How long open requests may take when the server stops.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            strangers: 2048,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            body: Duration::from_secs(30),
            header_bytes: 64 << 10,
            request_bytes: 8 << 20,
            report_bytes: 32 << 20,
            backup_bytes: 2 << 30,
            backup: Duration::from_secs(600),
            write: Duration::from_secs(20),
            idle: Duration::from_secs(120),
            keep_alive: Duration::from_secs(15),
            streams: 16,
            farewell: Duration::from_secs(5),
        }
    }
}
