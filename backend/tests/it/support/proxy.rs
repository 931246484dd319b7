//! Something between a program and PostgreSQL that can fall silent: connections stay open and nothing comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::postgres::{TestDatabase, shared};

/// Passes everything on, except to those who listen for notifications while it is mute.
pub(crate) struct Proxy {
    folder: TempDir,
    mute: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of the shared server.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let mute = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&mute);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, Arc::clone(&told)));
            }
        });
        Self { folder, mute }
    }

    /// The same database by way of this.
    pub(crate) fn database(&self, database: &TestDatabase) -> TestDatabase {
        let server = shared().socket();
        let folder = server.parent().unwrap().display().to_string();
        TestDatabase { url: database.url.replace(&folder, &self.folder.path().display().to_string()) }
    }

    pub(crate) fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }
}

async fn pass(client: UnixStream, mute: Arc<AtomicBool>) {
    let server = UnixStream::connect(shared().socket()).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let listens = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&listens);
    let up = copy(from_client, to_server, move |bytes| {
        if bytes.windows(6).any(|word| word == b"LISTEN") {
            seen.store(true, Ordering::SeqCst);
        }
        true
    });
    let down = copy(from_server, to_client, move |_| {
        !(listens.load(Ordering::SeqCst) && mute.load(Ordering::SeqCst))
    });
    tokio::select! {
        _ended = up => {}
        _ended = down => {}
    }
}

/// Passes on what `look` lets through; the rest is lost.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut look: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if look(&buffer[..read]) {
            to.write_all(&buffer[..read]).await?;
        }
    }
}
