//! Lines of bounded length from a socket.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Why there is no further line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is longer than the reader takes.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads lines. [`Lines::next`] may be cancelled at any time without losing bytes.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes at the buffer's start that hold no newline.
    searched: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most `limit` bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, buffer: Vec::new(), searched: 0, limit }
    }

    /// Changes the limit, from the next line on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next line without its newline; `None` at the end. A last line needs no newline.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let end = self.searched + at;
                if end > self.limit {
                    return Err(LineError::TooLong(self.limit));
                }
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > self.limit {
                return Err(LineError::TooLong(self.limit));
            }
            self.buffer.reserve(4096);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                self.searched = 0;
                let line = std::mem::take(&mut self.buffer);
                return Ok((!line.is_empty()).then_some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8], limit: usize) -> Vec<Result<Vec<u8>, ()>> {
        let mut lines = Lines::new(bytes, limit);
        let mut all = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => all.push(Ok(line)),
                Ok(None) => return all,
                Err(_) => {
                    all.push(Err(()));
                    return all;
                }
            }
        }
    }

    #[tokio::test]
    async fn lines_are_split_and_the_last_needs_no_newline() {
        assert_eq!(read_all(b"a\n\nbc", 10).await, [Ok(b"a".to_vec()), Ok(vec![]), Ok(b"bc".to_vec())]);
        assert_eq!(read_all(b"", 10).await, []);
    }

    #[tokio::test]
    async fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(read_all(b"abc\nabcd\n", 3).await, [Ok(b"abc".to_vec()), Err(())]);
        assert_eq!(read_all(&[b'x'; 100_000], 5000).await, [Err(())]);
    }
}
