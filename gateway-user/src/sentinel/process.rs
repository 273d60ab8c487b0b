//! The process: one thread, its timer first.

use super::engine::Engine;
use super::pool::Fresh;
use super::ports::{Interfaces, Port};
use super::server;
use crate::api::clock::monotonic;
use crate::api::server::listen;
use anyhow::Context;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use seat::Moment;
use seat::watch::Side;
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// How often it is looked whether sockets are still where their addresses are.
const LOOK: Duration = Duration::from_secs(1);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the agent keeps its things, and the sentinel its own: a file system that goes with the machine's life.
    pub state: PathBuf,
    /// Where the tables are pinned.
    pub pins: PathBuf,
}

/// The time as everything here is told it.
pub fn now() -> Moment {
    Moment(monotonic())
}

/// Watches, votes and holds until it is told to end.
///
/// # Errors
/// It cannot listen, or there is no table of gates.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // By its file's name it could not be told from the agent's.
    let _ = nix::sys::prctl::set_name(c"gatewayd-sentry");
    run_first();
    let gates = super::gates::Table::open(&options.pins)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let socket = super::socket_in(&options.state);
    let listener = listen(&socket)?;
    tracing::info!(socket = %socket.display(), "the pool's other gateways are watched, and seats held, by this process");
    LocalSet::new().block_on(&runtime, async {
        let opened = Rc::new(Notify::new());
        let engine = Engine::new(options.state.clone(), Box::new(gates), opened.clone(), now());
        let engine = Rc::new(RefCell::new(engine));
        let mut stop = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        tokio::select! {
            () = server::serve(listener, engine.clone()) => {}
            result = keep_time(&engine) => result?,
            () = wait_for_sockets(&engine, &opened) => {}
            () = async {
                look_now_and_then(&engine).await;
                // While nobody else can have taken the name: the socket is still open.
                let _ = std::fs::remove_file(&socket);
            } => {}
            () = async {
                while stop.recv().await.is_some() {
                    engine.borrow_mut().end();
                }
            } => {}
        }
        Ok(())
    })
}

/// Does what is due, to a fraction of a millisecond: tokio's own timer knows whole ones.
async fn keep_time(engine: &RefCell<Engine>) -> anyhow::Result<()> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let descriptor = timer.as_fd().try_clone_to_owned()?;
    // SAFETY: nobody else registers this descriptor, and it is closed only after this is dropped.
    let ready = unsafe { AsyncFd::register(descriptor) }.map_err(|failed| failed.into_parts().1)?;
    loop {
        let (deadline, rearm) = engine.borrow_mut().wait();
        match deadline {
            None => rearm.notified().await,
            Some(deadline) => {
                // A time of zero would switch it off.
                let at = TimeSpec::from_duration(Duration::from_nanos(deadline.0.max(1)));
                timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
                tokio::select! {
                    biased;
                    expired = ready.readable() => {
                        expired?.clear_ready();
                        engine.borrow_mut().look(now());
                    }
                    () = rearm.notified() => {}
                }
            }
        }
    }
}

/// Has a task for each socket that hears.
async fn wait_for_sockets(engine: &Rc<RefCell<Engine>>, opened: &Notify) {
    loop {
        for fresh in engine.borrow_mut().take_fresh() {
            let engine = engine.clone();
            match fresh {
                Fresh::Probes(side, port) => tokio::task::spawn_local(hear(engine, side, port, Engine::hear_probes)),
                Fresh::Letters(side, port) => tokio::task::spawn_local(hear(engine, side, port, Engine::hear_letters)),
            };
        }
        opened.notified().await;
    }
}

async fn hear(engine: Rc<RefCell<Engine>>, side: Side, port: Rc<Port>, take: fn(&mut Engine, Side, Moment)) {
    loop {
        let ready = tokio::select! {
            ready = port.readable() => ready,
            () = port.closed.notified() => return,
        };
        if ready.is_err() {
            return;
        }
        take(&mut engine.borrow_mut(), side, now());
        tokio::task::yield_now().await;
    }
}

/// Looks after what nothing tells of; returns when there is nothing left to do.
async fn look_now_and_then(engine: &RefCell<Engine>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // By a thread that nothing waits for: whoever changes links may keep the kernel's answer back for long.
        if let Ok(Ok(interfaces)) = tokio::task::spawn_blocking(Interfaces::now).await {
            engine.borrow_mut().open_ports(interfaces);
        }
        if engine.borrow().is_over(now()) {
            tracing::info!("this process ends");
            return;
        }
    }
}

/// Runs before ordinary programs where that is permitted, and has its memory stay where it is: a late probe is a false alarm.
fn run_first() {
    let lowest = libc::sched_param { sched_priority: 2 };
    // SAFETY: the parameter lives through the call. Threads and children begin as ordinary ones.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &lowest) } != 0 {
        let error = std::io::Error::last_os_error();
        tracing::info!(%error, "not permitted to run before other programs: a busy machine may need longer timers");
    }
    // SAFETY: a system call without pointers.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) } != 0 {
        let error = std::io::Error::last_os_error();
        tracing::info!(%error, "not permitted to keep its memory from being written out");
    }
}
