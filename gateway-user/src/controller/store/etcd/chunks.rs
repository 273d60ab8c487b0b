//! Values that are too large for one request (etcd's default: 1.5 MiB).
//!
//! A large value's pieces are written first, each under a key of its own that is used once; then the transaction itself writes a small
//! head that names them, and makes sure that they are still there. So a reader finds either the whole old value or the whole new one.
//! Pieces that no head names any longer are deleted afterwards, and what a crash left over when a leadership begins.

use super::super::seal::hex;
use super::super::{Op, Value};
use super::Cluster;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The length of a piece.
const PIECE: usize = 512 << 10;
/// Values up to this length are always whole.
const ALWAYS_WHOLE: usize = 4 << 10;
/// All values of a transaction that are written whole have at most so many bytes together.
const WHOLE_TOGETHER: usize = 768 << 10;
/// What a head begins with. Nothing else is written so: a value that begins so is written in pieces.
const HEAD: &[u8] = b"\0chunks\n";

/// What stands under a key.
pub enum Stored<'a> {
    Whole(&'a [u8]),
    InPieces(&'a [u8]),
}

impl<'a> Stored<'a> {
    pub fn read(bytes: &'a [u8]) -> Self {
        match bytes.strip_prefix(HEAD) {
            Some(head) => Self::InPieces(head),
            None => Self::Whole(bytes),
        }
    }
}

/// What a head says of its pieces.
#[derive(Serialize, Deserialize)]
pub struct Pieces {
    /// Below which part of `chunk/` they stand.
    pub at: String,
    pub bytes: usize,
    sha256: String,
}

impl Pieces {
    pub fn read(head: &[u8]) -> Option<Self> {
        serde_json::from_slice(head).ok()
    }

    /// The pieces that a stored value consists of, if it does.
    pub fn of(stored: &[u8]) -> Option<Self> {
        match Stored::read(stored) {
            Stored::Whole(_) => None,
            Stored::InPieces(head) => Self::read(head),
        }
    }

    pub fn fit(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes && *hex(digest(&SHA256, bytes).as_ref()) == self.sha256
    }
}

/// A transaction whose large values are taken out of it.
pub struct Split {
    /// Its operations, with heads for what was taken out.
    pub ops: Vec<Op>,
    /// What has to be written before, key and value, the first of them being the one that [`Split::marker`] names.
    pub pieces: Vec<(String, Value)>,
}

impl Split {
    /// `unique` is a name that is used for nothing else ever.
    pub fn of(cluster: &Cluster, ops: &[Op], unique: &str) -> Self {
        let mut split = Self { ops: ops.to_vec(), pieces: Vec::new() };
        let length = |op: &Op| match op {
            Op::Put { value, .. } => value.len(),
            Op::Delete { .. } | Op::DeletePrefix { .. } => 0,
        };
        let mut whole: usize = ops.iter().map(length).sum();
        let mut largest: Vec<usize> = (0..ops.len()).collect();
        largest.sort_by_key(|&place| std::cmp::Reverse(length(&ops[place])));
        for place in largest {
            let Op::Put { key, value } = &ops[place] else { continue };
            let too_large = whole > WHOLE_TOGETHER && value.len() > ALWAYS_WHOLE;
            if !too_large && !value.starts_with(HEAD) {
                continue;
            }
            whole -= value.len();
            let at = format!("{unique}/{place:03}");
            let sha256 = hex(digest(&SHA256, value).as_ref()).to_string();
            let head = serde_json::json!(Pieces { at: at.clone(), bytes: value.len(), sha256 }).to_string();
            let prefix = cluster.key("chunk", &at);
            split.pieces.push((format!("{prefix}/key"), key.as_bytes().into()));
            let pieces = value.chunks(PIECE).enumerate();
            split.pieces.extend(pieces.map(|(number, piece)| (format!("{prefix}/{number:05}"), piece.into())));
            split.ops[place] = Op::put(key, [HEAD, head.as_bytes()].concat());
        }
        split
    }

    /// A key that is there as long as all pieces are.
    pub fn marker(&self) -> Option<&str> {
        self.pieces.first().map(|(key, _)| key.as_str())
    }
}
