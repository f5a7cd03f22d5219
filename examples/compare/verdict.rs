//! The table at the end: what was measured, what was to be reached, and whether it was.

use crate::common::figures::{median, print_table, thousands};

/// What a number has to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// Shown, not judged.
    None,
    /// Our value.
    AtMost(f64),
    /// Our value.
    AtLeast(f64),
    /// So many times the other server's value.
    RatioAtMost(f64),
    /// So many times the other server's value.
    RatioAtLeast(f64),
}

/// One line: the same value of both servers. What a server did not reach or does not tell is no number.
#[derive(Clone, Debug)]
pub struct Line {
    name: String,
    ours: f64,
    theirs: f64,
    digits: usize,
    goal: Goal,
}

/// Both servers' values of one thing, of which medians are taken.
pub struct Values<'a>(pub &'a dyn Fn(&str) -> Vec<f64>);

impl Line {
    /// A line of the medians of rounds.
    pub fn new(name: &str, digits: usize, goal: Goal, values: &Values<'_>) -> Self {
        let of = |server| {
            let known: Vec<f64> = (values.0)(server);
            match known.is_empty() || known.iter().any(|value| value.is_nan()) {
                true => f64::NAN,
                false => median(&known),
            }
        };
        Self { name: name.to_owned(), ours: of(crate::OURS), theirs: of(crate::PEER), digits, goal }
    }

    /// Whether the goal was met; [`None`] when there is none to meet.
    fn met(&self) -> Option<bool> {
        // Comparisons with what is no number are false, as they should be.
        Some(match self.goal {
            Goal::None => return None,
            Goal::AtMost(limit) => self.ours <= limit,
            Goal::AtLeast(limit) => self.ours >= limit,
            Goal::RatioAtMost(limit) => self.ratio() <= limit,
            Goal::RatioAtLeast(limit) => self.ratio() >= limit,
        })
    }

    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }

    fn cell(&self, value: f64) -> String {
        match (value.is_finite(), self.digits) {
            (false, _) => "-".to_owned(),
            (true, 0) => thousands(value.round() as u64),
            (true, digits) => format!("{value:.digits$}"),
        }
    }

    fn cells(&self) -> Vec<String> {
        let ratio = self.ratio();
        let ratio = if ratio.is_finite() { format!("{ratio:.2}x") } else { "-".to_owned() };
        let limit =
            |limit: f64| if limit.fract() == 0.0 { format!("{limit:.0}") } else { format!("{limit}") };
        let goal = match self.goal {
            Goal::None => String::new(),
            Goal::AtMost(most) => format!("≤ {}", limit(most)),
            Goal::AtLeast(least) => format!("≥ {}", limit(least)),
            Goal::RatioAtMost(most) => format!("≤ {most:.2}x"),
            Goal::RatioAtLeast(least) => format!("≥ {}x", limit(least)),
        };
        let met = match self.met() {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        vec![self.name.clone(), self.cell(self.ours), self.cell(self.theirs), ratio, goal, met.to_owned()]
    }
}

/// Prints lines under a title, with these names for whose values they are.
pub fn print(title: &str, [ours, theirs]: [&str; 2], lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    println!("\n{title}\n");
    let heading = ["median", ours, theirs, "ratio", "goal", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(Line::cells));
    print_table(&rows);
}

/// Says how many goals were met, and names those that were not.
pub fn sum_up(lines: &[Line]) {
    let judged = lines.iter().filter(|line| line.met().is_some()).count();
    if judged == 0 {
        return;
    }
    let (mut missed, mut about) = (Vec::new(), "");
    for line in lines {
        // A line that goes on says in the first words of those before it what it is about.
        let more = line.name.strip_prefix("… ");
        if more.is_none() {
            about = line.name.split(':').next().unwrap_or_default();
        }
        if line.met() == Some(false) {
            let cells = line.cells();
            let name = more.map_or(line.name.clone(), |more| format!("{about}: {more}"));
            missed
                .push(format!("{name}: {} (beside {}, {}), goal {}", cells[1], cells[2], cells[3], cells[4]));
        }
    }
    println!("\n{} of {judged} goals met.", judged - missed.len());
    missed.iter().for_each(|line| println!("  MISSED  {line}"));
}
