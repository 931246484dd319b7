//! From a merge patch (RFC 7396) to a change of a room: every field known, of its type and in range.

use room::queue::{Change, Mode, PauseRequest};
use room::rules::{Draft, Rules};
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A change and what its author says about it.
#[derive(Debug, PartialEq)]
pub(super) struct Patch {
    pub(super) change: Change,
    /// The change as it was asked for, for the audit trail.
    pub(super) asked: String,
    pub(super) note: Option<String>,
}

/// Longer words to visitors, and notes, are refused.
const MAX_TEXT_CHARS: usize = 500;

impl Patch {
    /// From the fields of `PATCH`. `null` takes a limit back to what the settings file says.
    pub(super) fn from_fields(fields: &Map<String, Value>, rules: &Rules) -> Result<Self, Refusal> {
        const KNOWN: [&str; 5] = ["new_users_per_minute", "total_active_users", "paused", "message", "note"];
        only(fields, &KNOWN)?;
        let change = Change {
            new_users_per_minute: limit(fields, "new_users_per_minute", rules.new_users_per_minute)?,
            total_active_users: limit(fields, "total_active_users", rules.total_active_users)?,
            paused: fields.get("paused").map(paused).transpose()?,
            message: fields.get("message").map(|value| text("message", value)).transpose()?,
            ..Change::default()
        };
        let draft = Draft {
            new_users_per_minute: change.new_users_per_minute.unwrap_or(rules.new_users_per_minute),
            total_active_users: change.total_active_users.unwrap_or(rules.total_active_users),
            ..Draft::clone(rules)
        };
        Rules::new(draft).map_err(|error| Refusal::Field(error.to_string()))?;
        Ok(Self { change, asked: asked("change", fields), note: note(fields)? })
    }

    /// From an action and the fields of its body, if it has one.
    pub(super) fn from_action(action: &str, fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let mode = |mode| Change { mode: Some(mode), ..Change::default() };
        let change = match action {
            "pause" => {
                only(fields, &["reason", "note"])?;
                let reason = reason(fields)?;
                Change { paused: Some(Some(PauseRequest { reason })), ..Change::default() }
            }
            "resume" => Change { paused: Some(None), ..Change::default() },
            "open" => mode(Mode::Open),
            "close" => mode(Mode::Closed),
            "drain" => mode(Mode::Drain),
            other => return Err(Refusal::NoSuchAction(other.to_owned())),
        };
        if action != "pause" {
            only(fields, &["note"])?;
        }
        Ok(Self { change, asked: asked(action, fields), note: note(fields)? })
    }
}

/// Without the note, which has a place of its own.
fn asked(action: &str, fields: &Map<String, Value>) -> String {
    let told: Map<_, _> = fields
        .iter()
        .filter(|(name, _)| *name != "note")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if told.is_empty() {
        return action.to_owned();
    }
    format!("{action} {}", Value::Object(told))
}

fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            Err(Refusal::Field(format!("`{name}` cannot be changed here; known are {}", known.join(", "))))
        }
    }
}

fn limit(fields: &Map<String, Value>, name: &str, in_file: u32) -> Result<Option<u32>, Refusal> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(in_file)),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number
                .map(Some)
                .ok_or_else(|| Refusal::Field(format!("`{name}` must be a whole number, or null")))
        }
    }
}

fn paused(value: &Value) -> Result<Option<PauseRequest>, Refusal> {
    match value {
        Value::Null | Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(PauseRequest::default())),
        Value::Object(fields) => {
            only(fields, &["reason"])?;
            Ok(Some(PauseRequest { reason: reason(fields)? }))
        }
        _ => Err(Refusal::Field("`paused` must be true, false, null or {\"reason\": \"…\"}".to_owned())),
    }
}

fn reason(fields: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    Ok(fields.get("reason").map(|value| text("reason", value)).transpose()?.flatten())
}

fn note(fields: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    Ok(fields.get("note").map(|value| text("note", value)).transpose()?.flatten())
}

fn text(name: &str, value: &Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= MAX_TEXT_CHARS => {
            Ok(Some(text.clone()).filter(|text| !text.is_empty()))
        }
        _ => Err(Refusal::Field(format!(
            "`{name}` must be text of at most {MAX_TEXT_CHARS} characters, or null"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(value: &Value) -> Result<Patch, String> {
        Patch::from_fields(value.as_object().unwrap(), &Rules::default())
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let given =
            json!({ "new_users_per_minute": 1800, "paused": true, "message": "soon", "note": "ask Alice" });
        let Patch { change, asked, note } = patch(&given).unwrap();
        let expected = Change {
            new_users_per_minute: Some(1800),
            paused: Some(Some(PauseRequest::default())),
            message: Some(Some("soon".into())),
            ..Change::default()
        };
        assert_eq!((change, note.as_deref()), (expected, Some("ask Alice")));
        assert_eq!(asked, r#"change {"message":"soon","new_users_per_minute":1800,"paused":true}"#);
    }

    #[test]
    fn null_takes_back() {
        let given = json!({ "total_active_users": null, "paused": null, "message": null });
        let change = patch(&given).unwrap().change;
        assert_eq!(change.total_active_users, Some(Rules::default().total_active_users));
        assert_eq!((change.paused, change.message), (Some(None), Some(None)));
    }

    #[test]
    fn a_field_that_cannot_be_applied_is_named() {
        for (given, reason) in [
            (json!({ "rate": 1 }), "`rate` cannot be changed here"),
            (json!({ "new_users_per_minute": "1800" }), "`new_users_per_minute` must be a whole number"),
            (json!({ "new_users_per_minute": -1 }), "`new_users_per_minute` must be a whole number"),
            (json!({ "new_users_per_minute": 0 }), "`new_users_per_minute` is 0; it must be from 1"),
            (json!({ "total_active_users": 4e9 }), "`total_active_users` must be a whole number"),
            (json!({ "paused": "yes" }), "`paused` must be true, false, null"),
            (json!({ "paused": { "why": 1 } }), "`why` cannot be changed here"),
            (json!({ "message": "x".repeat(501) }), "`message` must be text of at most 500"),
        ] {
            let error = patch(&given).unwrap_err();
            assert!(error.contains(reason), "{given}: {error}");
        }
    }

    #[test]
    fn an_action_takes_a_note_and_a_pause_its_reason() {
        let fields = json!({ "reason": "the shop is slow", "note": "n" });
        let fields = fields.as_object().unwrap();
        let pause = Patch::from_action("pause", fields).unwrap();
        assert_eq!(pause.change.paused, Some(Some(PauseRequest { reason: Some("the shop is slow".into()) })));
        assert!(Patch::from_action("close", fields).is_err());
        assert!(Patch::from_action("explode", &Map::new()).is_err());
        assert_eq!(Patch::from_action("drain", &Map::new()).unwrap().change.mode, Some(Mode::Drain));
    }
}
