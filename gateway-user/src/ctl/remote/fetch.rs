//! Gets resources, wherever they are.

use super::client::Client;
use super::error::Usage;
use super::target::{self, Target};
use crate::controller::resources::{Collection, Kind, Path};
use anyhow::{Context, bail};
use serde_json::Value;

/// A resource as the controller shows it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it is.
    pub path: Path,
    /// The resource.
    pub value: Value,
}

/// What was asked for, in order.
///
/// # Errors
/// Something is not there, or cannot be read.
pub async fn all(client: &mut Client, targets: &[Target]) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    for target in targets {
        match target {
            Target::Resource(path) => items.push(one(client, path).await?),
            Target::Collection(collection) => items.extend(collection_of(client, collection).await?),
            Target::Anywhere(kind, None) => items.extend(anywhere(client, *kind).await?),
            Target::Anywhere(_, Some(_)) => {
                let path = resolve(client, target).await?;
                items.push(one(client, &path).await?);
            }
        }
    }
    Ok(items)
}

/// One resource.
///
/// # Errors
/// It is not there, or cannot be read.
pub async fn one(client: &mut Client, path: &Path) -> anyhow::Result<Item> {
    let value = client.get(&target::url(path)).await?;
    Ok(Item { path: path.clone(), value })
}

/// A collection's resources.
///
/// # Errors
/// It cannot be read.
pub async fn collection_of(client: &mut Client, collection: &Collection) -> anyhow::Result<Vec<Item>> {
    let Value::Object(mut answer) = client.get(&target::collection_url(collection)).await? else {
        bail!("the controller's answer is no collection");
    };
    let Some(Value::Array(values)) = answer.remove("value") else { bail!("the controller's answer is no collection") };
    values.into_iter().map(item).collect()
}

/// All resources of a root's kind.
///
/// # Errors
/// They cannot be read.
pub async fn roots(client: &mut Client, kind: Kind) -> anyhow::Result<Vec<Item>> {
    collection_of(client, &Collection { parent: None, kind }).await
}

fn item(value: Value) -> anyhow::Result<Item> {
    let reference = value.get("resourceRef").and_then(Value::as_str).context("a resource has no resourceRef")?;
    Ok(Item { path: Path::parse(reference)?, value })
}

/// All resources of an embedded kind. They come with their roots, so one question does.
async fn anywhere(client: &mut Client, kind: Kind) -> anyhow::Result<Vec<Item>> {
    let mut line = vec![kind];
    while let Some(parent) = line.last().and_then(|kind| kind.info().parent) {
        line.push(parent);
    }
    let Some(root) = line.pop() else { return Ok(Vec::new()) };
    let mut items = roots(client, root).await?;
    while let Some(kind) = line.pop() {
        items = items.iter().flat_map(|parent| children(parent, kind)).collect();
    }
    Ok(items)
}

/// The children of a kind that come with a resource.
pub fn children(parent: &Item, kind: Kind) -> Vec<Item> {
    let list = parent.value.get("properties").and_then(|properties| properties.get(kind.info().collection));
    let children = list.and_then(Value::as_array).into_iter().flatten();
    children
        .filter_map(|value| {
            let id = value.get("resourceId").and_then(Value::as_str)?;
            Some(Item { path: parent.path.child(kind, id.into()), value: value.clone() })
        })
        .collect()
}

/// The one resource that is meant.
///
/// # Errors
/// There is none, or there are several.
pub async fn resolve(client: &mut Client, target: &Target) -> anyhow::Result<Path> {
    let (kind, id) = match target {
        Target::Resource(path) => return Ok(path.clone()),
        Target::Anywhere(kind, Some(id)) => (*kind, id),
        Target::Collection(_) | Target::Anywhere(_, None) => {
            return Err(Usage("name a single resource: KIND/ID".to_owned()).into());
        }
    };
    let mut found: Vec<Path> =
        anywhere(client, kind).await?.into_iter().map(|item| item.path).filter(|path| path.id() == id).collect();
    match (found.pop(), found.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => bail!(
            "there is no {}/{id}; `gatewayctl get {}` lists what is there",
            kind.info().collection,
            kind.info().collection
        ),
        (Some(last), others) => {
            let all: Vec<String> = others.iter().chain([&last]).map(ToString::to_string).collect();
            bail!("{id} is in several places: name one of {}", all.join(", "))
        }
    }
}
