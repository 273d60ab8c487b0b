//! Secrets at rest: AES-256-GCM under a key that lies outside the store, in a file that only its owner can read.
//!
//! A sealed secret is text, `sealed:1:<key's id>:<nonce and ciphertext>`, and is bound to the place where it stands: moved to another
//! resource it does not open.

use super::error::at;
use super::{Compare, Error, Op, Outcome, Secret, Store, Txn};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

const FILE_HEADING: &str = "# Keys that seal the secrets in the controller's store. Keep a copy in a safe place, apart from the backups.\n\
    # Every controller of one store needs the same file. The first key seals; the others still open what they sealed.\n";
/// Where in the store stands which key seals its secrets.
pub const SEALING: &str = "sealing";
/// What every sealed secret begins with, and then the id of its key.
const SEALED: &str = "sealed:1:";
const KEY_BYTES: usize = 32;
const LONGEST_FILE: u64 = 64 << 10;

/// A sealed secret, as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// What stands in the store; anything else than what [`Keys::seal`] returned fails at [`Keys::open`].
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text looks like one.
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with("sealed:")
    }
}

/// Why a sealed secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not something that was sealed here.
    #[error("this is not a sealed secret")]
    Malformed,
    /// A later version sealed it.
    #[error("a later version sealed this secret")]
    Version,
    /// The key file lacks its key.
    #[error(
        "this secret is sealed with the key {0}, which the key file does not hold; put the line of that key into it"
    )]
    UnknownKey(String),
    /// It was changed, or moved from another place.
    #[error("this sealed secret was changed, or belongs to another resource; set the secret again")]
    Changed,
}

/// The keys that seal and open.
pub struct Keys {
    /// The first one seals.
    keys: Vec<Key>,
    random: SystemRandom,
}

struct Key {
    id: String,
    key: LessSafeKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Keys {
    /// Reads the key file; makes one if there is none. A file that others can read is refused.
    pub fn open_or_create(path: &Path) -> Result<Self, Error> {
        match Self::open_file(path) {
            Ok(keys) => Ok(keys),
            Err(None) => {
                Self::create(path)?;
                Self::open_file(path)
                    .map_err(|error| error.unwrap_or_else(|| Error::io(path, &ErrorKind::NotFound.into())))
            }
            Err(Some(error)) => Err(error),
        }
    }

    /// Reads the key file; nothing if there is none.
    fn open_file(path: &Path) -> Result<Self, Option<Error>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(None),
            Err(error) => return Err(Some(Error::io(path, &error))),
            Ok(file) => file,
        };
        let metadata = file.metadata().map_err(at(path))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(Some(Error::refused(
                path,
                format!("others than its owner may read or write this key file (mode {:o})", metadata.mode() & 0o777),
                format!(
                    "run `chmod 600 {}`; if somebody may have read it, add a key as its first line",
                    path.display()
                ),
            )));
        }
        let mut text = Zeroizing::new(String::new());
        let read = Read::by_ref(&mut file).take(LONGEST_FILE).read_to_string(&mut text);
        read.map_err(at(path))?;
        Self::parse(&text).map_err(|why| {
            let remedy =
                "put the copy back that was kept apart; without the key the secrets in the store have to be set again";
            Some(Error::refused(path, why, remedy))
        })
    }

    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words = line.split_whitespace().collect::<Vec<_>>();
            let ["aes-256-gcm", id, bytes] = words[..] else {
                return Err(format!("line {number} is not `aes-256-gcm ID KEY`"));
            };
            let bytes = Zeroizing::new(unhex(bytes).unwrap_or_default());
            let key = UnboundKey::new(&AES_256_GCM, &bytes)
                .map_err(|_| format!("the key in line {number} is not {KEY_BYTES} bytes in hexadecimal"))?;
            if id_of(&bytes) != id {
                return Err(format!("the key in line {number} is not the one that its id names"));
            }
            keys.push(Key { id: id.into(), key: LessSafeKey::new(key) });
        }
        if keys.is_empty() {
            return Err("the file holds no key".into());
        }
        Ok(Self { keys, random: SystemRandom::new() })
    }

    fn create(path: &Path) -> Result<(), Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| no_randomness())?;
        let text = Zeroizing::new(format!("{FILE_HEADING}aes-256-gcm {} {}\n", id_of(&*bytes), &*hex(&*bytes)));
        // Made complete under another name: two that start at once agree on the file of the first.
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&new, path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => File::open(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))?
                    .sync_all(),
            }
        };
        let written = write().map_err(at(path));
        let _ = fs::remove_file(&new);
        written
    }

    /// The id of the key that seals.
    pub fn id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    /// Whether the key of this id is here.
    pub fn holds(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// The id of a key that sealed something in this text and is not here.
    pub fn missing<'t>(&self, text: &'t str) -> Option<&'t str> {
        let sealed = text.match_indices(SEALED).map(|(at, mark)| &text[at + mark.len()..]);
        let ids = sealed.filter_map(|rest| rest.split_once(':')).map(|(id, _)| id);
        // What looks like a key's id is one.
        ids.filter(|id| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).find(|id| !self.holds(id))
    }

    /// Agrees with all that share a store on the key that seals: a store whose key is not here is refused before anything is written.
    pub async fn agree(&self, store: &Store) -> Result<(), Error> {
        loop {
            let entry = store.get(SEALING).await?;
            let id = entry.as_ref().map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
            let unchanged = match (&entry, &id) {
                (Some(_), Some(id)) if *id == self.id() => return Ok(()),
                // A key was added as the first: from now on it seals.
                (Some(entry), Some(id)) if self.holds(id) => Compare::modified(SEALING, entry.modified),
                (Some(_), Some(id)) => {
                    return Err(Error::Refused {
                        place: "the store".into(),
                        why: format!(
                            "its secrets are sealed with the key {id}, and the key file (secrets.key in --data-dir) holds only {}",
                            self.keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ")
                        ),
                        remedy: "copy secrets.key from a controller that uses this store, or from where its copy is kept; nothing was changed".into(),
                    });
                }
                _ => Compare::absent(SEALING),
            };
            let txn = Txn::of([Op::put(SEALING, self.id().as_bytes().to_vec())]).when(unchanged);
            if let Outcome::Committed(_) = store.commit(txn).await? {
                return Ok(());
            }
        }
    }

    /// Seals a secret for one place, say `resources/credentials/dial-in#value`.
    pub fn seal(&self, place: &str, secret: &Secret) -> Result<Sealed, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| no_randomness())?;
        let key = self.keys.first().ok_or_else(no_randomness)?;
        let mut bytes = secret.expose().as_bytes().to_vec();
        key.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated(&key.id, place), &mut bytes)
            .map_err(|_| Error::Invalid("this secret is too long to be sealed".into()))?;
        Ok(Sealed(format!("sealed:1:{}:{}{}", key.id, &*hex(&nonce), &*hex(&bytes))))
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Secret, OpenError> {
        let rest = sealed.0.strip_prefix("sealed:").ok_or(OpenError::Malformed)?;
        let rest = rest.strip_prefix("1:").ok_or(OpenError::Version)?;
        let (id, bytes) = rest.split_once(':').ok_or(OpenError::Malformed)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| OpenError::UnknownKey(id.into()))?;
        let bytes = unhex(bytes).ok_or(OpenError::Malformed)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(OpenError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Malformed)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let opened = key.key.open_in_place(nonce, associated(id, place), &mut text).map_err(|_| OpenError::Changed)?;
        str::from_utf8(opened).map(Secret::new).map_err(|_| OpenError::Changed)
    }
}

fn associated(id: &str, place: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("sealed:1:{id}:{place}").into_bytes())
}

/// A key's id tells keys apart and shows nothing of them.
fn id_of(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"gateway controller key id\0");
    context.update(key);
    hex(&context.finish().as_ref()[..4]).to_string()
}

fn no_randomness() -> Error {
    Error::Unavailable { at: "of random numbers".into(), why: "the system gave none".into() }
}

pub(super) fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn keys() -> (tempfile::TempDir, Keys) {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open_or_create(&directory.path().join("key")).unwrap();
        (directory, keys)
    }

    #[test]
    fn what_is_sealed_opens_where_it_stands_and_nowhere_else() {
        let (_directory, keys) = keys();
        let secret = Secret::new("correct horse");
        let sealed = keys.seal("a", &secret).unwrap();
        assert!(Sealed::is_sealed(sealed.as_str()) && !sealed.as_str().contains("horse"));
        assert_eq!(keys.open("a", &sealed), Ok(secret.clone()));
        assert_eq!(keys.open("b", &sealed), Err(OpenError::Changed));
        assert_ne!(keys.seal("a", &secret).unwrap(), sealed, "a nonce was used twice");
    }

    #[test]
    fn no_bit_of_a_sealed_secret_can_be_changed() {
        let (_directory, keys) = keys();
        let sealed = keys.seal("a", &Secret::new("x")).unwrap();
        for place in 0..sealed.as_str().len() {
            let mut bytes = sealed.as_str().as_bytes().to_vec();
            bytes[place] ^= 1;
            let changed = Sealed::from_text(String::from_utf8(bytes).unwrap());
            assert!(keys.open("a", &changed).is_err(), "{place}");
            let cut = Sealed::from_text(&sealed.as_str()[..place]);
            assert!(keys.open("a", &cut).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_read_by_its_owner_alone() {
        let (directory, first) = keys();
        let path = directory.path().join("key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was left beside the key");
        let sealed = first.seal("a", &Secret::new("x")).unwrap();
        let second = Keys::open_or_create(&path).unwrap();
        assert_eq!(second.open("a", &sealed), Ok(Secret::new("x")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let told = Keys::open_or_create(&path).unwrap_err().to_string();
        assert!(told.contains("mode 640") && told.contains("chmod 600"), "{told}");
    }

    #[test]
    fn another_key_names_the_one_that_is_missing() {
        let (_first, first) = keys();
        let (second_directory, second) = keys();
        let sealed = first.seal("a", &Secret::new("x")).unwrap();
        assert_eq!(second.open("a", &sealed), Err(OpenError::UnknownKey(first.id().into())));
        // A key that is put first seals, and what the old one sealed still opens.
        let path = second_directory.path().join("key");
        let old = fs::read_to_string(&path).unwrap();
        let (third_directory, third) = keys();
        let new = fs::read_to_string(third_directory.path().join("key")).unwrap();
        fs::write(&path, format!("{new}{old}")).unwrap();
        let both = Keys::open_or_create(&path).unwrap();
        assert_eq!(both.id(), third.id());
        let sealed = second.seal("a", &Secret::new("x")).unwrap();
        assert_eq!(both.open("a", &sealed), Ok(Secret::new("x")));
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_left_alone() {
        let (directory, _) = keys();
        let path = directory.path().join("key");
        let text = fs::read_to_string(&path).unwrap();
        let last = text.trim_end().chars().next_back().unwrap();
        let changed = format!("{}{}\n", &text[..text.len() - 2], if last == '0' { '1' } else { '0' });
        for damaged in [&changed, "", "# nothing\n", "aes-256-gcm x", &text[..text.len() - 9]] {
            fs::write(&path, damaged).unwrap();
            let told = Keys::open_or_create(&path).unwrap_err().to_string();
            assert!(told.contains("copy"), "{told}");
            assert_eq!(fs::read_to_string(&path).unwrap(), *damaged);
        }
        assert!(!format!("{:?}", Keys::parse(&text).unwrap()).contains(&text[text.len() - 20..]));
    }
}
