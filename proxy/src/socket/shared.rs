//! A socket on a plain connection, to which whoever has something to say writes directly.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use crate::mailbox::{Errand, Farewell, Mailbox};

use super::{CLOSE_PATIENCE, Client, LastWords, Over, SEND_PATIENCE};

/// A frame of a waiter has a dozen bytes.
const READ_BYTES: usize = 512;
/// The kernel keeps about twice this for a reader who does not read; the next update is then the newest.
const UNSENT_BYTES: usize = 8 * 1024;

/// Serves the socket until it is over.
pub(super) async fn run(line: TcpStream, mut arrived: Vec<u8>, mailbox: &Mailbox) {
    // The default serves as well; it only holds more of what nobody will read.
    let _ = socket2::SockRef::from(&line).set_send_buffer_size(UNSENT_BYTES);
    let line = mailbox.connect(line);
    let mut client = Client::default();
    if client.take(&mut arrived, mailbox).is_err() {
        return;
    }
    drop(arrived);
    let mut attendance = Attendance { line, mailbox, client, patience: None };
    if let Ok(farewell) = poll_fn(|cx| attendance.poll(cx)).await {
        drop(attendance);
        // A waiter costs no more because some day it will part.
        Box::pin(part(line, farewell)).await;
    }
}

struct Attendance<'a> {
    line: &'a TcpStream,
    mailbox: &'a Mailbox,
    client: Client,
    /// Runs out for a reader who does not read.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Attendance<'_> {
    /// Ready when the socket is to be closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Farewell, Over>> {
        loop {
            match self.mailbox.poll_errand(cx) {
                Errand::End => return Poll::Ready(Err(Over)),
                Errand::Close(farewell) => return Poll::Ready(Ok(farewell)),
                Errand::Flush => {}
                Errand::Nothing => self.patience = None,
            }
            let (listened, sent) = (self.poll_listen(cx), self.poll_flush(cx));
            if let Poll::Ready(Err(over)) = listened {
                return Poll::Ready(Err(over));
            }
            if let Poll::Ready(Err(over)) = sent {
                return Poll::Ready(Err(over));
            }
            if listened.is_pending() && sent.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_listen(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let mut bytes = [0; READ_BYTES];
        match read(self.line, cx, &mut bytes) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(count @ 1..)) => {
                let said = bytes.get_mut(..count).unwrap_or_default();
                Poll::Ready(self.client.take(said, self.mailbox))
            }
            Poll::Ready(_) => Poll::Ready(Err(Over)),
        }
    }

    /// Ready when something was sent; pending while there is nothing to be sent, too.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.mailbox.poll_errand(cx) != Errand::Flush {
            return Poll::Pending;
        }
        while self.line.poll_write_ready(cx).is_ready() {
            if self.mailbox.flush() {
                self.patience = None;
                return Poll::Ready(Ok(()));
            }
            if self.mailbox.poll_errand(cx) != Errand::Flush {
                return Poll::Ready(Ok(()));
            }
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(SEND_PATIENCE)));
        patience.as_mut().poll(cx).map(|()| Err(Over))
    }
}

/// Says goodbye; if the client has not done so, reads on until it has.
async fn part(line: &TcpStream, farewell: Farewell) {
    let said = timeout(SEND_PATIENCE, write_all(line, &farewell.frame())).await;
    if farewell.awaits_answer() && matches!(said, Ok(Ok(()))) {
        // The connection ends either way.
        let _ = timeout(CLOSE_PATIENCE, hear_out(line)).await;
    }
}

async fn write_all(line: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        line.writable().await?;
        match line.try_write(bytes) {
            Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn hear_out(line: &TcpStream) {
    let (mut last, mut bytes) = (LastWords::default(), [0; READ_BYTES]);
    loop {
        let Ok(count) = poll_fn(|cx| read(line, cx, &mut bytes)).await else { return };
        if last.end_with(bytes.get_mut(..count).unwrap_or_default()) {
            return;
        }
    }
}

fn read(line: &TcpStream, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        std::task::ready!(line.poll_read_ready(cx))?;
        match line.try_read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}
