//! Serves the process's clients: one task each, everything bounded.

use super::engine::{ClientId, Engine};
use super::process::now;
use super::protocol::{Event, Hello, LINE_LIMIT, PROTOCOL, Request};
use crate::api::line::Lines;
use serde::Serialize;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// Clients served at once.
const CLIENTS: usize = 16;
/// How long a client may take to greet, and to read a line.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may say nothing.
const SILENCE: Duration = Duration::from_secs(600);
/// What is longer is read by another thread, so that no probe waits for it.
const SHORT: usize = 4096;

/// Serves clients until it is dropped.
pub async fn serve(listener: UnixListener, engine: Rc<RefCell<Engine>>) {
    let room = Rc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "sentinel's socket: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if room.available_permits() == 0 {
            tracing::warn!(limit = CLIENTS, "sentinel's socket: too many clients, one turned away");
            continue;
        }
        let (engine, room) = (engine.clone(), room.clone());
        tokio::task::spawn_local(async move {
            let _permit = room.try_acquire();
            let changed = Rc::new(Notify::new());
            let client = engine.borrow_mut().connect(changed.clone());
            if let Err(error) = Session::new(stream, client, engine.clone()).run(&changed).await {
                tracing::debug!(error = format!("{error:#}"), "a client of the sentinel ends");
            }
            engine.borrow_mut().disconnect(client);
        });
    }
}

struct Session {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    client: ClientId,
    engine: Rc<RefCell<Engine>>,
}

impl Session {
    fn new(stream: UnixStream, client: ClientId, engine: Rc<RefCell<Engine>>) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: Lines::new(reader, LINE_LIMIT), writer, client, engine }
    }

    async fn run(&mut self, changed: &Notify) -> anyhow::Result<()> {
        self.write(&Hello::own()).await?;
        let Some(line) = timeout(PATIENCE, self.lines.next()).await?? else { return Ok(()) };
        let hello: Hello = serde_json::from_slice(&line)?;
        loop {
            tokio::select! {
                line = timeout(SILENCE, self.lines.next()) => {
                    let Some(line) = line?? else { return Ok(()) };
                    let request = match line.len() {
                        ..SHORT => serde_json::from_slice(&line),
                        _ => tokio::task::spawn_blocking(move || serde_json::from_slice(&line)).await?,
                    };
                    match request {
                        // A client of another version may but end this process.
                        Ok(Request::End) => self.engine.borrow_mut().end(),
                        Ok(request) if hello.sentinel_protocol == PROTOCOL => {
                            let answer = self.engine.borrow_mut().answer(self.client, request, now());
                            if let Some(answer) = answer {
                                self.write(&answer).await?;
                            }
                        }
                        Ok(_) => anyhow::bail!("the client speaks protocol {}", hello.sentinel_protocol),
                        Err(error) => self.write(&Event::Refused { message: error.to_string() }).await?,
                    }
                }
                () = changed.notified() => self.tell().await?,
            }
        }
    }

    async fn tell(&mut self) -> anyhow::Result<()> {
        loop {
            let event = self.engine.borrow_mut().take_event(self.client);
            let Some(event) = event else { return Ok(()) };
            self.write(&event).await?;
        }
    }

    async fn write(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        Ok(timeout(PATIENCE, self.writer.write_all(&line)).await??)
    }
}
