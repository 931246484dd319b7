//! A flame graph that stands still: the outermost call at the bottom, as wide as its share of all samples.

use std::fmt::Write as _;

use super::stacks::{Call, Stacks};

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 36.0;
/// Pixels a letter takes.
const LETTER: f64 = 6.2;
/// What a page is willing to load.
const MOST_BYTES: usize = 190_000;
/// Narrower calls are left out; more of them until the picture is small enough.
const NARROWEST: f64 = 2.0;

const STYLE: &str = "text{font:11px ui-monospace,monospace;fill:#24292f}.t{font:600 15px system-ui,sans-serif}\
    rect{stroke:#fff;stroke-width:.5}.k{fill:#a5b4fc}.r{fill:#fdba74}.a{fill:#fca5a5}\
    @media(prefers-color-scheme:dark){.t{fill:#e6edf3}rect{stroke:#0d1117}}";

pub(super) fn draw(stacks: &Stacks, title: &str) -> String {
    let mut narrowest = NARROWEST;
    loop {
        let picture = drawn(stacks, title, narrowest);
        if picture.len() <= MOST_BYTES {
            return picture;
        }
        narrowest *= 1.5;
    }
}

fn drawn(stacks: &Stacks, title: &str, narrowest: f64) -> String {
    let scale = WIDTH / stacks.samples().max(1) as f64;
    let depth = depth(stacks.root(), scale, narrowest);
    let height = HEAD + ROW * depth as f64 + 8.0;
    let title = escaped(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <text class=\"t\" x=\"8\" y=\"22\">{title}</text>\n"
    );
    let mut painter = Painter { svg: &mut svg, scale, narrowest, all: stacks.samples().max(1) as f64 };
    painter.calls(stacks.root(), 0.0, height - ROW - 4.0);
    svg.push_str("</svg>\n");
    svg
}

/// Rows above this call that are wide enough to be drawn.
fn depth(call: &Call, scale: f64, narrowest: f64) -> usize {
    let wide = call.calls.values().filter(|call| call.samples as f64 * scale >= narrowest);
    wide.map(|call| 1 + depth(call, scale, narrowest)).max().unwrap_or(0)
}

struct Painter<'a> {
    svg: &'a mut String,
    scale: f64,
    narrowest: f64,
    all: f64,
}

impl Painter<'_> {
    fn calls(&mut self, parent: &Call, mut x: f64, y: f64) {
        for (name, call) in &parent.calls {
            let width = call.samples as f64 * self.scale;
            if width >= self.narrowest {
                self.bar(name, call, x, y, width);
                self.calls(call, x, y - ROW);
            }
            x += width;
        }
    }

    fn bar(&mut self, name: &str, call: &Call, x: f64, y: f64, width: f64) {
        let (class, full, share) = (class(name), escaped(name), call.samples as f64 * 100.0 / self.all);
        // Writing to a string cannot fail.
        let _written = write!(
            self.svg,
            "<g><title>{full} {share:.1} %</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" \
             width=\"{width:.1}\" height=\"{ROW}\"/>"
        );
        let room = ((width - 6.0) / LETTER).max(0.0) as usize;
        if room >= 3 {
            let label = escaped(&name.chars().take(room).collect::<String>());
            let _written =
                write!(self.svg, "<text x=\"{:.1}\" y=\"{:.1}\">{label}</text>", x + 3.0, y + 12.0);
        }
        self.svg.push_str("</g>\n");
    }
}

/// The kernel, the allocator, everything else.
fn class(name: &str) -> char {
    if name.contains("rjem") {
        'a'
    } else if name.contains("::") || name.starts_with('<') {
        'r'
    } else {
        'k'
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_as_wide_as_its_share() {
        let stacks = Stacks::read(" 1 a::b\n 2 main\n\n 3 c::d\n 2 main\n");
        let svg = draw(&stacks, "gate");
        assert!(
            svg.contains("<title>main 100.0 %</title>") && svg.contains("<title>a::b 50.0 %</title>"),
            "{svg}"
        );
        assert!(svg.contains("width=\"600.0\""), "{svg}");
    }
}
