//! A socket on a connection that one task must own, as TLS: the task sends what the mailbox keeps for it.

use std::future::poll_fn;
use std::io;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::mailbox::{Farewell, Mail, Mailbox};

use super::{CLOSE_PATIENCE, Client, LastWords, SEND_PATIENCE};

const READ_BYTES: usize = 512;

/// Serves the socket until it is over.
pub(super) async fn run(mut stream: Stream, mut arrived: Vec<u8>, mailbox: &Mailbox) {
    let mut client = Client::default();
    if client.take(&mut arrived, mailbox).is_err() {
        return;
    }
    drop(arrived);
    let mut bytes = vec![0; READ_BYTES];
    loop {
        tokio::select! {
            mail = poll_fn(|cx| mailbox.poll_mail(cx)) => match mail {
                Mail::Frame(frame) if send(&mut stream, &frame).await => {}
                Mail::Frame(_) | Mail::End => return,
                Mail::Close(farewell) => return part(stream, farewell).await,
            },
            read = stream.read(&mut bytes) => {
                let Ok(count @ 1..) = read else { return };
                if client.take(bytes.get_mut(..count).unwrap_or_default(), mailbox).is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether it was sent.
async fn send(stream: &mut Stream, bytes: &[u8]) -> bool {
    let sent = timeout(SEND_PATIENCE, async {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        io::Result::Ok(())
    });
    matches!(sent.await, Ok(Ok(())))
}

/// Says goodbye; if the client has not done so, reads on until it has.
async fn part(mut stream: Stream, farewell: Farewell) {
    if !send(&mut stream, &farewell.frame()).await || !farewell.awaits_answer() {
        return;
    }
    let hear_out = async {
        let (mut last, mut bytes) = (LastWords::default(), [0; READ_BYTES]);
        while let Ok(count) = stream.read(&mut bytes).await {
            if last.end_with(bytes.get_mut(..count).unwrap_or_default()) {
                return;
            }
        }
    };
    // The connection ends either way.
    let _ = timeout(CLOSE_PATIENCE, hear_out).await;
}
