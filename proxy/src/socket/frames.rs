//! Frames of a waiter's WebSocket (RFC 6455 §5). Pure: bytes in, meaning out; no more is kept than one message.

/// Clients send pings and acks only.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// RFC 6455 §5.5.
const MAX_CONTROL_BYTES: usize = 125;
/// The longest header that a server writes: two bytes and a length of eight.
const MAX_HEADER_BYTES: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    Text(&'a str),
    Binary,
    /// A message goes on.
    Fragment,
    Ping(&'a [u8]),
    Pong,
    Close(Option<u16>),
}

/// Why a client is not listened to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the client breaks the framing of RFC 6455")]
    Protocol,
    #[error("the client sends text that is not UTF-8")]
    NotUtf8,
    #[error("the client sends more than {MAX_MESSAGE_BYTES} bytes in a message")]
    TooBig,
}

impl Violation {
    /// RFC 6455 §7.4.1.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooBig => 1009,
        }
    }
}

/// One frame from the server, built in place: the payload is written behind room for the longest header.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// The whole frame; it lives until the next one is built.
    pub fn build(&mut self, opcode: Opcode, payload: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.bytes.clear();
        self.bytes.resize(MAX_HEADER_BYTES, 0);
        payload(&mut self.bytes);
        let length = self.bytes.len().saturating_sub(MAX_HEADER_BYTES);
        let first = 0x80 | opcode as u8;
        let mut header = [0; MAX_HEADER_BYTES];
        let [.., a, b, c, d] = &mut header;
        let used = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ ..=125), _) => {
                (*c, *d) = (first, length);
                2
            }
            (_, Ok(length)) => {
                (*a, *b) = (first, 126);
                [*c, *d] = length.to_be_bytes();
                4
            }
            _ => {
                let [h0, h1, rest @ ..] = &mut header;
                (*h0, *h1) = (first, 127);
                *rest = (length as u64).to_be_bytes();
                MAX_HEADER_BYTES
            }
        };
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = header;
        }
        self.bytes.get(MAX_HEADER_BYTES - used..).unwrap_or_default()
    }
}

/// A frame of its own, for what is rare.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Box<[u8]> {
    FrameBuffer::default().build(opcode, |bytes| bytes.extend_from_slice(payload)).into()
}

pub fn close_frame(code: u16) -> Box<[u8]> {
    frame(Opcode::Close, &code.to_be_bytes())
}

/// Reads what a client sends, however it is cut into pieces.
#[derive(Debug, Default)]
pub struct Reader {
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// The beginning of a message that comes in several frames.
    message: Option<Message>,
    closed: bool,
}

#[derive(Debug)]
struct Message {
    is_text: bool,
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes in what came; `bytes` are unmasked in place. Nothing is heard behind a close.
    pub fn take(&mut self, bytes: &mut [u8], mut hear: impl FnMut(Heard<'_>)) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, &mut hear)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let used = self.frames(&mut partial, &mut hear)?;
            if used < partial.len() {
                partial.drain(..used);
                self.partial = partial;
            }
        }
        Ok(())
    }

    /// Reads all whole frames; how many bytes they had.
    fn frames(&mut self, bytes: &mut [u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<usize, Violation> {
        let mut used = 0;
        while !self.closed
            && let Some(rest) = bytes.get_mut(used..)
            && let Some(header) = Header::read(rest)?
        {
            self.check(&header)?;
            let Some(payload) = rest.get_mut(header.bytes..header.bytes + header.length) else { break };
            unmask(payload, header.mask);
            self.frame(&header, payload, hear)?;
            used += header.bytes + header.length;
        }
        Ok(if self.closed { bytes.len() } else { used })
    }

    /// What a header alone says, before its payload is waited for.
    fn check(&self, header: &Header) -> Result<(), Violation> {
        let begun = self.message.as_ref();
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong
                if !header.is_last || header.length > MAX_CONTROL_BYTES =>
            {
                Err(Violation::Protocol)
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
            Opcode::Continuation if begun.is_none() => Err(Violation::Protocol),
            Opcode::Text | Opcode::Binary if begun.is_some() => Err(Violation::Protocol),
            _ if begun.map_or(0, |message| message.bytes.len()) + header.length > MAX_MESSAGE_BYTES => {
                Err(Violation::TooBig)
            }
            _ => Ok(()),
        }
    }

    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), Violation> {
        match header.opcode {
            Opcode::Ping => hear(Heard::Ping(payload)),
            Opcode::Pong => hear(Heard::Pong),
            Opcode::Close => {
                self.closed = true;
                hear(Heard::Close(close_code(payload)?));
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.data(header, payload, hear)?,
        }
        Ok(())
    }

    fn data(
        &mut self,
        header: &Header,
        payload: &[u8],
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), Violation> {
        let whole = |is_text: bool, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)| {
            hear(if is_text { Heard::Text(utf8(bytes)?) } else { Heard::Binary });
            Ok(())
        };
        let Some(mut message) = self.message.take() else {
            let is_text = header.opcode == Opcode::Text;
            if header.is_last {
                return whole(is_text, payload, hear);
            }
            self.message = Some(Message { is_text, bytes: payload.to_vec() });
            hear(Heard::Fragment);
            return Ok(());
        };
        message.bytes.extend_from_slice(payload);
        if header.is_last {
            return whole(message.is_text, &message.bytes, hear);
        }
        self.message = Some(message);
        hear(Heard::Fragment);
        Ok(())
    }
}

/// The header of a client's frame.
struct Header {
    is_last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Of the header itself.
    bytes: usize,
    /// Of the payload.
    length: usize,
}

impl Header {
    /// `None`: not all of it has come.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        // Reserved bits belong to extensions, and none was agreed on; clients mask what they send.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Violation::Protocol);
        }
        let opcode = Opcode::read(first & 0x0f)?;
        let (length, rest) = match (second & 0x7f, rest) {
            (126, &[high, low, ref rest @ ..]) => match u16::from_be_bytes([high, low]) {
                ..=125 => return Err(Violation::Protocol),
                length => (usize::from(length), rest),
            },
            (126, _) => return Ok(None),
            // At least 64 KiB.
            (127, _) => return Err(Violation::TooBig),
            (length, rest) => (usize::from(length), rest),
        };
        let Some((&mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self { is_last: first & 0x80 != 0, opcode, mask, bytes: bytes.len() - rest.len(), length }))
    }
}

impl Opcode {
    fn read(bits: u8) -> Result<Self, Violation> {
        let all = [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];
        all.into_iter().find(|opcode| *opcode as u8 == bits).ok_or(Violation::Protocol)
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(bytes).map_err(|_| Violation::NotUtf8)
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    utf8(reason)?;
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Some(code)),
        _ => Err(Violation::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame: the first byte as it stands, the payload masked.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = match payload.len() {
            length @ ..=125 => vec![first, 0x80 | length as u8],
            length => [vec![first, 0xfe], (length as u16).to_be_bytes().to_vec()].concat(),
        };
        let mask = [7, 0, 255, 42];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn read(pieces: &[Vec<u8>]) -> Result<Vec<String>, Violation> {
        let (mut reader, mut said) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.take(&mut piece.clone(), |heard| said.push(format!("{heard:?}")))?;
        }
        Ok(said)
    }

    #[test]
    fn a_message_in_fragments_is_heard_whole_with_a_ping_between_them() {
        let pieces =
            [masked(0x01, b"one "), masked(0x89, b"?"), masked(0x00, b"two "), masked(0x80, b"three")];
        let said = ["Fragment", "Ping([63])", "Fragment", "Text(\"one two three\")"].map(String::from);
        assert_eq!(read(&pieces), Ok(said.to_vec()));
    }

    #[test]
    fn nothing_is_heard_behind_a_close() {
        let pieces = [masked(0x88, &1001_u16.to_be_bytes()), masked(0x81, b"late"), vec![0xff, 0xff]];
        assert_eq!(read(&pieces), Ok(vec!["Close(Some(1001))".into()]));
        assert_eq!(read(&[masked(0x88, b"")]), Ok(vec!["Close(None)".into()]));
    }

    #[test]
    fn broken_frames_end_the_conversation_with_the_code_of_the_rfc() {
        let long = vec![b'x'; MAX_MESSAGE_BYTES / 2 + 1];
        for (what, pieces, code) in [
            ("not masked", vec![vec![0x81, 0x01, b'x']], 1002),
            ("a reserved bit", vec![masked(0xc1, b"x")], 1002),
            ("an unknown opcode", vec![masked(0x83, b"x")], 1002),
            ("a ping in fragments", vec![masked(0x09, b"x")], 1002),
            ("a long ping", vec![masked(0x89, &[0; 126])], 1002),
            ("a continuation of nothing", vec![masked(0x80, b"x")], 1002),
            ("a message within a message", vec![masked(0x01, b"x"), masked(0x81, b"x")], 1002),
            ("a length longer than need be", vec![vec![0x81, 0xfe, 0, 5, 0, 0, 0, 0]], 1002),
            ("half a close code", vec![masked(0x88, &[3])], 1002),
            ("a close code that is not to be sent", vec![masked(0x88, &1005_u16.to_be_bytes())], 1002),
            ("no UTF-8", vec![masked(0x81, &[0xff])], 1007),
            ("no UTF-8 in a reason", vec![masked(0x88, &[3, 232, 0xff])], 1007),
            ("no UTF-8 over two fragments", vec![masked(0x01, &[0xc3]), masked(0x80, b"x")], 1007),
            ("a frame of 64 KiB", vec![vec![0x81, 0xff]], 1009),
            ("a header that announces too much", vec![vec![0x81, 0xfe, 0x20, 0, 0, 0, 0, 0]], 1009),
            ("fragments that are too much together", vec![masked(0x01, &long), masked(0x80, &long)], 1009),
        ] {
            assert_eq!(read(&pieces).map_err(Violation::close_code), Err(code), "{what}");
        }
    }

    #[test]
    fn a_frame_has_the_shortest_header_for_its_length() {
        let mut buffer = FrameBuffer::default();
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![b'x'; length];
            let built = buffer.build(Opcode::Text, |bytes| bytes.extend_from_slice(&payload));
            assert_eq!(built, [header, payload].concat(), "{length}");
        }
        assert_eq!(&close_frame(1012)[..], [0x88, 2, 0x03, 0xf4]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_same_is_heard(
            texts in prop::collection::vec("[a-zäöü]{0,200}", 1..6),
            cuts in prop::collection::vec(1_usize..40, 1..200),
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| masked(0x81, text.as_bytes())).collect();
            let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            let whole: Vec<String> = texts.iter().map(|text| format!("Text({text:?})")).collect();
            prop_assert_eq!(read(&pieces), Ok(whole));
        }

        #[test]
        fn whatever_comes_no_more_than_a_message_and_what_came_last_is_kept(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..40),
        ) {
            let mut reader = Reader::default();
            for mut piece in pieces {
                if reader.take(&mut piece, |_| {}).is_err() {
                    break;
                }
                prop_assert!(reader.partial.len() <= MAX_MESSAGE_BYTES + 8);
            }
        }
    }
}
