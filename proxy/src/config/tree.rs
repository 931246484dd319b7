//! The settings as they were written: TOML with the place of every value, environment variables laid over it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Variables that start with this are settings.
pub(crate) const PREFIX: &str = "VESTIBULE__";

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// The name of an environment variable.
    Variable(String),
    /// Nowhere: something is missing.
    Whole,
}

pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

pub(super) enum Value {
    Text(String),
    Integer(i128),
    Flag(bool),
    /// A date and time without quotes, as its text.
    Moment(String),
    /// Numbers that no setting takes.
    Float,
    List(Vec<Node>),
    Table(Table),
    /// The text of a variable: whatever the setting wants it to be.
    Variable(String),
}

pub(super) type Table = BTreeMap<String, Entry>;

pub(super) struct Entry {
    /// The place of the name.
    pub(super) key: Place,
    pub(super) node: Node,
}

/// Reads TOML; what is not TOML is told place by place.
pub(super) fn parse(text: &str) -> Result<Table, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table(document.get_ref()));
    }
    let place = |error: &toml::de::Error| error.span().map_or(Place::Whole, Place::File);
    Err(errors.iter().map(|error| Problem::new(place(error), error.message())).collect())
}

fn table(parsed: &DeTable<'_>) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let node = Node { value: convert(value.get_ref()), place: Place::File(value.span()) };
        (name.to_string(), Entry { key: Place::File(key.span()), node })
    };
    parsed.iter().map(entry).collect()
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            // Too long for any setting: read as the largest, which the range check refuses.
            .map_or(Value::Integer(i128::MAX), Value::Integer),
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(items) => {
            let node = |item: &toml::Spanned<DeValue<'_>>| Node {
                value: convert(item.get_ref()),
                place: Place::File(item.span()),
            };
            Value::List(items.iter().map(node).collect())
        }
        DeValue::Table(inner) => Value::Table(table(inner)),
    }
}

/// Lays `VESTIBULE__SECTION__KEY` variables over the file. Lists of tables take a number: `…__KEYS__0__SECRET`. In
/// names of rooms `_` stands for `-`.
pub(super) fn overlay(root: &mut Table, variables: &BTreeMap<String, String>) -> Vec<Problem> {
    let ours = variables.iter().filter_map(|(name, text)| Some((name, name.strip_prefix(PREFIX)?, text)));
    let mut problems = Vec::new();
    for (name, path, text) in ours {
        let mut segments: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        if let [first, room, ..] = segments.as_mut_slice()
            && first == "room"
        {
            *room = room.replace('_', "-");
        }
        if let Err(reason) = put(root, &segments, name, text) {
            problems.push(Problem::new(Place::Variable(name.clone()), reason));
        }
    }
    problems
}

fn put(table: &mut Table, segments: &[String], variable: &str, text: &str) -> Result<(), String> {
    let place = || Place::Variable(variable.to_owned());
    match segments {
        [] => Ok(()),
        [key] => {
            // A secret from the environment replaces the file it would come from, and the other way round.
            table.remove(&format!("{key}_file"));
            if let Some(plain) = key.strip_suffix("_file") {
                table.remove(plain);
            }
            let node = Node { value: Value::Variable(text.to_owned()), place: place() };
            table.insert(key.clone(), Entry { key: place(), node });
            Ok(())
        }
        [key, rest @ ..] => {
            let is_list = key != "room" && rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
            let empty = || {
                if is_list { Value::List(Vec::new()) } else { Value::Table(Table::new()) }
            };
            let fresh = || Entry { key: place(), node: Node { value: empty(), place: place() } };
            match &mut table.entry(key.clone()).or_insert_with(fresh).node.value {
                Value::Table(inner) => put(inner, rest, variable, text),
                Value::List(items) => put_in_list(items, rest, variable, text),
                _ => Err(format!("`{key}` is a value; it has no `{}`", rest.join("."))),
            }
        }
    }
}

fn put_in_list(items: &mut Vec<Node>, segments: &[String], variable: &str, text: &str) -> Result<(), String> {
    let [index, rest @ ..] = segments else {
        return Ok(());
    };
    let count = items.len();
    let wrong = || format!("`{index}` must be a number from 0 to {count}: the list has {count} so far");
    let index = index.parse::<usize>().ok().filter(|index| *index <= count).ok_or_else(wrong)?;
    if index == count {
        items.push(Node { value: Value::Table(Table::new()), place: Place::Variable(variable.to_owned()) });
    }
    match items.get_mut(index).map(|node| &mut node.value) {
        Some(Value::Table(inner)) => put(inner, rest, variable, text),
        _ => Err("only lists of tables take single values from the environment".to_owned()),
    }
}
