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

/// Serves clients until it is dropped. `opened` is told when there are sockets that somebody has to wait for.
pub async fn serve(listener: UnixListener, engine: Rc<RefCell<Engine>>, owner_timeout: Duration, opened: Rc<Notify>) {
    let room = Rc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "BFD socket: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if room.available_permits() == 0 {
            tracing::warn!(limit = CLIENTS, "BFD socket: too many clients, one turned away");
            continue;
        }
        let (engine, room, opened) = (engine.clone(), room.clone(), opened.clone());
        tokio::task::spawn_local(async move {
            let _permit = room.try_acquire();
            let changed = Rc::new(Notify::new());
            let client = engine.borrow_mut().connect(changed.clone());
            let mut session = Session::new(stream, client, engine.clone(), opened);
            if let Err(error) = session.run(&changed, owner_timeout).await {
                tracing::debug!(error = format!("{error:#}"), "a client of the BFD process ends");
            }
            engine.borrow_mut().disconnect(client, now());
        });
    }
}

struct Session {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    client: ClientId,
    engine: Rc<RefCell<Engine>>,
    opened: Rc<Notify>,
}

impl Session {
    fn new(stream: UnixStream, client: ClientId, engine: Rc<RefCell<Engine>>, opened: Rc<Notify>) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: Lines::new(reader, LINE_LIMIT), writer, client, engine, opened }
    }

    async fn run(&mut self, changed: &Notify, owner_timeout: Duration) -> anyhow::Result<()> {
        self.write(&Hello::own()).await?;
        let Some(line) = timeout(PATIENCE, self.lines.next()).await?? else { return Ok(()) };
        let hello: Hello = serde_json::from_slice(&line)?;
        loop {
            tokio::select! {
                line = timeout(owner_timeout, self.lines.next()) => {
                    let Some(line) = line?? else { return Ok(()) };
                    match serde_json::from_slice(&line) {
                        // A client of another version may but end this process.
                        Ok(Request::End) => self.engine.borrow_mut().end(now()),
                        Ok(request) if hello.bfd_protocol == PROTOCOL => self.answer(request).await?,
                        Ok(_) => anyhow::bail!("the client speaks protocol {}", hello.bfd_protocol),
                        Err(error) => self.write(&Event::Refused { message: error.to_string() }).await?,
                    }
                }
                () = changed.notified() => self.tell().await?,
            }
        }
    }

    async fn tell(&mut self) -> anyhow::Result<()> {
        loop {
            let report = self.engine.borrow_mut().take_report(self.client);
            let Some(report) = report else { return Ok(()) };
            self.write(&Event::Session(Box::new(report))).await?;
        }
    }

    async fn answer(&mut self, request: Request) -> anyhow::Result<()> {
        match request {
            Request::Add { session, options } => {
                let added = self.engine.borrow_mut().add(self.client, &session, options, now());
                self.opened.notify_one();
                if let Err(message) = added {
                    self.write(&Event::Refused { message }).await?;
                }
            }
            Request::Remove { session } => self.engine.borrow_mut().remove(self.client, &session, now()),
            Request::List => {
                let reports = self.engine.borrow().reports();
                for report in reports {
                    self.write(&Event::Listed(Box::new(report))).await?;
                }
                self.write(&Event::ListEnded).await?;
            }
            Request::Alive | Request::End => {}
        }
        Ok(())
    }

    async fn write(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        Ok(timeout(PATIENCE, self.writer.write_all(&line)).await??)
    }
}
