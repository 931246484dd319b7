//! Listeners that pass from a running edge to its successor, so that no connection is refused meanwhile.
//!
//! The successor is started first (`--upgrade`). When it could serve, it waits at a unix socket. The running edge,
//! told by SIGQUIT, connects there, sends its listeners along with one line, and stops once the answer is `taken`.
//! The listening sockets themselves are never closed: whoever connects is taken by one of the two processes. Whatever
//! goes wrong before that answer, the running edge goes on.

use std::fs;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::config::settings::Settings;
use crate::edge;

use super::ServeError;

/// How long a running edge looks for its successor.
const KNOCK_FOR: Duration = Duration::from_secs(5);
const KNOCK_EVERY: Duration = Duration::from_millis(100);
/// How long a successor waits for the running edge.
const WAIT_FOR: Duration = Duration::from_secs(60);
/// For one message of the other side, once it is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What comes with the listeners; a later layout has another number.
const OFFER: &[u8] = b"vestibule listeners 1: site, operator\n";
const TAKEN: &str = "taken\n";
const MAX_ANSWER_BYTES: u64 = 1024;

/// What an edge accepts connections on.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) site: TcpListener,
    pub(super) operator: TcpListener,
}

/// Why listeners did not change hands.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("{path} cannot be the upgrade socket: {cause}; --upgrade-socket names another place")]
    Socket { path: PathBuf, cause: io::Error },
    #[error("{0} is there and is no socket; --upgrade-socket names another place")]
    Occupied(PathBuf),
    #[error("another successor waits at {0} already")]
    Rival(PathBuf),
    #[error(
        "no running edge came to {path} within {waited:?}: send it SIGQUIT, with the same --upgrade-socket"
    )]
    NobodyCame { path: PathBuf, waited: Duration },
    #[error(
        "no successor waits at {path} after {waited:?}: start one with --upgrade and the same --upgrade-socket"
    )]
    NoSuccessor { path: PathBuf, waited: Duration },
    #[error("the process at the other end runs as user {theirs}, not as {ours}")]
    Stranger { theirs: u32, ours: u32 },
    #[error(
        "the running edge listens on {theirs}, but `{setting}` is {ours}: an upgrade keeps the address; to change it, \
         restart"
    )]
    OtherAddress { setting: &'static str, theirs: SocketAddr, ours: SocketAddr },
    #[error("the successor did not take the listeners: {0}")]
    Refused(String),
    #[error("the other end does not speak this protocol: are both a vestibule?")]
    Protocol,
    #[error("the other end was lost: {0}")]
    Lost(#[from] io::Error),
}

impl Listeners {
    pub(super) fn bind(settings: &Settings) -> Result<Self, ServeError> {
        let bind = |address| edge::bind(address).map_err(|cause| ServeError::Listen { address, cause });
        Ok(Self { site: bind(settings.server.listen)?, operator: bind(settings.operator.listen)? })
    }

    /// The same sockets once more: they stay open until both are dropped.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { site: self.site.try_clone()?, operator: self.operator.try_clone()? })
    }

    fn from_descriptors(descriptors: Vec<OwnedFd>) -> Result<Self, HandoverError> {
        let Ok([site, operator]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return Err(HandoverError::Protocol);
        };
        let listeners = Self { site: site.into(), operator: operator.into() };
        for listener in [&listeners.site, &listeners.operator] {
            if !SockRef::from(listener).is_listener()? {
                return Err(HandoverError::Protocol);
            }
            listener.set_nonblocking(true)?;
        }
        Ok(listeners)
    }

    /// Whether these are the addresses that `settings` ask for; a port 0 asks for any.
    fn fit(&self, settings: &Settings) -> Result<(), HandoverError> {
        let pairs = [
            ("server.listen", self.site.local_addr()?, settings.server.listen),
            ("operator.listen", self.operator.local_addr()?, settings.operator.listen),
        ];
        let other = pairs.into_iter().find(|(_, theirs, ours)| {
            theirs.ip() != ours.ip() || (ours.port() != 0 && theirs.port() != ours.port())
        });
        match other {
            None => Ok(()),
            Some((setting, theirs, ours)) => Err(HandoverError::OtherAddress { setting, theirs, ours }),
        }
    }
}

/// Gives the listeners to the successor that waits, or comes to wait, at `path`. An error leaves them here.
pub(super) async fn give(path: &Path, listeners: &Listeners) -> Result<(), HandoverError> {
    let knocked = timeout(KNOCK_FOR, knock(path)).await;
    let no_successor = |_| HandoverError::NoSuccessor { path: path.to_owned(), waited: KNOCK_FOR };
    let mut stream = knocked.map_err(no_successor)??;
    trust(&stream)?;
    let answer = async {
        send(&stream, listeners).await?;
        let mut answer = String::new();
        (&mut stream).take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match timeout(ANSWER_WITHIN, answer).await.map_err(io::Error::from)?? {
        answer if answer == TAKEN => Ok(()),
        answer if answer.is_empty() => Err(HandoverError::Lost(ErrorKind::UnexpectedEof.into())),
        answer => Err(HandoverError::Refused(answer.trim_end().to_owned())),
    }
}

async fn knock(path: &Path) -> Result<UnixStream, HandoverError> {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if is_vacant(&error) => sleep(KNOCK_EVERY).await,
            Err(cause) => return Err(HandoverError::Socket { path: path.to_owned(), cause }),
        }
    }
}

/// Nobody listens there: no file, or one that outlived its process.
fn is_vacant(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Listeners go to, and come from, processes of the same user only.
fn trust(stream: &UnixStream) -> Result<(), HandoverError> {
    let theirs = stream.peer_cred()?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if theirs == ours { Ok(()) } else { Err(HandoverError::Stranger { theirs, ours }) }
}

/// The running edge, which waits to hear that it may go.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// Says that the listeners are in use here.
    pub(super) async fn relieve(mut self) -> Result<(), HandoverError> {
        self.0.write_all(TAKEN.as_bytes()).await?;
        Ok(self.0.shutdown().await?)
    }

    async fn refuse(mut self, reason: &HandoverError) {
        // It goes on in any case.
        let _ = timeout(ANSWER_WITHIN, self.0.write_all(format!("{reason}\n").as_bytes())).await;
    }
}

/// Waits at `path` for the running edge and takes its listeners, if they are those of `settings`.
pub(super) async fn take(
    path: &Path,
    settings: &Settings,
) -> Result<(Listeners, Predecessor), HandoverError> {
    let place = Place::open(path)?;
    tracing::info!(socket = %path.display(), "waiting for the running edge: send it SIGQUIT");
    let offered = timeout(WAIT_FOR, place.offer()).await;
    let nobody = |_| HandoverError::NobodyCame { path: path.to_owned(), waited: WAIT_FOR };
    let (listeners, predecessor) = offered.map_err(nobody)??;
    if let Err(error) = listeners.fit(settings) {
        predecessor.refuse(&error).await;
        return Err(error);
    }
    Ok((listeners, predecessor))
}

/// The socket at which a successor waits. Its file goes with it.
struct Place {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A file that stays is replaced by the next successor.
        let _ = fs::remove_file(&self.path);
    }
}

impl Place {
    fn open(path: &Path) -> Result<Self, HandoverError> {
        let socket = |cause| HandoverError::Socket { path: path.to_owned(), cause };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(HandoverError::Occupied(path.to_owned()));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(HandoverError::Rival(path.to_owned()));
            }
            _ => {}
        }
        if let Some(folder) = path.parent() {
            // One that is there already, or cannot be made, shows with the next step.
            let _ = fs::DirBuilder::new().mode(0o700).create(folder);
        }
        // Only once nobody else may connect does it get its name, in place of one that was left behind.
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(socket)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(socket)?;
        fs::rename(&new, path).map_err(socket)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The first whole offer of somebody who may make one.
    async fn offer(&self) -> Result<(Listeners, Predecessor), HandoverError> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            match timeout(ANSWER_WITHIN, receive(&stream)).await.map_err(io::Error::from).map_err(Into::into)
            {
                Ok(Ok(listeners)) => return Ok((listeners, Predecessor(stream))),
                Ok(Err(error)) | Err(error) => {
                    tracing::warn!(%error, "an offer of listeners was passed over");
                }
            }
        }
    }
}

async fn send(stream: &UnixStream, listeners: &Listeners) -> io::Result<()> {
    let descriptors = [listeners.site.as_fd(), listeners.operator.as_fd()];
    let sent = stream.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        // The space is made for exactly this.
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        Ok(sendmsg(stream, &[IoSlice::new(OFFER)], &mut control, SendFlags::NOSIGNAL)?)
    });
    // A socket without any traffic takes so few bytes as a whole.
    if sent.await? == OFFER.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

async fn receive(stream: &UnixStream) -> Result<Listeners, HandoverError> {
    trust(stream)?;
    let mut offer = [0; OFFER.len() + 1];
    let received = stream.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message =
            recvmsg(stream, &mut [IoSliceMut::new(&mut offer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok((message.bytes, descriptors))
    });
    let (length, descriptors) = received.await?;
    if offer.get(..length) != Some(OFFER) {
        return Err(HandoverError::Protocol);
    }
    Listeners::from_descriptors(descriptors)
}
