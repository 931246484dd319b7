//! Judgements on a journal. Each tells the first breach it finds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use room::ids::TicketId;
use room::rules::Rules;

use crate::journal::{At, Journal, Note, Who};

type Verdict = Result<(), String>;

/// Over every window, entries are at most the integral of the rate plus the burst. `slack_micros`: how much longer
/// than true time the queue may have taken a window for (leaps of a wall clock).
pub(crate) fn entries_within_rate(journal: &Journal, slack_micros: u64) -> Verdict {
    let mut limits = (0_u64, 0_u32, 0_u32);
    let mut integral = 0.0;
    // Of each entry: the integral of the rate until then, the burst then, the slack in tokens.
    let mut entries: Vec<(f64, u32, f64, At)> = Vec::new();
    for seen in &journal.notes {
        let (since, rate, burst) = limits;
        match seen.note {
            Note::Limits { rate: new, burst, .. } => {
                integral += (seen.at - since) as f64 * f64::from(rate) / 6e7;
                limits = (seen.at, new, burst);
            }
            Note::Entered { .. } => {
                let until = integral + (seen.at - since) as f64 * f64::from(rate) / 6e7;
                let slack = slack_micros as f64 * f64::from(rate) / 6e7;
                entries.push((until, burst, slack, seen.at));
            }
            _ => {}
        }
    }
    for (first, &(begun, _, _, from)) in entries.iter().enumerate() {
        let (mut burst, mut slack) = (0, 0.0_f64);
        for (count, &(until, burst_then, slack_then, to)) in (1_u32..).zip(&entries[first..]) {
            burst = burst.max(burst_then);
            slack = slack.max(slack_then);
            let allowed = until - begun + f64::from(burst) + slack;
            // A microsecond of the highest rate is the resolution of the clock.
            if f64::from(count) > allowed + 0.2 {
                return Err(format!("{count} entries from {from} to {to} µs, {allowed:.1} allowed"));
            }
        }
    }
    Ok(())
}

/// Whenever somebody is admitted, turns and sessions together are within the limit that holds then.
pub(crate) fn slots_within_limit(journal: &Journal) -> Verdict {
    let (mut turns, mut sessions) = (HashSet::new(), HashMap::new());
    let mut limit = 0;
    for seen in &journal.notes {
        let admitted = match seen.note {
            Note::Limits { active, .. } => {
                limit = active;
                false
            }
            Note::Turn { who } => turns.insert(who),
            Note::Lapsed { who } => {
                turns.remove(&who);
                false
            }
            Note::Entered { who, session, at_once, .. } => {
                turns.remove(&who);
                sessions.insert(who, session.ends.0);
                at_once
            }
            Note::Holds { who, session, .. } => {
                sessions.insert(who, session.ends.0);
                false
            }
            Note::Left { who } => {
                turns.remove(&who);
                sessions.remove(&who);
                false
            }
            _ => false,
        };
        sessions.retain(|_, ends| *ends > seen.clock);
        let taken = turns.len() + sessions.len();
        if admitted && taken > limit as usize {
            return Err(format!("{taken} turns and sessions of {limit} at {} µs", seen.at));
        }
    }
    Ok(())
}

/// Who stood where, as far as an onlooker can tell.
#[derive(Default)]
struct Onlooker {
    /// Online in the ordinary line.
    present: BTreeSet<(u64, Who)>,
    /// In the line, online or not.
    standing: BTreeSet<(u64, Who)>,
    score_of: HashMap<Who, u64>,
    returning: HashSet<Who>,
}

impl Onlooker {
    fn see(&mut self, note: &Note) {
        match *note {
            Note::InLine { who, score } => {
                self.gone(who);
                self.score_of.insert(who, score);
                self.present.insert((score, who));
                self.standing.insert((score, who));
            }
            Note::Returning { who } => {
                self.gone(who);
                self.returning.insert(who);
            }
            Note::Offline { who } => {
                if let Some(&score) = self.score_of.get(&who) {
                    self.present.remove(&(score, who));
                }
            }
            Note::Turn { who }
            | Note::PlaceGone { who }
            | Note::Left { who }
            | Note::Refused { who }
            | Note::Entered { who, .. } => self.gone(who),
            _ => {}
        }
    }

    fn gone(&mut self, who: Who) {
        self.returning.remove(&who);
        if let Some(score) = self.score_of.remove(&who) {
            self.present.remove(&(score, who));
            self.standing.remove(&(score, who));
        }
    }
}

/// Nobody gets a turn from the ordinary line while somebody who came earlier stands in it.
pub(crate) fn by_arrival(journal: &Journal) -> Verdict {
    let mut onlooker = Onlooker::default();
    for seen in &journal.notes {
        if let Note::Turn { who } = seen.note
            && let Some(&score) = onlooker.score_of.get(&who)
            && let Some(&(first, passed)) = onlooker.present.first()
            && first < score
        {
            return Err(format!("{who} had a turn before {passed} at {} µs", seen.at));
        }
        onlooker.see(&seen.note);
    }
    Ok(())
}

/// While people stand in the ordinary line, returns get at most a quarter of the turns.
pub(crate) fn returns_take_a_quarter(journal: &Journal) -> Verdict {
    let mut onlooker = Onlooker::default();
    // The worst stretch of turns that ends here: returns in it, less a quarter of all.
    let mut excess = 0.0_f64;
    for seen in &journal.notes {
        if let Note::Turn { who } = seen.note {
            let returned = onlooker.returning.contains(&who);
            if !onlooker.present.is_empty() {
                excess = excess.max(0.0) + if returned { 0.75 } else { -0.25 };
            }
            if excess > 1.0 {
                return Err(format!("returns jump the line at {} µs", seen.at));
            }
        }
        onlooker.see(&seen.note);
        if onlooker.present.is_empty() {
            excess = 0.0;
        }
    }
    Ok(())
}

/// Every honest visitor has entered.
pub(crate) fn nobody_is_lost(journal: &Journal) -> Verdict {
    let entered: HashSet<Who> = journal.entries().map(|(_, who)| who).collect();
    match journal.notes.iter().find_map(|seen| match seen.note {
        Note::Came { who, honest: true } if !entered.contains(&who) => Some(who),
        _ => None,
    }) {
        Some(who) => {
            let story: Vec<_> = journal.notes.iter().filter(|seen| concerns(&seen.note, who)).collect();
            Err(format!("{who} came and never entered: {story:?}"))
        }
        None => Ok(()),
    }
}

fn concerns(note: &Note, person: Who) -> bool {
    match *note {
        Note::InLine { who, .. }
        | Note::Came { who, .. }
        | Note::Returning { who }
        | Note::Offline { who }
        | Note::PlaceGone { who }
        | Note::Turn { who }
        | Note::Lapsed { who }
        | Note::Left { who }
        | Note::Refused { who } => who == person,
        _ => false,
    }
}

/// A ticket has one session, however often and wherever it is shown.
pub(crate) fn one_session_a_ticket(journal: &Journal) -> Verdict {
    let mut bought: HashMap<TicketId, u64> = HashMap::new();
    for seen in &journal.notes {
        if let Note::Entered { ticket, session, .. } | Note::Holds { ticket, session, .. } = seen.note {
            let first = *bought.entry(ticket).or_insert(session.cap.0);
            if first != session.cap.0 {
                return Err(format!("{ticket} bought a second session by {} µs", seen.at));
            }
        }
    }
    Ok(())
}

/// No session outlives its cap, and one let in at once lasts `confirm_window` unless it is used.
pub(crate) fn sessions_end_in_time(journal: &Journal, rules: &Rules) -> Verdict {
    let second = 1_000_000;
    let most = if rules.disable_session_renewal { rules.session_duration } else { rules.session_max };
    let mut begun: HashMap<Who, u64> = HashMap::new();
    for seen in &journal.notes {
        let (who, session, first_span) = match seen.note {
            Note::Entered { who, session, at_once: true, .. } => {
                (who, session, rules.confirm_window.min(rules.session_duration))
            }
            Note::Entered { who, session, .. } | Note::Holds { who, session, .. } => {
                (who, session, rules.session_duration)
            }
            _ => continue,
        };
        let since = *begun.entry(who).or_insert(seen.clock);
        let lasts = session.ends.0 - seen.clock;
        if lasts > first_span.as_micros() as u64 + second {
            return Err(format!("{who}'s pass is good for {lasts} µs"));
        }
        if session.ends > session.cap || session.cap.0 - since > most.as_micros() as u64 + second {
            return Err(format!("{who}'s session goes beyond its cap: {session:?}"));
        }
    }
    Ok(())
}

/// Positions never grow on a screen; the ruler is exact to 100 and within 2 % beyond.
pub(crate) fn positions_hold(journal: &Journal) -> Verdict {
    let mut onlooker = Onlooker::default();
    let mut ranks: BTreeMap<Who, u64> = BTreeMap::new();
    let mut on_screen: HashMap<Who, u64> = HashMap::new();
    for seen in &journal.notes {
        match seen.note {
            Note::Measured => {
                ranks = onlooker.standing.iter().zip(1..).map(|(&(_, who), rank)| (who, rank)).collect();
            }
            Note::Shown { who, place, position } => {
                let rank = ranks.get(&who).copied().unwrap_or(0);
                let error = place.abs_diff(rank);
                if (rank <= 100 && error > 0) || error * 50 > rank {
                    return Err(format!("{who} is placed {place}th and stands {rank}th"));
                }
                let before = on_screen.insert(who, position).unwrap_or(u64::MAX);
                if position > before || position > place {
                    return Err(format!("{who} saw {position} after {before}"));
                }
            }
            // Another page starts anew.
            Note::Offline { who } => drop(on_screen.remove(&who)),
            _ => {}
        }
        onlooker.see(&seen.note);
    }
    Ok(())
}

/// Entries between two instants, as a share of what the rate allows.
pub(crate) fn utilisation(journal: &Journal, rate: u32, from: At, to: At) -> f64 {
    let entered = journal.entries().filter(|(at, _)| (from..to).contains(at)).count();
    entered as f64 / ((to - from) as f64 * f64::from(rate) / 6e7)
}

/// All that must hold in every world.
pub(crate) fn all(journal: &Journal, rules: &Rules) -> Verdict {
    entries_within_rate(journal, 0)?;
    slots_within_limit(journal)?;
    by_arrival(journal)?;
    returns_take_a_quarter(journal)?;
    one_session_a_ticket(journal)?;
    sessions_end_in_time(journal, rules)?;
    positions_hold(journal)
}
