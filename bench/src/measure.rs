//! How a comparison is measured: ours and its rival take turns, round after round, and the medians are compared.

use serde_json::{Value, json};
use std::fmt;
use std::sync::Mutex;

/// Whether one round over smaller data will do: QUICK=1.
pub fn quick() -> bool {
    std::env::var("QUICK").is_ok_and(|quick| !matches!(quick.as_str(), "" | "0"))
}

/// Whether the run is to fail where a ratio has fallen far below its goal: GUARD=1.
pub fn guards() -> bool {
    std::env::var("GUARD").is_ok_and(|guard| !matches!(guard.as_str(), "" | "0"))
}

/// `full`, or `small` in a quick run.
pub fn sized<T>(full: T, small: T) -> T {
    if quick() { small } else { full }
}

/// What a guard takes for a fall: less than this share of the goal.
const FALL: f64 = 1.0 / 3.0;
/// And not by the machine's mood: as often in a row.
const TRIES: usize = 3;

/// What is not compared, and how to have it.
static LEFT_OUT: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Notes a rival that is not installed, and what installs it. It stands below the table.
pub fn left_out(rival: &str, how: &str) {
    LEFT_OUT.lock().unwrap().push((rival.to_owned(), how.to_owned()));
}

/// One side of a comparison: does its work once and gives the time per unit of it, in the job's unit.
pub type Side<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// A comparison. `ratio` is rival / ours, so more than 1 means that ours is faster.
pub struct Job<'a> {
    pub name: String,
    /// What the times are: `ns/call`, `ms`.
    pub unit: &'static str,
    pub ours: Side<'a>,
    pub rival: Side<'a>,
    /// The least ratio aimed for, if there is one.
    pub goal: Option<f64>,
}

struct Row {
    name: String,
    unit: &'static str,
    ours: f64,
    rival: f64,
    goal: Option<f64>,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.rival / self.ours
    }

    /// Whether the rival is no side but a time, which a slow machine has no part in.
    fn is_absolute(&self) -> bool {
        let rival = self.name.rsplit(" / ").next().unwrap_or_default();
        rival.ends_with(self.unit) && rival.starts_with(|c: char| c.is_ascii_digit())
    }

    /// The least ratio that a guard lets pass, if it looks at this.
    fn floor(&self) -> Option<f64> {
        self.goal.filter(|_| !self.is_absolute()).map(|goal| FALL * goal)
    }

    fn has_fallen(&self) -> bool {
        self.floor().is_some_and(|floor| self.ratio() < floor)
    }

    fn met(&self) -> Option<bool> {
        self.goal.map(|goal| self.ratio() >= goal)
    }
}

/// The table.
pub struct Report {
    rounds: usize,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(rounds: usize) -> Self {
        Report {
            rounds,
            rows: Vec::new(),
        }
    }

    /// Runs a section's jobs, in rounds. Within a round both sides of each job run next to each
    /// other, in turns first, so that a machine that slows down slows both.
    pub fn run(&mut self, mut jobs: Vec<Job>) {
        let rounds = self.rounds;
        let mut times = vec![(Vec::new(), Vec::new()); jobs.len()];
        for round in 0..rounds {
            for (job, (ours, rival)) in jobs.iter_mut().zip(&mut times) {
                eprintln!("round {} of {rounds}: {}", round + 1, job.name);
                if round % 2 == 0 {
                    ours.push((job.ours)());
                    rival.push((job.rival)());
                } else {
                    rival.push((job.rival)());
                    ours.push((job.ours)());
                }
            }
        }
        let mut rows: Vec<Row> = jobs
            .iter()
            .zip(times)
            .map(|(job, (ours, rival))| Row {
                name: job.name.clone(),
                unit: job.unit,
                ours: median(ours),
                rival: median(rival),
                goal: job.goal,
            })
            .collect();
        if guards() {
            for (job, row) in jobs.iter_mut().zip(&mut rows) {
                for _ in 1..TRIES {
                    if !row.has_fallen() {
                        break;
                    }
                    eprintln!("again: {}", job.name);
                    (row.ours, row.rival) = ((job.ours)(), (job.rival)());
                }
            }
        }
        self.rows.extend(rows);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The jobs whose ratio is far below their goal, and how many were looked at.
    pub fn fallen(&self) -> (Vec<&str>, usize) {
        let fallen = self.rows.iter().filter(|row| row.has_fallen());
        let looked_at = self.rows.iter().filter(|row| row.floor().is_some());
        (fallen.map(|row| row.name.as_str()).collect(), looked_at.count())
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({ "job": row.name, "unit": row.unit, "ours": row.ours, "rival": row.rival,
                    "ratio": row.ratio(), "goal": row.goal, "met": row.met() })
        };
        let left_out = LEFT_OUT.lock().unwrap();
        let left_out = left_out
            .iter()
            .map(|(rival, how)| json!({ "rival": rival, "how": how }));
        json!({ "rounds": self.rounds, "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
                "left_out": left_out.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut lines = vec![["job", "ours", "rival", "ratio", "goal", "met"].map(str::to_owned)];
        for row in &self.rows {
            lines.push([
                row.name.clone(),
                format!("{:.2} {}", row.ours, row.unit),
                format!("{:.2} {}", row.rival, row.unit),
                format!("{:.2}", row.ratio()),
                row.goal.map_or("-".to_owned(), |goal| format!("{goal:.2}")),
                row.met().map_or("-", |met| if met { "yes" } else { "no" }).to_owned(),
            ]);
        }
        let width: Vec<usize> = (0..6)
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            let cells: Vec<String> = line
                .iter()
                .zip(&width)
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            writeln!(f, "{}", cells.join(" | ").trim_end())?;
        }
        let missed = self.rows.iter().filter(|row| row.met() == Some(false)).count();
        let goals = self.rows.iter().filter(|row| row.goal.is_some()).count();
        writeln!(
            f,
            "\n{} of {goals} goals met; medians of {} rounds; ratio: rival / ours",
            goals - missed,
            self.rounds
        )?;
        for (rival, how) in LEFT_OUT.lock().unwrap().iter() {
            writeln!(f, "Left out: {rival}. To have it: {how}")?;
        }
        Ok(())
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 {
        times[middle]
    } else {
        (times[middle - 1] + times[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_rival_s_median_over_ours() {
        let mut slow = [4.0, 100.0, 6.0].into_iter();
        let job = Job {
            name: "test".to_owned(),
            unit: "ms",
            ours: Box::new(|| 2.0),
            rival: Box::new(move || slow.next().unwrap()),
            goal: Some(3.0),
        };
        let mut report = Report::new(3);
        report.run(vec![job]);
        let row = &report.rows[0];
        assert_eq!((row.ratio(), row.met()), (3.0, Some(true)));
        assert_eq!(report.fallen(), (vec![], 1));
        report.rows[0].goal = Some(9.1);
        assert_eq!(report.fallen(), (vec!["test"], 1));
        report.rows[0].name = "test / 6 ms".to_owned();
        assert_eq!(report.fallen(), (vec![], 0));
    }
}
