//! A figure as data: drawn by [`crate::render`], for light and dark pages alike.

mod svg;

use serde::{Deserialize, Serialize};

/// One figure; `file` is its name without `performance-` and `.svg`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    pub file: String,
    pub title: String,
    pub shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Lying bars, from zero; `unit` stands below.
    Bars {
        unit: String,
        bars: Vec<Bar>,
    },
    Lines {
        x: Axis,
        y: Axis,
        lines: Vec<Line>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    pub label: String,
    pub value: f64,
    /// Whether it is ours, and not a yardstick.
    pub ours: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// With the unit.
    pub label: String,
    /// Steps by factors of ten; only for values above zero.
    pub logarithmic: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

impl Plot {
    pub fn bars(file: &str, title: &str, unit: &str, bars: Vec<Bar>) -> Self {
        Self { file: file.into(), title: title.into(), shape: Shape::Bars { unit: unit.into(), bars } }
    }

    pub fn lines(file: &str, title: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Self {
        Self { file: file.into(), title: title.into(), shape: Shape::Lines { x, y, lines } }
    }

    pub fn svg(&self) -> String {
        svg::draw(self)
    }
}

impl Bar {
    pub fn ours(label: &str, value: f64) -> Self {
        Self { label: label.into(), value, ours: true }
    }

    pub fn yardstick(label: &str, value: f64) -> Self {
        Self { label: label.into(), value, ours: false }
    }
}

impl Axis {
    pub fn linear(label: &str) -> Self {
        Self { label: label.into(), logarithmic: false }
    }

    pub fn logarithmic(label: &str) -> Self {
        Self { label: label.into(), logarithmic: true }
    }
}
