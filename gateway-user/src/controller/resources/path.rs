//! Paths of resources, as they stand in URLs and references.
//!
//! `/networking/v1/virtualGateways/VG1/networkConnections/C1`; collections and ids compare without regard to case.

use super::error::{Code, Error};
use super::schema::Kind;
use crate::controller::model::Id;
use std::fmt;

/// The versions of the interface that are answered, all alike.
pub const VERSIONS: [&str; 12] = ["v1", "v2", "v3", "v3.1", "v3.2", "v4", "v4.2", "v5", "v6", "v6.1", "v7", "v7.1"];

/// Longest path that is read.
const MAX_LEN: usize = 2048;

/// A resource's place: its root's kind and id, then its child's, and so on. It need not exist.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    above: Vec<(Kind, Id)>,
    last: (Kind, Id),
}

/// All resources of a kind: roots, or the children of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Collection {
    /// Whose children; none for roots.
    pub parent: Option<Path>,
    /// Which kind.
    pub kind: Kind,
}

/// What a URL's path leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// What the controller is: `/networking/discovery`.
    Discovery,
    /// An asynchronous operation.
    Operation(Id),
    /// An asynchronous operation's end.
    OperationResult(Id),
    /// Figures of the whole: `/monitoring/networkControllerStatistics`.
    Statistics,
    /// All resources by their instance ids: `/internalResourceInstances`.
    Instances,
    /// The resource that has an instance id.
    Instance(Id),
    /// One resource.
    Resource(Path),
    /// All resources of a kind.
    Collection(Collection),
}

/// Why a path is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin like one of this interface.
    #[error("the path does not begin with /networking/v1/; versions are {}", VERSIONS.join(", "))]
    Prefix,
    /// It is empty, or too long.
    #[error("the path names nothing; write /networking/v1/<collection>/<id>")]
    Nothing,
    /// There is no such collection there.
    #[error("there is no collection `{name}`{}; there is {}", .parent.map(|kind| format!(" in {}", kind.info().collection)).unwrap_or_default(), .known.join(", "))]
    Collection {
        /// As it was written.
        name: String,
        /// Under which kind.
        parent: Option<Kind>,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// An id is no id.
    #[error("`{id}` cannot be an id of {}: {rule}", .kind.info().collection)]
    Id {
        /// As it was written.
        id: String,
        /// Of what kind.
        kind: Kind,
        /// What an id is.
        rule: &'static str,
    },
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        let code = match error {
            PathError::Id { .. } => Code::InvalidParameterValue,
            _ => Code::ResourceNotFound,
        };
        Self::new(code, error.to_string())
    }
}

impl Path {
    /// A root's place.
    pub const fn root(kind: Kind, id: Id) -> Self {
        Self { above: Vec::new(), last: (kind, id) }
    }

    /// A child's place.
    #[must_use]
    pub fn child(&self, kind: Kind, id: Id) -> Self {
        let mut above = self.above.clone();
        above.push(self.last.clone());
        Self { above, last: (kind, id) }
    }

    /// Reads a reference: `/virtualNetworks/N/subnets/S`, with or without what stands before it in URLs.
    ///
    /// # Errors
    /// It leads to no kind of resource, or ends at a collection.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.trim();
        let after_host = match text.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
            None => text,
        };
        let mut segments = segments(after_host, unescape)?;
        if segments.first().is_some_and(|first| first.eq_ignore_ascii_case("networking")) {
            segments.drain(..2.min(segments.len()));
        }
        match resources(&segments)? {
            Location::Resource(path) => Ok(path),
            _ => Err(PathError::Nothing),
        }
    }

    /// The kind of what is there.
    pub const fn kind(&self) -> Kind {
        self.last.0
    }

    /// Its id.
    pub const fn id(&self) -> &Id {
        &self.last.1
    }

    /// Each step, from the root.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &(Kind, Id)> {
        self.above.iter().chain([&self.last])
    }

    /// How many resources stand above it.
    pub const fn depth(&self) -> usize {
        self.above.len()
    }

    /// The root of its tree.
    pub fn tree(&self) -> Self {
        let (kind, id) = self.above.first().unwrap_or(&self.last);
        Self::root(*kind, id.clone())
    }

    /// The resource that it is a child of.
    pub fn parent(&self) -> Option<Self> {
        let (last, above) = self.above.split_last()?;
        Some(Self { above: above.to_vec(), last: last.clone() })
    }

    /// The form that is compared: lower case, without a slash in front.
    pub fn key(&self) -> String {
        self.written().to_ascii_lowercase()
    }

    /// The key of its tree in the store.
    pub fn store_key(&self) -> String {
        format!("{STORE_PREFIX}{}", self.tree().key())
    }

    /// The path that a key of the store stands for.
    ///
    /// # Errors
    /// The key is none of a tree's.
    pub fn from_store_key(key: &str) -> Result<Self, PathError> {
        let path = Self::parse(key.strip_prefix(STORE_PREFIX).ok_or(PathError::Prefix)?)?;
        if path.depth() == 0 { Ok(path) } else { Err(PathError::Nothing) }
    }

    fn written(&self) -> String {
        let mut text = String::new();
        for (kind, id) in self.steps() {
            if !text.is_empty() {
                text.push('/');
            }
            text.push_str(kind.info().collection);
            text.push('/');
            text.push_str(id.as_str());
        }
        text
    }
}

/// What the keys of trees begin with in the store.
pub const STORE_PREFIX: &str = "resources/";

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.written())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Location {
    /// Reads a URL's path, without its query and its escapes.
    ///
    /// # Errors
    /// It leads nowhere.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let segments = segments(text, str::to_owned)?;
        let mut rest = segments.iter().map(String::as_str);
        let is = |segment: Option<&str>, name: &str| segment.is_some_and(|text| text.eq_ignore_ascii_case(name));
        if !is(rest.next(), "networking") {
            return Err(PathError::Prefix);
        }
        let version = rest.next().ok_or(PathError::Prefix)?;
        if version.eq_ignore_ascii_case("discovery") && segments.len() == 2 {
            return Ok(Self::Discovery);
        }
        if !VERSIONS.iter().any(|known| known.eq_ignore_ascii_case(version)) {
            return Err(PathError::Prefix);
        }
        let rest = &segments[2..];
        match rest {
            [name] if name.eq_ignore_ascii_case("discovery") => Ok(Self::Discovery),
            [name, id] if name.eq_ignore_ascii_case("operations") => Ok(Self::Operation(id.as_str().into())),
            [name, id] if name.eq_ignore_ascii_case("operationResults") => {
                Ok(Self::OperationResult(id.as_str().into()))
            }
            [name] if name.eq_ignore_ascii_case("internalResourceInstances") => Ok(Self::Instances),
            [name, id] if name.eq_ignore_ascii_case("internalResourceInstances") => {
                Ok(Self::Instance(id.as_str().into()))
            }
            [name, what]
                if name.eq_ignore_ascii_case("monitoring")
                    && what.eq_ignore_ascii_case("networkControllerStatistics") =>
            {
                Ok(Self::Statistics)
            }
            rest => resources(rest),
        }
    }
}

/// The parts between the slashes.
fn segments(text: &str, plain: fn(&str) -> String) -> Result<Vec<String>, PathError> {
    if text.len() > MAX_LEN {
        return Err(PathError::Nothing);
    }
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let segments: Vec<String> = trimmed.strip_prefix('/').unwrap_or(trimmed).split('/').map(plain).collect();
    if segments.iter().all(String::is_empty) { Err(PathError::Nothing) } else { Ok(segments) }
}

/// Text without its percent escapes.
fn unescape(segment: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = segment.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped =
            (byte == b'%').then(|| Some(digit(bytes.get(at + 1))? * 16 + digit(bytes.get(at + 2))?)).flatten();
        match escaped.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                plain.push(value);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn resources(segments: &[String]) -> Result<Location, PathError> {
    let mut path: Option<Path> = None;
    for pair in segments.chunks(2) {
        let parent = path.as_ref().map(Path::kind);
        let name = &pair[0];
        let kind = Kind::in_collection(parent, name).ok_or_else(|| PathError::Collection {
            name: name.clone(),
            parent,
            known: Kind::children_of(parent).map(|kind| kind.info().collection).collect(),
        })?;
        let Some(id) = pair.get(1) else { return Ok(Location::Collection(Collection { parent: path, kind })) };
        let id = kind.id(id)?;
        path = Some(match path {
            Some(path) => path.child(kind, id),
            None => Path::root(kind, id),
        });
    }
    path.map(Location::Resource).ok_or(PathError::Nothing)
}

impl Kind {
    /// An id of this kind.
    ///
    /// # Errors
    /// It is none.
    pub fn id(self, text: &str) -> Result<Id, PathError> {
        let refuse = |rule| Err(PathError::Id { id: text.chars().take(80).collect(), kind: self, rule });
        if let Some(only) = self.info().singleton {
            return if text.eq_ignore_ascii_case(only) {
                Ok(Id::from(only))
            } else {
                refuse("there is one only, whose id is `config` or `configuration`")
            };
        }
        if self.info().ids_are_names {
            // It becomes a name in plans and certificates.
            if text.parse::<crate::plan::Name>().is_err() {
                return refuse("use 1 to 63 letters, digits, `-`, `_` and `.`, a letter or digit first");
            }
            return Ok(Id::from(text));
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b" -_.(){}@:+".contains(&byte);
        let fits = (1..=128).contains(&text.len()) && text.trim() == text && text != "." && text != "..";
        if fits && text.bytes().all(good) {
            Ok(Id::from(text))
        } else {
            refuse("use 1 to 128 letters, digits, spaces and -_.(){}@:+")
        }
    }
}
