//! The process: one thread, its timer first.

use super::engine::{self, Engine};
use super::places::{Hearing, Receiver};
use super::server;
use crate::api::clock::monotonic;
use crate::api::server::listen;
use anyhow::Context;
use bfd::Moment;
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients find it.
    pub socket: PathBuf,
    /// How long sessions are kept for an owner that is not there.
    pub owner_timeout: Duration,
}

/// The time as sessions are told it.
pub fn now() -> Moment {
    Moment(monotonic())
}

/// Keeps sessions until nobody wants any, or until it is told to end.
///
/// # Errors
/// It cannot listen.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // By its file's name it could not be told from the agent's.
    let _ = nix::sys::prctl::set_name(c"gatewayd-bfd");
    crate::gateway::raise_open_files_limit();
    run_first();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let listener = listen(&options.socket)?;
    tracing::info!(socket = %options.socket.display(), "BFD sessions are kept by this process");
    LocalSet::new().block_on(&runtime, async {
        let engine = Rc::new(RefCell::new(Engine::new(options.owner_timeout, now())));
        let opened = Rc::new(Notify::new());
        let mut stop = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        tokio::select! {
            () = server::serve(listener, engine.clone(), options.owner_timeout, opened.clone()) => {}
            () = keep_time(&engine) => {}
            () = wait_for_sockets(&engine, &opened) => {}
            () = async {
                look_now_and_then(&engine, &opened).await;
                // While nobody else can have taken the name: the socket is still open.
                let _ = std::fs::remove_file(&options.socket);
            } => {}
            () = async {
                while stop.recv().await.is_some() {
                    engine.borrow_mut().end(now());
                }
            } => {}
        }
        Ok(())
    })
}

/// Sends and judges when it is time to.
async fn keep_time(engine: &RefCell<Engine>) {
    loop {
        let (deadline, rearm) = engine.borrow_mut().wait();
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline.since(now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => engine.borrow_mut().tick(now()),
            () = rearm.notified() => {}
        }
    }
}

/// Has a task for each socket that hears.
async fn wait_for_sockets(engine: &Rc<RefCell<Engine>>, opened: &Notify) {
    loop {
        for (hearing, receiver) in engine.borrow_mut().take_fresh() {
            tokio::task::spawn_local(hear(engine.clone(), hearing, receiver));
        }
        opened.notified().await;
    }
}

async fn hear(engine: Rc<RefCell<Engine>>, hearing: Hearing, receiver: Rc<Receiver>) {
    loop {
        let ready = tokio::select! {
            ready = receiver.socket.readable() => ready,
            () = receiver.closed.notified() => return,
        };
        if ready.is_err() {
            return;
        }
        if !engine.borrow_mut().hear(&hearing, now()) {
            // It was read without tokio, which believes that there is more until it is told.
            let _ = receiver.socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        engine.borrow_mut().settle();
        tokio::task::yield_now().await;
    }
}

/// Looks after what nothing tells of; returns when there is nothing left to do.
async fn look_now_and_then(engine: &RefCell<Engine>, opened: &Notify) {
    let mut ticks = tokio::time::interval(engine::LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        engine.borrow_mut().look(now());
        opened.notify_one();
        if engine.borrow().is_over(now()) {
            tracing::info!("nobody wants BFD sessions any more: this process ends");
            return;
        }
    }
}

/// Runs before ordinary programs where that is permitted: a late packet is a neighbour's false alarm.
fn run_first() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter lives through the call. Threads and children begin as ordinary ones.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &lowest) } != 0 {
        let error = std::io::Error::last_os_error();
        tracing::info!(%error, "not permitted to run before other programs: a busy machine may need longer intervals");
    }
}
