//! What a script answers: the head, the length of the line, and its own value.

use redis::{FromRedisValue, Value, from_redis_value};
use room::queue::{
    Arrival, Arrived, Claimed, Control, Event, Head, Place, Renewed, Session, Turn, VersionConflict,
};
use room::time::Micros;
use serde::de::DeserializeOwned;

use crate::{Answer, StoreError};

/// Reads a list of `{kind, numbers...}`.
pub(super) fn items<R>(
    reply: Value,
    read: fn(&str, &[u64]) -> Option<R>,
) -> Result<Answer<Vec<R>>, StoreError> {
    let answer: Answer<Vec<Vec<Value>>> = answer(reply)?;
    let read_one = |item: Vec<Value>| {
        let mut fields = item.into_iter();
        let kind: String = parse(fields.next().unwrap_or(Value::Nil))?;
        let numbers: Vec<u64> = parse(Value::Array(fields.collect()))?;
        read(&kind, &numbers).ok_or_else(|| malformed(&format!("`{kind}` with {numbers:?}")))
    };
    let value: Result<_, _> = answer.value.into_iter().map(read_one).collect();
    Ok(Answer { head: answer.head, waiting: answer.waiting, value: value? })
}

/// Reads an answer that has no value of its own.
pub(super) fn nothing(reply: Value) -> Result<Answer<()>, StoreError> {
    let answer: Answer<Value> = answer(reply)?;
    Ok(Answer { head: answer.head, waiting: answer.waiting, value: () })
}

/// Reads a value that is JSON.
pub(super) fn json<T: DeserializeOwned>(reply: Value) -> Result<T, StoreError> {
    from_json(&answer::<String>(reply)?.value)
}

/// Reads the events that `missed.lua` found.
pub(super) fn events(reply: Value) -> Result<Option<Vec<Event>>, StoreError> {
    let texts: Option<Vec<String>> = parse(reply)?;
    texts.map(|texts| texts.iter().map(|text| from_json(text)).collect()).transpose()
}

/// What became of a change.
pub(super) enum Tuned {
    Control(Control),
    Conflict(VersionConflict),
}

pub(super) fn tuned(reply: Value) -> Result<Tuned, StoreError> {
    let (kind, value): (String, Value) = answer(reply)?.value;
    match kind.as_str() {
        "control" => Ok(Tuned::Control(from_json(&parse::<String>(value)?)?)),
        "conflict" => Ok(Tuned::Conflict(VersionConflict { current: parse(value)? })),
        other => Err(malformed(other)),
    }
}

/// Reads a letter for each ticket, and the numbers that some have, as `arrive.lua` says.
pub(super) fn arrived(reply: Value, arrivals: &[Arrival]) -> Result<Answer<Vec<Arrived>>, StoreError> {
    let Answer { head, waiting, value: (letters, numbers) } = answer::<(Vec<u8>, Vec<u64>)>(reply)?;
    if letters.len() != arrivals.len() {
        return Err(malformed(&format!("{} answers to {} tickets", letters.len(), arrivals.len())));
    }
    let mut numbers = numbers.into_iter();
    let read = |(&letter, arrival): (&u8, &Arrival)| {
        arrived_one(letter, arrival.score, &mut numbers)
            .ok_or_else(|| malformed(&format!("`{}`", char::from(letter))))
    };
    let value: Result<_, _> = letters.iter().zip(arrivals).map(read).collect();
    Ok(Answer { head, waiting, value: value? })
}

fn arrived_one(letter: u8, own_score: u64, numbers: &mut impl Iterator<Item = u64>) -> Option<Arrived> {
    let mut place = |new, returning| {
        let score = if new { own_score } else { numbers.next()? };
        Some(Arrived::Waiting(Place { score, returning, new }))
    };
    Some(match letter {
        b'n' => place(true, false)?,
        b'r' => place(true, true)?,
        b'w' => place(false, false)?,
        b'k' => place(false, true)?,
        b's' => Arrived::Session(session(numbers.next()?, numbers.next()?)),
        b'e' => Arrived::LetIn(session(numbers.next()?, numbers.next()?)),
        b't' => Arrived::Turn(Turn { deadline: Micros(numbers.next()?) }),
        b'b' => Arrived::Busy,
        b'f' => Arrived::Full,
        b'x' => Arrived::Spent,
        b'v' => Arrived::Void,
        _ => return None,
    })
}

pub(super) fn claimed(kind: &str, numbers: &[u64]) -> Option<Claimed> {
    Some(match (kind, numbers) {
        ("session", &[ends, cap]) => Claimed::Session(session(ends, cap)),
        ("not_yet", &[retry_at]) => Claimed::NotYet { retry_at: Micros(retry_at) },
        ("gone", []) => Claimed::Gone,
        _ => return None,
    })
}

pub(super) fn renewed(kind: &str, numbers: &[u64]) -> Option<Renewed> {
    Some(match (kind, numbers) {
        ("session", &[ends, cap]) => Renewed::Session(session(ends, cap)),
        ("ended", []) => Renewed::Ended,
        _ => return None,
    })
}

fn session(ends: u64, cap: u64) -> Session {
    Session { ends: Micros(ends), cap: Micros(cap) }
}

fn answer<T: FromRedisValue>(reply: Value) -> Result<Answer<T>, StoreError> {
    let fields: (String, u64, u64, u64, u64, u64, u64, u64, u64, T) = parse(reply)?;
    let (incarnation, seq, step, clock, front, taken, entry, offer, waiting, value) = fields;
    let head = Head {
        incarnation: incarnation.parse().map_err(|_| malformed(&incarnation))?,
        seq,
        step,
        clock: Micros(clock),
        front,
        taken,
        entry: Micros(entry).into(),
        offer: Micros(offer).into(),
    };
    Ok(Answer { head, waiting, value })
}

fn parse<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|error| malformed(&error.to_string()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> StoreError {
    StoreError::Failed(format!(
        "a script answered in another shape ({what}): do edges of another version share this store?"
    ))
}
