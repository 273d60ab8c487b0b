//! `gatewayctl backup` and `restore`.

use super::client::Client;
use crate::controller::store::backup::{Backup, Existing};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::remote::args::Reach;
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes the controller's configuration to a file.
///
/// # Errors
/// It is refused, broke off, or cannot be written; then there is no such file, or the one that was there.
pub async fn backup(client: &mut Client, file: &Path, output: &mut Output) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return download(client, &mut std::io::stdout().lock()).await;
    }
    let file = std::path::absolute(file)?;
    let cannot = || format!("cannot write {}", file.display());
    let partial = Partial::new(&file);
    let mut new = partial.create().with_context(cannot)?;
    download(client, &mut new).await?;
    new.sync_all().with_context(cannot)?;
    // What arrived whole has a last line that fits.
    let taken = Backup::read(BufReader::new(File::open(&partial.0).with_context(cannot)?))
        .context("the backup did not arrive whole; repeat the command")?;
    fs::rename(&partial.0, &file).with_context(cannot)?;
    let (entries, revision) = (taken.entries.len(), taken.revision.0);
    match output.format() {
        Format::Json => output.document(&json!({ "file": file, "entries": entries, "revision": revision }))?,
        Format::Table => {
            output.line(&format!("{entries} entries as of revision {revision} are in {}", file.display()))?;
        }
    }
    Ok(())
}

async fn download(client: &mut Client, to: &mut impl Write) -> anyhow::Result<()> {
    let patience = client.patience();
    let mut body = client.send(Method::GET, "/networking/backup", &[], Bytes::new()).await?.into_body();
    loop {
        match tokio::time::timeout(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    to.write_all(bytes).context("the backup cannot be written")?;
                }
            }
            Ok(Some(Err(error))) => bail!("the backup broke off: {error}; repeat the command"),
            Ok(None) => return Ok(to.flush()?),
            Err(_) => bail!("the backup does not end; repeat the command with a longer --timeout"),
        }
    }
}

/// Puts a backup in place of what the controller holds.
///
/// # Errors
/// The file is no whole backup, or the controller refuses it.
pub async fn restore(reach: &Reach, file: &Path, existing: Existing, output: &mut Output) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", file.display());
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        bytes = fs::read(file).with_context(cannot)?;
    }
    Backup::read(bytes.as_slice()).with_context(|| file.display().to_string())?;
    let mut client = super::client(reach).await?;
    let path = match existing {
        Existing::Keep => "/networking/restore",
        Existing::Replace => "/networking/restore?force=true",
    };
    let restored = client.ask(Method::POST, path, &[], bytes.into()).await?.body;
    match output.format() {
        Format::Json => output.document(&restored)?,
        Format::Table => output.line(&format!(
            "{} entries as of revision {} are restored; agents come back by themselves",
            restored["entries"], restored["revision"]
        ))?,
    }
    Ok(())
}

/// A file that is not complete yet, and goes if it never is.
struct Partial(PathBuf);

impl Partial {
    fn new(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".partial");
        Self(name.into())
    }

    fn create(&self) -> std::io::Result<File> {
        let _ = fs::remove_file(&self.0);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
