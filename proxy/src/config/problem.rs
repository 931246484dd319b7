//! What is wrong with settings, as people want to read it: place, the line itself, reason, cure.

use std::fmt;

use super::tree::Place;

/// Why settings are refused: every problem found, in the order of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    rendered: Vec<String>,
}

impl ConfigError {
    pub(super) fn new(source: &Source<'_>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match &problem.place {
            Place::File(span) => (0, span.start),
            Place::Variable(_) => (1, 0),
            Place::Whole => (2, 0),
        });
        Self { rendered: problems.iter().map(|problem| source.render(problem)).collect() }
    }

    /// One text per problem, several lines each.
    pub fn problems(&self) -> &[String] {
        &self.rendered
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered.join("\n"))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong, or doubtful.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) reason: String,
    pub(super) cure: Option<String>,
}

impl Problem {
    pub(super) fn new(place: Place, reason: impl Into<String>) -> Self {
        Self { place, reason: reason.into(), cure: None }
    }

    pub(super) fn cure(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }
}

/// The file that problems are shown in.
pub(super) struct Source<'a> {
    /// Its path as the operator gave it.
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn render(&self, problem: &Problem) -> String {
        let Problem { place, reason, cure } = problem;
        let mut shown = match place {
            Place::File(span) => self.excerpt(span, reason),
            Place::Variable(name) => format!("environment variable {name}: {reason}"),
            Place::Whole => format!("{}: {reason}", self.name),
        };
        if let Some(cure) = cure {
            shown.push_str("\n      = ");
            shown.push_str(cure);
        }
        shown
    }

    /// ```text
    /// vestibule.toml:3: unknown setting `burts` in [room.e1]
    ///     3 | burts = 30
    ///       | ^^^^^
    /// ```
    fn excerpt(&self, span: &std::ops::Range<usize>, reason: &str) -> String {
        let start = floor(self.text, span.start);
        let before = self.text.get(..start).unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let (line, hidden) = without_secrets(line);
        let room = line.chars().count().saturating_sub(column).max(1);
        let marked = self.text.get(start..floor(self.text, span.end)).unwrap_or_default();
        let width = marked.lines().next().unwrap_or_default().chars().count().clamp(1, room);
        let marks =
            if hidden { String::new() } else { format!("{}{}", " ".repeat(column), "^".repeat(width)) };
        format!("{}:{number}: {reason}\n{number:>5} | {line}\n      | {marks}", self.name)
            .trim_end()
            .to_owned()
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The line as it may be shown, and whether something was cut out.
fn without_secrets(line: &str) -> (String, bool) {
    for name in ["secret", "password"] {
        for (at, _) in line.match_indices(name) {
            let rest = line.get(at + name.len()..).unwrap_or_default();
            if let Some(value) = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix('=') {
                let shown = line.len() - value.len();
                return (format!("{} (hidden)", line.get(..shown).unwrap_or_default()), true);
            }
        }
    }
    match (line.find("://"), line.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let head = line.get(..scheme + 3).unwrap_or_default();
            (format!("{head}(hidden){}", line.get(at..).unwrap_or_default()), true)
        }
        _ => (line.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_its_cure() {
        let text = "[server]\nlistn = 1\n";
        let source = Source { name: "edge.toml", text };
        let problem =
            Problem::new(Place::File(9..14), "unknown setting `listn`").cure("did you mean `listen`?");
        assert_eq!(
            source.render(&problem),
            "edge.toml:2: unknown setting `listn`\n    2 | listn = 1\n      | ^^^^^\n      = did you mean `listen`?"
        );
    }

    #[test]
    fn places_beyond_the_text_and_inside_characters_are_survived() {
        let source = Source { name: "f", text: "a = \"ä\"" };
        for at in 0..20 {
            for end in at..20 {
                source.render(&Problem::new(Place::File(at..end), "x"));
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for line in [
            "secret = \"hunter2\"",
            "password=\"hunter2",
            "\"password\" = 'hunter2'",
            "keys = [{ kid = \"a\", secret = \"hunter2\" }]",
            "url = \"redis://edge:hunter2@redis:6379\"",
        ] {
            let source = Source { name: "f", text: line };
            let shown = source.render(&Problem::new(Place::File(0..line.len()), "x"));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let open = "password_file = \"/run/secrets/redis\"";
        assert_eq!(without_secrets(open), (open.to_owned(), false));
    }
}
