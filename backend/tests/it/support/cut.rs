//! A line to PostgreSQL that is cut at a given message.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::postgres::TestDatabase;

/// When the line is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the message.
    BeforeItArrives,
    /// The server has answered it, and nobody hears.
    BeforeTheAnswer,
}

/// All connections to `database` go through here.
pub(crate) struct Line {
    pub database: TestDatabase,
    state: Arc<State>,
    _folder: TempDir,
}

#[derive(Default)]
struct State {
    /// Once: the parts that the message holds, all of them.
    next: Mutex<Option<(Vec<Vec<u8>>, Cut)>>,
    cuts: AtomicUsize,
}

impl Line {
    pub(crate) fn to(database: &TestDatabase) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = StdListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let (host, rest) = database.url.strip_prefix("host=").unwrap().split_once(' ').unwrap();
        let (server, state) = (format!("{host}/.s.PGSQL.5432"), Arc::new(State::default()));
        let url = format!("host={} {rest}", folder.path().display());
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let server = UnixStream::connect(&server).await.unwrap();
                    let state = Arc::clone(&state);
                    tokio::spawn(async move { carry(client, server, &state).await });
                }
            }
        });
        Self { database: TestDatabase { url }, state, _folder: folder }
    }

    /// Cuts the connection that carries the next message with all these parts.
    pub(crate) fn cut_at(&self, parts: &[&[u8]], cut: Cut) {
        let parts = parts.iter().map(|part| part.to_vec()).collect();
        *self.state.next.lock().unwrap() = Some((parts, cut));
    }

    pub(crate) fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl State {
    fn cut_of(&self, message: &[u8]) -> Option<Cut> {
        let mut next = self.next.lock().unwrap();
        let holds = |part: &Vec<u8>| message.windows(part.len()).any(|window| window == part);
        let (parts, cut) = next.as_ref()?;
        let cut = parts.iter().all(holds).then_some(*cut)?;
        *next = None;
        self.cuts.fetch_add(1, Ordering::Relaxed);
        Some(cut)
    }
}

/// Until either side ends, or the cut.
async fn carry(mut client: UnixStream, mut server: UnixStream, state: &State) {
    let (mut asked, mut answered) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let message = &asked[..length];
                match state.cut_of(message) {
                    Some(Cut::BeforeItArrives) => return,
                    Some(Cut::BeforeTheAnswer) => {
                        server.write_all(message).await.unwrap();
                        let _swallowed = server.read(&mut answered).await;
                        return;
                    }
                    None if server.write_all(message).await.is_err() => return,
                    None => {}
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
