//! SVG without a library: a frame, axes with round steps, bars or lines.

use std::fmt::Write as _;

use super::{Axis, Bar, Line, Plot, Shape};
use crate::row::short;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 72.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;
/// Room for the labels of bars, and for those of lines.
const BAR_LABELS: f64 = 250.0;
const LINE_LABELS: f64 = 150.0;
const BAR_STEP: f64 = 30.0;
const LINES_HEIGHT: f64 = 360.0;
const COLOURS: usize = 6;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:15px}\
    .m{fill:#59636e;font-size:12px}.g{stroke:#d1d9e0;stroke-width:1}.b0{fill:#8c959f}.b1{fill:#0969da}\
    polyline{fill:none;stroke-width:2}.c0{stroke:#0969da;fill:#0969da}.c1{stroke:#bc4c00;fill:#bc4c00}\
    .c2{stroke:#1a7f37;fill:#1a7f37}.c3{stroke:#8250df;fill:#8250df}.c4{stroke:#59636e;fill:#59636e}\
    .c5{stroke:#bf3989;fill:#bf3989}polyline.c0,polyline.c1,polyline.c2,polyline.c3,polyline.c4,polyline.c5\
    {fill:none}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}.g{stroke:#3d444d}\
    .b0{fill:#656c76}.b1{fill:#4493f8}.c0{stroke:#4493f8;fill:#4493f8}.c1{stroke:#f0883e;fill:#f0883e}\
    .c2{stroke:#3fb950;fill:#3fb950}.c3{stroke:#ab7df8;fill:#ab7df8}.c4{stroke:#9198a1;fill:#9198a1}\
    .c5{stroke:#db61a2;fill:#db61a2}}";

pub(super) fn draw(plot: &Plot) -> String {
    let (height, body) = match &plot.shape {
        Shape::Bars { unit, bars } => bars_of(unit, bars),
        Shape::Lines { x, y, lines } => lines_of(x, y, lines),
    };
    let title = escaped(&plot.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <text class=\"t\" x=\"16\" y=\"24\">{title}</text>\n{body}</svg>\n"
    )
}

fn bars_of(unit: &str, bars: &[Bar]) -> (f64, String) {
    let height = TOP + BAR_STEP * bars.len() as f64 + BOTTOM;
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let scale = Scale::linear(0.0, most, BAR_LABELS, WIDTH - 60.0);
    let (mut body, foot) = (Body::default(), height - BOTTOM + 4.0);
    for tick in &scale.ticks {
        let x = scale.place(*tick);
        body.grid(x, TOP - 6.0, x, foot);
        body.text(x, foot + 16.0, "middle", "m", &short(*tick));
    }
    body.text((BAR_LABELS + WIDTH - 60.0) / 2.0, foot + 34.0, "middle", "m", unit);
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + BAR_STEP * index as f64;
        body.bar(BAR_LABELS, y, scale.place(bar.value) - BAR_LABELS, bar.ours);
        body.text(BAR_LABELS - 8.0, y + 15.0, "end", "", &bar.label);
        body.text(scale.place(bar.value) + 6.0, y + 15.0, "start", "", &short(bar.value));
    }
    (height, body.0)
}

fn lines_of(x: &Axis, y: &Axis, lines: &[Line]) -> (f64, String) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let across = Scale::of(x, points().map(|point| point.0), LEFT, WIDTH - LINE_LABELS);
    let foot = LINES_HEIGHT - BOTTOM;
    let up = Scale::of(y, points().map(|point| point.1), foot, TOP + 8.0);
    let mut body = Body::default();
    for tick in &across.ticks {
        let at = across.place(*tick);
        body.grid(at, TOP + 8.0, at, foot);
        body.text(at, foot + 16.0, "middle", "m", &short(*tick));
    }
    for tick in &up.ticks {
        let at = up.place(*tick);
        body.grid(LEFT, at, WIDTH - LINE_LABELS, at);
        body.text(LEFT - 6.0, at + 4.0, "end", "m", &short(*tick));
    }
    body.text(f64::midpoint(LEFT, WIDTH - LINE_LABELS), foot + 36.0, "middle", "m", &x.label);
    body.text(16.0, TOP, "start", "m", &y.label);
    for (index, line) in lines.iter().enumerate() {
        let places = line.points.iter().map(|point| (across.place(point.0), up.place(point.1)));
        body.line(&places.collect::<Vec<_>>(), index % COLOURS, &line.label);
    }
    (LINES_HEIGHT, body.0)
}

/// Values to places on the paper.
struct Scale {
    logarithmic: bool,
    values: (f64, f64),
    places: (f64, f64),
    ticks: Vec<f64>,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        if axis.logarithmic && least > 0.0 {
            Self::logarithmic(least, most, from, to)
        } else {
            Self::linear(least.min(0.0), most, from, to)
        }
    }

    fn linear(least: f64, most: f64, from: f64, to: f64) -> Self {
        let span = (most - least).max(f64::MIN_POSITIVE);
        let magnitude = 10_f64.powf((span / 5.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps.into_iter().find(|step| span / step <= 6.0).unwrap_or(span);
        let top = (most / step).ceil() * step;
        let count = ((top - least) / step).round().clamp(1.0, 12.0) as u32;
        let ticks = (0..=count).map(|index| least + step * f64::from(index)).collect();
        Self { logarithmic: false, values: (least, top), places: (from, to), ticks }
    }

    fn logarithmic(least: f64, most: f64, from: f64, to: f64) -> Self {
        let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        let high = high.max(low + 1);
        let ticks = (low..=high).map(|power| 10_f64.powi(power)).collect();
        let values = (10_f64.powi(low), 10_f64.powi(high));
        Self { logarithmic: true, values, places: (from, to), ticks }
    }

    fn place(&self, value: f64) -> f64 {
        let on = |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (least, most) = (on(self.values.0), on(self.values.1));
        let share = ((on(value) - least) / (most - least)).clamp(0.0, 1.0);
        self.places.0 + share * (self.places.1 - self.places.0)
    }
}

#[derive(Default)]
struct Body(String);

impl Body {
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _written = writeln!(self.0, "{element}");
    }

    fn grid(&mut self, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.push(format_args!(
            "<line class=\"g\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let text = escaped(text);
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn bar(&mut self, x: f64, y: f64, width: f64, ours: bool) {
        let class = u8::from(ours);
        self.push(format_args!(
            "<rect class=\"b{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"20\" rx=\"2\"/>"
        ));
    }

    fn line(&mut self, places: &[(f64, f64)], colour: usize, label: &str) {
        let joined: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!("<polyline class=\"c{colour}\" points=\"{}\"/>", joined.join(" ")));
        for (x, y) in places {
            self.push(format_args!("<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"));
        }
        if let Some((x, y)) = places.last() {
            self.text(x + 8.0, y + 4.0, "start", "", label);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
// Exact on purpose: what is compared was not computed with.
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_hold_the_largest_value() {
        let scale = Scale::linear(0.0, 23.4, 0.0, 100.0);
        assert_eq!(scale.ticks, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        assert_eq!(scale.place(25.0), 100.0);
        assert_eq!(Scale::logarithmic(3.0, 400.0, 0.0, 1.0).ticks, [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn words_of_labels_cannot_become_markup() {
        let plot = Plot::bars("a", "a < b", "µs", vec![Bar::ours("\"x\" & y", 1.0)]);
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("&quot;x&quot; &amp; y"), "{svg}");
    }
}
