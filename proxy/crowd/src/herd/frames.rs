//! WebSocket frames as a waiting room sends them: read where they lie, nothing is copied.

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// With its code, if there was one.
    Close(Option<u16>),
}

/// Bytes that no waiting room sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a server's frame is masked")]
    Masked,
    #[error("a frame of kind {0:#x}, or in pieces")]
    Kind(u8),
    #[error("a frame of more than {MAX_BYTES} bytes")]
    TooLong,
}

const MAX_BYTES: u64 = 64 << 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// Payloads of control frames are short by nature.
const MAX_CONTROL: usize = 125;

/// The first frame and its length on the wire; `None` while it is not whole.
pub fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let [kind, length, rest @ ..] = bytes else { return Ok(None) };
    if length & MASKED != 0 {
        return Err(FrameError::Masked);
    }
    let Some((length, head)) = payload_length(*length, rest) else { return Ok(None) };
    if length > MAX_BYTES {
        return Err(FrameError::TooLong);
    }
    let end = head + length as usize;
    let Some(payload) = bytes.get(head..end) else { return Ok(None) };
    let frame = match kind ^ FINAL {
        TEXT => Frame::Text(payload),
        PING => Frame::Ping(payload),
        PONG => Frame::Pong,
        CLOSE => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        _ => return Err(FrameError::Kind(*kind)),
    };
    Ok(Some((frame, end)))
}

/// The payload's length, and where it begins.
fn payload_length(short: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match short {
        126 => Some((u16::from_be_bytes(*rest.first_chunk()?).into(), 4)),
        127 => Some((u64::from_be_bytes(*rest.first_chunk()?), 10)),
        short => Some((short.into(), 2)),
    }
}

/// The answer to a ping: the same payload, masked as clients must.
pub fn pong(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    let mut frame = Vec::with_capacity(6 + payload.len());
    frame.extend([FINAL | PONG, MASKED | payload.len() as u8]);
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Vec<u8> {
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(length as u8),
            126..65_536 => frame.extend([&[126], &(length as u16).to_be_bytes()[..]].concat()),
            _ => frame.extend([&[127], &(length as u64).to_be_bytes()[..]].concat()),
        }
        frame.extend(std::iter::repeat_n(b'x', length));
        frame
    }

    #[test]
    fn frames_of_every_length_are_read_once_they_are_whole() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let bytes = text(length);
            let (frame, used) = first(&bytes).unwrap().unwrap();
            assert_eq!((frame, used), (Frame::Text(&vec![b'x'; length]), bytes.len()));
            for cut in [0, 1, 2, bytes.len() - 1] {
                assert!(cut == bytes.len() || first(&bytes[..cut]) == Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_second_frame_begins_where_the_first_ends() {
        let bytes = [text(3), vec![0x88, 2, 0x03, 0xf4]].concat();
        let (_, used) = first(&bytes).unwrap().unwrap();
        assert_eq!(first(&bytes[used..]), Ok(Some((Frame::Close(Some(1012)), 4))));
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        assert_eq!(first(&[0x81, 0x80]), Err(FrameError::Masked));
        assert_eq!(first(&[0x01, 0]), Err(FrameError::Kind(0x01)), "a first piece");
        assert_eq!(first(&[0x80, 0]), Err(FrameError::Kind(0x80)), "a last piece");
        assert_eq!(first(&text(65_537)), Err(FrameError::TooLong));
    }

    #[test]
    fn a_pong_carries_the_payload_of_the_ping_masked() {
        assert_eq!(pong(b"ab", [1, 2, 3, 4]), [0x8a, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
    }
}
