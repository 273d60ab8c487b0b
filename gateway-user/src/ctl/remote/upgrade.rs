//! `gatewayctl upgrade`: takes a pool's gateways out of service one after the other, has each be upgraded, and waits until it is back.
//!
//! What an upgrade is, the operator's command says, or whoever does it by hand: here a gateway is emptied before it and filled again after.

use super::client::Client;
use super::drain;
use super::fields::{self, NOTHING, property, text};
use super::gateways::{self, Scheduling};
use super::target;
use crate::controller::resources::{Kind, Path};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a gateway.
const PAUSE: Duration = Duration::from_millis(500);

/// How a pool is upgraded.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The pool.
    pub pool: String,
    /// Do it, or say what would be done.
    pub wish: drain::Wish,
    /// What upgrades a gateway, for the shell; absent if somebody does it by hand.
    pub command: Option<String>,
    /// The version that the gateways are to have, if it is known: those that have it are left alone.
    pub version: Option<String>,
}

/// A gateway of the pool.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    path: Path,
    server: Option<String>,
    scheduling: Scheduling,
    health: String,
    version: Option<String>,
    run: Option<String>,
    /// What is wrong there, as it is told.
    wrong: Option<String>,
    /// The seats that it holds.
    seats: usize,
}

impl Member {
    /// A gateway as the controller shows it.
    fn of(resource: &Value) -> anyhow::Result<Self> {
        let reference = resource["resourceRef"].as_str().context("a gateway has no resourceRef")?;
        let path = Path::parse(reference)?;
        let told = |at: &str| property(resource, at).as_str().map(str::to_owned);
        let seats = property(resource, "seats").as_array().map(Vec::as_slice).unwrap_or_default();
        let is_here =
            |seat: &&Value| seat["holder"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(path.id().as_str()));
        let wrong = match property(resource, "configurationState.status").as_str() {
            Some("Success") => None,
            status => {
                let details = property(resource, "configurationState.detailedInfo").as_array().map(Vec::as_slice);
                let first = details.unwrap_or_default().first().map(|detail| text(&detail["message"]));
                Some(first.unwrap_or_else(|| status.unwrap_or("it says nothing of its configuration").to_owned()))
            }
        };
        Ok(Self {
            server: told("virtualServer.resourceRef").map(|reference| fields::last(&reference)),
            scheduling: Scheduling::of(property(resource, "scheduling").as_str()),
            health: told("healthState").unwrap_or_default(),
            version: told("agent.version"),
            run: told("agent.run"),
            wrong,
            seats: seats.iter().filter(is_here).count(),
            path,
        })
    }

    fn id(&self) -> String {
        clean(self.path.id().to_string())
    }

    fn trouble(&self) -> Option<String> {
        if self.health != "Healthy" {
            return Some(self.wrong.clone().unwrap_or_else(|| "it is not heard of".to_owned()));
        }
        self.wrong.clone()
    }

    fn has(&self, version: Option<&String>) -> bool {
        version.is_some() && self.version.as_ref() == version
    }
}

/// Upgrades a pool's gateways, or tells in which order it would.
///
/// # Errors
/// A gateway is not well before its turn, does not get empty, its upgrade fails, or it does not come back: nothing is done to the others.
pub async fn run(client: &mut Client, upgrade: &Upgrade, output: &mut Output) -> anyhow::Result<()> {
    let pool = target::root(&upgrade.pool, Kind::GatewayPool)?;
    // Who holds nothing comes first: then it can take what the next one hands over.
    let mut members = members(client, &pool).await?;
    members.sort_by_key(|member| (member.seats, member.path.id().clone()));
    let turns: Vec<&Member> = members.iter().filter(|member| !member.has(upgrade.version.as_ref())).collect();
    if upgrade.wish == drain::Wish::Look {
        return show(&pool, &members, upgrade, output);
    }
    let all = turns.len();
    for (turn, member) in turns.into_iter().enumerate() {
        tell(output, &format!("gateway {} ({} of {all}), version {}", member.id(), turn + 1, shown(&member.version)))?;
        one(client, &pool, &member.path, upgrade, output).await.with_context(|| {
            format!(
                "the upgrade of pool {} stopped at gateway {}, {turn} of {all} done; once that is mended, the same command goes on{}",
                pool.id(),
                member.id(),
                if upgrade.version.is_some() { "" } else { ", and with --to leaves those alone that are done" }
            )
        })?;
    }
    if output.format() == Format::Json {
        let members: Vec<Value> = self::members(client, &pool)
            .await?
            .iter()
            .map(|member| json!({ "gateway": member.path.id(), "version": member.version }))
            .collect();
        return Ok(output.document(&json!({ "resourceRef": pool.to_string(), "upgraded": all, "gateways": members }))?);
    }
    Ok(output.line(&format!("pool {} is upgraded: {all} gateways", clean(pool.id().to_string())))?)
}

/// Upgrades one gateway.
async fn one(
    client: &mut Client,
    pool: &Path,
    path: &Path,
    upgrade: &Upgrade,
    output: &mut Output,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let others = await_members(client, pool, |members| {
        members.iter().filter(|it| it.path != *path).find_map(|it| {
            it.trouble()
                .map(|trouble| format!("gateway {} is not well, so that none other is taken out: {trouble}", it.id()))
        })
    });
    let members = others.await?;
    let before = members.into_iter().find(|member| member.path == *path).context("it is not in the pool any more")?;
    let seats = drain::held(client, path, output).await?;
    drain::empty(client, path, seats, output).await?;
    tell(output, &format!("  holds no seat, after {:.1} s", began.elapsed().as_secs_f64()))?;
    match &upgrade.command {
        Some(command) => carry_out(command, &before).await?,
        None => tell(output, "  upgrade it now; this goes on when its agent has been started anew")?,
    }
    let is_new = |member: &Member| match &upgrade.version {
        Some(_) => member.has(upgrade.version.as_ref()),
        None => member.run.is_some() && member.run != before.run,
    };
    let members = await_members(client, pool, |members| {
        let Some(member) = members.iter().find(|member| member.path == *path) else {
            return Some("it is not in the pool any more".to_owned());
        };
        if let Some(trouble) = member.trouble() {
            return Some(format!("it is not back: {trouble}"));
        }
        (!is_new(member)).then(|| match &upgrade.version {
            Some(version) => format!("it runs version {} instead of {version}", shown(&member.version)),
            None => "its agent has not been started anew".to_owned(),
        })
    });
    let members = members.await?;
    let now = members.iter().find(|member| member.path == *path).and_then(|member| member.version.clone());
    // Who was drained by an upgrade that was interrupted is to serve again as well.
    let scheduling = match before.scheduling {
        Scheduling::Cordoned => Scheduling::Cordoned,
        Scheduling::Enabled | Scheduling::Drained => Scheduling::Enabled,
    };
    gateways::set(client, path, scheduling).await?;
    tell(output, &format!("  is back, version {}, after {:.1} s", shown(&now), began.elapsed().as_secs_f64()))
}

/// Runs the operator's command for a gateway.
async fn carry_out(command: &str, member: &Member) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).env("GATEWAY", member.path.id().as_str());
    if let Some(server) = &member.server {
        shell.env("SERVER", server);
    }
    // What it says is progress, and not this command's answer.
    shell.stdout(std::io::stderr());
    let status = tokio::task::spawn_blocking(move || shell.status()).await?.context("cannot run sh")?;
    if !status.success() {
        bail!(
            "the command that upgrades a gateway failed for {} ({status}); it holds nothing, and is given nothing until \
             `gatewayctl uncordon gateway/{}`",
            member.id(),
            member.id()
        );
    }
    Ok(())
}

/// The pool's gateways.
async fn members(client: &mut Client, pool: &Path) -> anyhow::Result<Vec<Member>> {
    let shown = client.get(&target::url(pool)).await?;
    let references = property(&shown, "gateways").as_array().map(Vec::as_slice).unwrap_or_default();
    let references = references.iter().filter_map(|reference| reference["resourceRef"].as_str());
    let mut members = Vec::new();
    for reference in references {
        members.push(Member::of(&client.get(&target::url(&Path::parse(reference)?)).await?)?);
    }
    if members.is_empty() {
        bail!("pool {} has no gateways", pool.id());
    }
    Ok(members)
}

/// Looks until nothing is in the way any more.
async fn await_members(
    client: &mut Client,
    pool: &Path,
    obstacle: impl Fn(&[Member]) -> Option<String>,
) -> anyhow::Result<Vec<Member>> {
    let (began, patience) = (Instant::now(), client.patience());
    loop {
        let members = members(client, pool).await?;
        let Some(obstacle) = obstacle(&members) else { return Ok(members) };
        if began.elapsed() >= patience {
            bail!("{} (waited {} s; --timeout says how long)", clean(obstacle), patience.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn shown(version: &Option<String>) -> String {
    version.as_ref().map_or_else(|| NOTHING.to_owned(), |version| clean(version.clone()))
}

/// Progress, which is no part of an answer in JSON.
fn tell(output: &mut Output, line: &str) -> anyhow::Result<()> {
    if output.format() == Format::Table {
        output.line(line)?;
        output.flush()?;
    }
    Ok(())
}

/// What would be done, in order.
fn show(pool: &Path, members: &[Member], upgrade: &Upgrade, output: &mut Output) -> anyhow::Result<()> {
    let turn = |member: &Member| if member.has(upgrade.version.as_ref()) { "is done" } else { "next" };
    if output.format() == Format::Json {
        let members = members.iter().map(|member| {
            json!({ "gateway": member.path.id(), "version": member.version, "seats": member.seats,
                    "turn": turn(member), "trouble": member.trouble() })
        });
        return Ok(
            output.document(&json!({ "resourceRef": pool.to_string(), "gateways": members.collect::<Vec<_>>() }))?
        );
    }
    let columns = [
        ("GATEWAY", Align::Left),
        ("VERSION", Align::Left),
        ("SEATS", Align::Right),
        ("TURN", Align::Left),
        ("HOW IT IS", Align::Left),
    ];
    let mut table = Table::new("the pool has no gateways", &columns);
    for member in members {
        table.push(
            Row::new()
                .cell(member.id())
                .cell(shown(&member.version))
                .cell(member.seats.to_string())
                .cell(turn(member).to_owned())
                .cell(clean(member.trouble().unwrap_or_else(|| "is well".to_owned()))),
        );
    }
    output.text(&table.render(output.style()))?;
    Ok(output.line(&format!(
        "nothing was done; to upgrade them in this order, each emptied before, without a loss: gatewayctl upgrade pool/{} --run COMMAND --confirm",
        clean(pool.id().to_string())
    ))?)
}
