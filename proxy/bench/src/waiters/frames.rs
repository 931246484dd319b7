//! Frames from a server (RFC 6455 §5.2): never masked, here never in parts.

/// The payload of the first frame, and how many bytes the frame takes; `None` until it is whole.
pub(super) fn next_frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (&[_kind, short], rest) = bytes.split_first_chunk()?;
    let (length, head) = match short {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let end = length.checked_add(head)?;
    Some((bytes.get(head..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        assert_eq!(next_frame(b"\x81\x03abcrest"), Some((&b"abc"[..], 5)));
        assert_eq!(next_frame(b"\x81\x03ab"), None);
        assert_eq!(next_frame(b"\x81"), None);
    }

    #[test]
    fn a_long_frame_says_its_length_in_two_more_bytes() {
        let mut frame = vec![0x81, 126, 1, 0];
        frame.resize(4 + 256, b'x');
        assert_eq!(next_frame(&frame).map(|(text, length)| (text.len(), length)), Some((256, 260)));
    }
}
