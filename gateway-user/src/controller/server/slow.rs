//! A connection that nobody can hold by doing nothing.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Ends with an error when the far end takes nothing of what is written to it, or when nothing moves either way for long.
#[derive(Debug)]
pub struct Watched<S> {
    inner: S,
    write_limit: Duration,
    idle_limit: Duration,
    /// Runs while a write waits.
    write: Option<Pin<Box<Sleep>>>,
    idle: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    /// Watches a connection. To be called within a tokio runtime.
    pub fn new(inner: S, write_limit: Duration, idle_limit: Duration) -> Self {
        Self { inner, write_limit, idle_limit, write: None, idle: Box::pin(tokio::time::sleep(idle_limit)) }
    }

    /// What a write came to: it moved, or it waits, but not for ever.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write = None;
            self.moved();
            return result;
        }
        let limit = self.write_limit;
        let timer = self.write.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the far end does not read")))
    }

    fn moved(&mut self) {
        let limit = self.idle_limit;
        self.idle.as_mut().reset(Instant::now() + limit);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                self.moved();
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the connection was idle")))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.wrote(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wrote(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = Watched::new(near, LIMIT, IDLE);
        near.write_all(&[0; 16]).await.expect("there is room");
        let started = Instant::now();
        assert_eq!(near.write_all(b"more").await.expect_err("full").kind(), ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_now_and_then_is_not() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Watched::new(near, LIMIT, IDLE);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 16];
            for _ in 0..20 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                far.read_exact(&mut buffer).await.expect("something");
            }
        });
        near.write_all(&[0; 16 * 20]).await.expect("slow, but moving");
        reader.await.expect("read");
    }

    #[tokio::test(start_paused = true)]
    async fn writing_keeps_a_silent_reader_and_silence_both_ways_does_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut read, mut write) = tokio::io::split(Watched::new(near, LIMIT, IDLE));
        let silent = tokio::spawn(async move { read.read_u8().await });
        let started = Instant::now();
        let mut byte = [0];
        for _ in 0..10 {
            tokio::time::sleep(IDLE / 2).await;
            write.write_all(b".").await.expect("written");
            far.read_exact(&mut byte).await.expect("read");
        }
        assert_eq!(silent.await.expect("ended").expect_err("idle").kind(), ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), IDLE * 6);
    }
}
