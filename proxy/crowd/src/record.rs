//! What a worker process tells the one that started it: a stream of records, each behind its length, so that one that
//! was cut is noticed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::args::RunArgs;
use crate::herd::tally::Tally;
use crate::histogram::Histogram;
use crate::meter::Census;
use crate::schedule::Shard;
use crate::story::Story;
use room::time::Micros;

/// What a worker is to do: the first line of its stdin, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub args: RunArgs,
    pub shard: Shard,
    pub began: Micros,
}

/// In binary, on its stdout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Twice a second.
    Census(Census),
    /// One visitor, when the run is over.
    Story(Box<Story>),
    /// The last one.
    Done(Box<Totals>),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub census: Census,
    pub forgotten: u64,
    pub tally: Tally,
    pub latencies: Histogram,
    pub errors: BTreeMap<String, u64>,
    pub log_lines_dropped: u64,
}

/// A story is bounded; nothing is longer.
const MAX_BYTES: u32 = 1 << 20;

impl Record {
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let bytes = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_BYTES);
        let length = length.ok_or_else(|| io::Error::other("a record is too long"))?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&bytes)
    }

    /// The next one; the end of the stream is an error, as [`Record::Done`] comes before it.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes)?;
        postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Span;
    use crate::story::{End, Entry, Loss, Place, Purchase, Sighting, Turn};

    fn story() -> Story {
        let at = |secs| Span::new(Micros::from_secs(secs), Micros::from_secs(secs + 1));
        let ticket = "1f0f0f0f0f0f0f0f0f0f0f0f".parse().unwrap();
        let mut story =
            Story { id: 7, edge: 2, arrival: Some(at(1)), joined: Some(at(2)), ..Story::default() };
        story.place =
            Some(Place { visitor: "0f0f0f0f0f0f0f0f0f0f0f0f".parse().unwrap(), ticket, stamp: Micros(9) });
        story.turn = Some(Turn { seen: Micros(11), expires: None });
        let entry = Entry { span: at(4), at_once: false, ticket: Some(ticket), expires: None, ended: None };
        story.entries.push(entry);
        story.sightings.push(Sighting { as_of: Micros(10), position: 3, held: true });
        story.purchases.push(Purchase { qty: 2, orders: ["a".into()].into(), ..Purchase::default() });
        story.losses.push(Loss::Restamped);
        story.ungated("/api");
        story.broke(Micros(12));
        story.cadence.worst_late = Duration::from_micros(1234);
        story.end = End::Left;
        story
    }

    #[test]
    fn whatever_a_visitor_saw_arrives_as_it_was() {
        let mut tally = Tally::default();
        tally.lag.record(Duration::from_millis(7));
        let totals = Totals { tally, errors: [("connect".into(), 3)].into(), ..Totals::default() };
        let records = [
            Record::Census(Census { sockets: -1, ..Census::default() }),
            Record::Story(Box::new(story())),
            Record::Done(Box::new(totals)),
        ];
        let mut stream = Vec::new();
        for record in &records {
            record.write(&mut stream).unwrap();
        }
        let mut rest = stream.as_slice();
        for record in &records {
            assert_eq!(Record::read(&mut rest).unwrap(), *record);
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_stream_that_was_cut_is_no_record() {
        let mut stream = Vec::new();
        Record::Story(Box::new(story())).write(&mut stream).unwrap();
        for cut in [0, 2, 4, stream.len() - 1] {
            assert!(Record::read(&mut &stream[..cut]).is_err(), "{cut}");
        }
        let mut huge = u32::MAX.to_le_bytes().to_vec();
        huge.extend([0; 64]);
        assert_eq!(Record::read(&mut huge.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
