use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// What a task that owns the connection would be given, until there is nothing to do.
fn collect(mailbox: &Mailbox) -> Vec<Mail> {
    let cx = Context::from_waker(std::task::Waker::noop());
    let mut mails = Vec::new();
    while let Poll::Ready(mail) = mailbox.poll_mail(&cx) {
        let is_last = !matches!(mail, Mail::Frame(_));
        mails.push(mail);
        if is_last {
            break;
        }
    }
    mails
}

fn text(text: &str) -> Mail {
    Mail::Frame(text.as_bytes().into())
}

fn errand(mailbox: &Mailbox) -> Errand {
    mailbox.poll_errand(&Context::from_waker(std::task::Waker::noop()))
}

/// A connection that takes little before its reader reads.
async fn narrow() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = TcpSocket::new_v4().unwrap();
    reader.set_recv_buffer_size(4096).unwrap();
    let reader = reader.connect(listener.local_addr().unwrap()).await.unwrap();
    let line = listener.accept().await.unwrap().0;
    socket2::SockRef::from(&line).set_send_buffer_size(4096).unwrap();
    line.writable().await.unwrap();
    (line, reader)
}

#[test]
fn a_slow_reader_gets_the_turn_then_only_the_newest_update_then_the_close() {
    let mailbox = Mailbox::default();
    mailbox.update(b"old");
    mailbox.update(b"new");
    mailbox.urgent(WsType::Turn, b"turn");
    mailbox.close(1012);
    assert_eq!(collect(&mailbox), [text("turn"), text("new"), Mail::Close(Farewell::Ours(1012))]);
}

#[test]
fn nothing_is_said_after_the_goodbye() {
    let mailbox = Mailbox::default();
    for code in [1012, 1013] {
        mailbox.urgent(WsType::Bye, b"bye");
        mailbox.close(code);
        mailbox.update(b"late");
    }
    assert_eq!(collect(&mailbox), [text("bye"), Mail::Close(Farewell::Ours(1012))]);
}

#[test]
fn a_reader_who_never_reads_is_closed_instead_of_growing() {
    let mailbox = Mailbox::default();
    for _ in 0..100 {
        mailbox.urgent(WsType::Turn, b"turn");
    }
    let mails = collect(&mailbox);
    assert_eq!(mails.len(), MAX_URGENT + 1);
    assert_eq!(mails.last(), Some(&Mail::Close(Farewell::Ours(1013))));
}

#[tokio::test]
async fn a_frame_goes_to_the_connection_at_once_and_what_waited_for_it_before() {
    let (line, mut reader) = narrow().await;
    let mailbox = Mailbox::default();
    mailbox.urgent(WsType::Ticket, b"early ");
    mailbox.connect(line);
    mailbox.update(b"now");
    let mut read = [0; 9];
    tokio::time::timeout(Duration::from_secs(5), reader.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"early now");
    assert_eq!(errand(&mailbox), Errand::Nothing);
}

#[tokio::test]
async fn behind_a_full_connection_turns_are_kept_whole_frames_stay_whole_and_only_the_newest_update_comes() {
    const FRAME: usize = 600;
    let frame = |byte: u8| vec![byte; FRAME];
    let (line, mut reader) = narrow().await;
    let mailbox = Mailbox::default();
    let line = mailbox.connect(line);
    let mut posted = 0;
    while errand(&mailbox) == Errand::Nothing {
        mailbox.update(&frame(b'u'));
        posted += 1;
        assert!(posted < 1_000, "a narrow connection must fill up");
    }
    for late in [b'x', b'y', b'z'] {
        mailbox.update(&frame(late));
    }
    mailbox.urgent(WsType::Turn, &frame(b't'));
    mailbox.close(1012);
    assert_eq!(errand(&mailbox), Errand::Flush);

    let mut read = Vec::new();
    let flushed = async {
        while errand(&mailbox) == Errand::Flush {
            tokio::select! {
                read = reader.read_buf(&mut read) => assert!(read.unwrap() > 0),
                room = line.writable() => {
                    room.unwrap();
                    mailbox.flush();
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), flushed).await.expect("a reader who reads gets everything");
    assert_eq!(errand(&mailbox), Errand::Close(Farewell::Ours(1012)));
    drop(mailbox);
    reader.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len() % FRAME, 0);
    assert!(read.chunks(FRAME).all(|frame| frame.iter().all(|byte| *byte == frame[0])), "a frame was torn");
    let mut order: Vec<u8> = read.chunks(FRAME).map(|frame| frame[0]).collect();
    order.dedup();
    assert_eq!(order, b"utz");
}

#[tokio::test]
async fn whoever_is_silent_is_asked_and_after_a_minute_gone() {
    let (line, mut reader) = narrow().await;
    let mailbox = Mailbox::default();
    mailbox.hears(100);
    mailbox.connect(line);
    for asked_at in [125, 150] {
        mailbox.ask(asked_at);
        let mut ping = [0; 2];
        tokio::time::timeout(Duration::from_secs(5), reader.read_exact(&mut ping)).await.unwrap().unwrap();
        assert_eq!((ping, errand(&mailbox)), ([0x89, 0], Errand::Nothing), "{asked_at}");
    }
    mailbox.ask(175);
    assert_eq!(errand(&mailbox), Errand::End);
}

#[tokio::test]
async fn a_connection_that_is_lost_takes_nothing_and_ends_its_task() {
    let (line, reader) = narrow().await;
    socket2::SockRef::from(&reader).set_linger(Some(Duration::ZERO)).unwrap();
    let mailbox = Mailbox::default();
    let line = mailbox.connect(line);
    drop(reader);
    line.readable().await.unwrap();
    for _ in 0..3 {
        mailbox.update(b"anybody?");
    }
    assert_eq!(errand(&mailbox), Errand::End);
}
