//! Contexts: which controllers there are, which one is believed, and as whom they are asked. Secrets stay in files of their own.

use super::args::Reach;
use super::error::Usage;
use crate::agent::files;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where a controller is, whom to believe, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// The controllers, each as `https://NAME:PORT`.
    #[serde(default)]
    pub controllers: Vec<String>,
    /// The authority's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// Its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The client's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// All contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Context {
    /// With what the command line says in place of what is here.
    #[must_use]
    pub fn with(mut self, reach: &Reach) -> Self {
        if !reach.controllers.is_empty() {
            self.controllers = reach.controllers.iter().map(ToString::to_string).collect();
        }
        // The two are two ways to say the same.
        if reach.authority.is_some() || reach.fingerprint.is_some() {
            self.authority = reach.authority.as_deref().map(absolute);
            self.fingerprint.clone_from(&reach.fingerprint);
        }
        if reach.certificate.is_some() || reach.key.is_some() {
            self.certificate = reach.certificate.as_deref().map(absolute).or(self.certificate);
            self.key = reach.key.as_deref().map(absolute).or(self.key);
            self.token_file = None;
        }
        if reach.token_file.is_some() {
            self.token_file = reach.token_file.as_deref().map(absolute);
            if reach.certificate.is_none() && reach.key.is_none() {
                (self.certificate, self.key) = (None, None);
            }
        }
        self
    }
}

/// A file is found from other directories too.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The file with the contexts.
///
/// # Errors
/// There is no home to look for it.
pub fn file(reach: &Reach) -> anyhow::Result<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = reach.contexts.clone().or_else(|| given("GATEWAYCTL_CONTEXTS")) {
        return Ok(absolute(&path));
    }
    let config = given("XDG_CONFIG_HOME").or_else(|| Some(given("HOME")?.join(".config")));
    let config = config.context("there is no HOME to keep contexts in; name a file with --contexts")?;
    Ok(config.join("gatewayctl").join("contexts.json"))
}

/// Reads the contexts; none if there is no file.
///
/// # Errors
/// It cannot be read, or is none of this kind.
pub fn load(path: &Path) -> anyhow::Result<Contexts> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} holds no contexts; correct it or move it away", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contexts::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the contexts.
///
/// # Errors
/// The file cannot be written; then it is as it was.
pub fn save(path: &Path, contexts: &Contexts) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(contexts)?;
    text.push(b'\n');
    let directory = path.parent().context("this is no file's name")?;
    files::create_private_directory(directory)
        .and_then(|()| files::write_private(path, &text))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What a command is to use: options first, then the context.
///
/// # Errors
/// There is no such context, or nothing says where the controller is.
pub fn resolve(reach: &Reach) -> anyhow::Result<Context> {
    // Who names a controller does not mean another one's certificates.
    let base = if reach.context.is_none() && !reach.controllers.is_empty() {
        Context::default()
    } else {
        let path = file(reach)?;
        let mut contexts = load(&path)?;
        let name = reach.context.clone().or_else(|| contexts.current.clone()).ok_or_else(|| {
            Usage(
                "no controller is named: give --controller, or make a context with `gatewayctl config set-context NAME --controller https://…`"
                    .to_owned(),
            )
        })?;
        contexts.contexts.remove(&name).ok_or_else(|| missing(&name, &path, &contexts))?
    };
    let context = base.with(reach);
    if context.controllers.is_empty() {
        return Err(Usage("the context names no controller; give --controller".to_owned()).into());
    }
    if context.certificate.is_some() != context.key.is_some() {
        return Err(Usage("a certificate and its key go together: give --cert and --key".to_owned()).into());
    }
    Ok(context)
}

/// There is no such context.
pub fn missing(name: &str, path: &Path, contexts: &Contexts) -> Usage {
    let known: Vec<&str> = contexts.contexts.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "no context".to_owned() } else { known.join(", ") };
    Usage(format!("there is no context {name:?} in {}; there is {known}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(directory: &Path) -> Reach {
        Reach { contexts: Some(directory.join("contexts.json")), ..Reach::default() }
    }

    #[test]
    fn the_command_line_wins_over_the_context() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut reach = reach(directory.path());
        let lab = Context {
            controllers: vec!["https://lab:8443".to_owned()],
            fingerprint: Some("00".to_owned()),
            token_file: Some("/token".into()),
            ..Context::default()
        };
        let contexts = Contexts { current: Some("lab".to_owned()), contexts: [("lab".to_owned(), lab.clone())].into() };
        save(&file(&reach).expect("a file"), &contexts).expect("written");
        assert_eq!(resolve(&reach).expect("there"), lab);
        (reach.certificate, reach.key, reach.authority) = (Some("/c".into()), Some("/k".into()), Some("/ca".into()));
        let resolved = resolve(&reach).expect("there");
        assert_eq!((resolved.token_file, resolved.fingerprint), (None, None));
        assert_eq!((resolved.certificate, resolved.authority), (Some("/c".into()), Some("/ca".into())));
        reach.key = None;
        assert!(resolve(&reach).is_err(), "a certificate without a key");
        // Another controller is not asked with this context's secrets.
        reach =
            Reach { controllers: vec!["https://other".parse().expect("an address")], ..self::reach(directory.path()) };
        assert_eq!(resolve(&reach).expect("there").token_file, None);
        reach.context = Some("nowhere".to_owned());
        assert!(resolve(&reach).expect_err("none").to_string().contains("there is lab"));
    }

    #[test]
    fn without_a_context_it_is_said_how_to_make_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = resolve(&reach(directory.path())).expect_err("none");
        assert!(error.is::<Usage>() && error.to_string().contains("config set-context"), "{error}");
    }
}
