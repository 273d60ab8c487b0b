//! The agent's link over real TLS, before a controller that is told what to say.

use super::link::{self, Link, News, Offer, Options, Timers};
use super::protocol::{Document, Parts, PlanEvent, Position};
use super::routes::{Rounds, RouteChanges, RouteEvent, Told};
use super::{Kind, token::Grant};
use crate::controller::model::records::AgentId;
use crate::controller::server::limits::Limits;
use crate::controller::server::service::{Connect, Standing};
use crate::controller::server::tests::rig::{Rig, Seen, gateway, hello};
use crate::dataplane::learned::Via;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

const MINUTE: Duration = Duration::from_secs(60);

/// A plan is the sum of its tenants.
#[derive(Debug)]
struct Sum;

impl Kind for Sum {
    type Base = u64;
    type Part = u64;
    type Plan = u64;

    fn assemble<'a>(base: &u64, parts: impl Iterator<Item = &'a u64>) -> Result<u64, String> {
        Ok(base + parts.sum::<u64>())
    }
}

fn event(epoch: u64, revision: u64, since: Option<u64>, set: &[(&str, u64)]) -> Told {
    let document = |number: u64| Document::of(&number).expect("JSON");
    Told::Plan(Arc::new(PlanEvent {
        epoch,
        revision,
        since,
        base: since.is_none().then(|| document(1000)),
        set: set.iter().map(|(name, number)| ((*name).to_owned(), document(*number))).collect(),
        ..PlanEvent::default()
    }))
}

struct Agent {
    directory: TempDir,
    who: AgentId,
}

impl Agent {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), who: gateway("GW1") }
    }

    fn start(&self, controllers: &[&Rig], token: Option<&Rig>) -> Link<u64> {
        let second = Duration::from_millis(50);
        link::start::<Sum>(Options {
            agent: self.who.clone(),
            controllers: controllers.iter().map(|rig| rig.address.clone()).collect(),
            token: token.map(|rig| rig.token(Grant::Join(self.who.clone()), MINUTE)),
            directory: self.directory.path().to_owned(),
            hello: hello(),
            timers: Timers {
                heartbeat: second,
                patience: MINUTE,
                report: second,
                retry: second,
                retry_soon: second,
                retry_bound: second * 2,
            },
        })
        .expect("started")
    }
}

async fn offered(link: &mut Link<u64>) -> Offer<u64> {
    match tokio::time::timeout(MINUTE, link.news.recv()).await.expect("soon").expect("the link lives") {
        News::Plan(offer) => offer,
        News::Routes(event) => panic!("{event:?}"),
        News::Failed(error) => panic!("{error:#}"),
    }
}

/// Does a plan, and says which.
async fn done(link: &mut Link<u64>) -> (u64, Position) {
    let Offer { plan, position, reply } = offered(link).await;
    reply.send(Ok(())).expect("somebody waits");
    (plan, position)
}

async fn connected(rig: &mut Rig) -> (Connect, mpsc::Sender<Told>) {
    loop {
        if let Seen::Connected(connect, sender) = rig.next().await {
            return (connect, sender);
        }
    }
}

fn came_with(connect: &Connect) -> Option<Position> {
    connect.hello.resume.as_ref().map(|resume| resume.position)
}

fn at(epoch: u64, revision: u64) -> Position {
    Position { epoch, revision }
}

#[tokio::test]
async fn an_agent_follows_its_plan_beats_and_reports() {
    let mut rig = Rig::start().await;
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], Some(&rig));
    let (connect, stream) = connected(&mut rig).await;
    assert_eq!((connect.agent, connect.hello.resume), (agent.who.clone(), None));
    stream.send(event(1, 5, None, &[("a", 1), ("b", 2)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1003, at(1, 5)));
    stream.send(event(1, 6, Some(5), &[("b", 3)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1004, at(1, 6)));
    let (mut beaten, mut reported) = (false, false);
    while !(beaten && reported) {
        match rig.next().await {
            Seen::Heartbeat(who, heartbeat) => {
                assert_eq!(who, agent.who);
                beaten |= heartbeat.position == Some(at(1, 6));
            }
            Seen::Report(_, report) => reported |= report.position == Some(at(1, 6)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_agent_goes_on_where_it_was_when_its_controller_comes_back() {
    let mut rig = Rig::start().await;
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], Some(&rig));
    let (_, stream) = connected(&mut rig).await;
    stream.send(event(1, 5, None, &[("a", 1)])).await.expect("taken");
    done(&mut link).await;
    let (data, authority, socket) = rig.stop().await;
    // Nothing happens to the plan while nobody is there.
    assert!(tokio::time::timeout(Duration::from_millis(300), link.news.recv()).await.is_err());
    let mut rig = Rig::over(data, authority, Limits::default(), socket).await;
    let (connect, stream) = connected(&mut rig).await;
    assert_eq!(came_with(&connect), Some(at(1, 5)));
    stream.send(event(2, 7, Some(5), &[("b", 2)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1003, at(2, 7)));
}

#[tokio::test]
async fn an_agent_that_starts_without_a_controller_has_the_plan_that_was_in_force() {
    let mut rig = Rig::start().await;
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], Some(&rig));
    let (_, stream) = connected(&mut rig).await;
    stream.send(event(1, 5, None, &[("a", 1)])).await.expect("taken");
    done(&mut link).await;
    // What is refused is not in force.
    stream.send(event(1, 6, Some(5), &[("a", 7)])).await.expect("taken");
    let offer = offered(&mut link).await;
    offer.reply.send(Err("a port is missing".to_owned())).expect("somebody waits");
    loop {
        if let Seen::Report(_, report) = rig.next().await
            && let [problem] = report.problems.as_slice()
        {
            assert_eq!((problem.about.as_str(), problem.message.as_str()), ("plan 1.6", "a port is missing"));
            assert_eq!(report.position, Some(at(1, 5)));
            break;
        }
    }
    drop(link);
    let gone = Rig::start().await;
    let away = gone.address.clone();
    gone.stop().await;
    let mut link = link::start::<Sum>(Options {
        agent: agent.who.clone(),
        controllers: vec![away],
        token: None,
        directory: agent.directory.path().to_owned(),
        hello: hello(),
        timers: Timers::default(),
    })
    .expect("started");
    assert_eq!(done(&mut link).await, (1001, at(1, 5)));
}

#[tokio::test]
async fn a_plan_of_an_older_leadership_is_refused() {
    let (mut old, mut new) = (Rig::start().await, Rig::start().await);
    let agent = Agent::new();
    let mut link = agent.start(&[&old], Some(&old));
    let (_, stream) = connected(&mut old).await;
    stream.send(event(3, 5, None, &[("a", 1)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1001, at(3, 5)));
    // A controller that was cut off and believes that it leads, though another one did since.
    drop(stream);
    let (_, stream) = connected(&mut old).await;
    stream.send(event(2, 9, None, &[("a", 9)])).await.expect("taken");
    // It lets go of that controller, and takes what comes from the right one.
    tokio::time::timeout(MINUTE, stream.closed()).await.expect("let go");
    let (connect, stream) = connected(&mut old).await;
    assert_eq!(came_with(&connect), Some(at(3, 5)));
    stream.send(event(4, 6, Some(5), &[("a", 2)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1002, at(4, 6)));
    assert!(new.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_agent_that_missed_something_asks_for_what_it_has_not() {
    let mut rig = Rig::start().await;
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], Some(&rig));
    let (_, stream) = connected(&mut rig).await;
    stream.send(event(1, 5, None, &[("a", 1)])).await.expect("taken");
    done(&mut link).await;
    stream.send(event(1, 9, Some(8), &[("a", 2)])).await.expect("taken");
    let (connect, stream) = connected(&mut rig).await;
    assert_eq!(came_with(&connect), Some(at(1, 5)));
    stream.send(event(1, 9, Some(5), &[("a", 2)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1002, at(1, 9)));
}

#[tokio::test]
async fn an_agent_finds_the_controller_that_leads() {
    let mut leader = Rig::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let follower = Rig::over(directory, leader.authority.clone(), Limits::default(), listen).await;
    follower.standing.send_replace(Standing::Follower { leader: Some(leader.address.to_string().into()) });
    let agent = Agent::new();
    let mut link = agent.start(&[&follower], Some(&follower));
    let (_, stream) = connected(&mut leader).await;
    stream.send(event(1, 1, None, &[])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1000, at(1, 1)));
    // The leader goes, and the one that is left is elected.
    leader.stop().await;
    let mut follower = follower;
    follower.standing.send_replace(Standing::Leader { epoch: 2 });
    let (connect, stream) = connected(&mut follower).await;
    assert_eq!(came_with(&connect), Some(at(1, 1)));
    stream.send(event(2, 2, Some(1), &[("a", 1)])).await.expect("taken");
    assert_eq!(done(&mut link).await, (1001, at(2, 2)));
}

#[tokio::test]
async fn heartbeats_do_not_wait_for_a_plan_that_takes_long() {
    let mut rig = Rig::start().await;
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], Some(&rig));
    let (_, stream) = connected(&mut rig).await;
    stream.send(event(1, 5, None, &[("a", 1)])).await.expect("taken");
    let offer = offered(&mut link).await;
    let beats = async {
        let mut count = 0;
        while count < 5 {
            count += usize::from(matches!(rig.next().await, Seen::Heartbeat(..)));
        }
    };
    beats.await;
    offer.reply.send(Ok(())).expect("it still waits");
}

#[tokio::test]
async fn an_agent_that_may_not_join_says_so() {
    let (rig, other) = (Rig::start().await, Rig::start().await);
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], None);
    let failed = |news| match news {
        Some(News::Failed(error)) => format!("{error:#}"),
        other => panic!("{other:?}"),
    };
    let error = failed(tokio::time::timeout(MINUTE, link.news.recv()).await.expect("soon"));
    assert!(error.contains("token create"), "{error}");
    drop(other);
}

#[tokio::test]
async fn learned_routes_go_by_themselves_and_come_beside_the_plan() {
    let mut rig = Rig::start().await;
    let agent = Agent::new();
    let mut link = agent.start(&[&rig], Some(&rig));
    let (_, stream) = connected(&mut rig).await;
    stream.send(event(3, 5, None, &[("a", 1)])).await.expect("taken");
    assert_eq!(done(&mut link).await.0, 1001);
    link.routes.tenants([("contoso", Parts::Last)]);
    let prefix = "10.7.0.0/16".parse().expect("a prefix");
    link.routes.routes("contoso", [(prefix, vec![Via::Connection("hq".into())])]);
    let mut heard = Rounds::default();
    while heard.is_empty() {
        if let Seen::Routes(who, report) = rig.next().await {
            assert_eq!(who, agent.who);
            heard.take(report.tenants["contoso"].clone(), 10);
        }
    }
    assert!(heard.is_complete());
    let told = |epoch| RouteEvent {
        epoch,
        revision: 5,
        tenants: [("net".to_owned(), RouteChanges::nothing(Parts::Last))].into(),
    };
    // Of one that leads no more nothing is taken.
    for epoch in [2, 3] {
        stream.send(Told::Routes(Arc::new(told(epoch)))).await.expect("taken");
    }
    match tokio::time::timeout(MINUTE, link.news.recv()).await.expect("soon").expect("the link lives") {
        News::Routes(event) => assert_eq!(event, told(3)),
        other => panic!("{other:?}"),
    }
}
