//! memory.maintain(): every job, batch by batch, each committed.
//!
//! Protocol: a job is taken by a lock of the transaction, so it is free for an instant after each commit, and nothing stays taken whatever ends the
//! run. Who finds it taken leaves it to whoever has it. A batch that fails is undone, noted, and ends its job's run; the next job goes on. What a
//! run did is noted in a transaction of its own, if it did anything.

use std::time::{Duration, Instant};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{IntoDatum, JsonB};
use serde_json::json;

use super::job::{self, Batch, JOBS, Job, Pace};
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::spi::{read_once, unwrap};
use crate::pg::steps::{Failure, Steps};
use crate::raw_function;

/// A job that always finds more lets the others have their turn after so long.
const TURN: Duration = Duration::from_secs(300);

/// What a run of a job did.
#[derive(Default)]
struct Run {
    rows: i64,
    batches: i64,
    seconds: f64,
    /// Its turn was over before it was done.
    more: bool,
    /// Somebody else was at it.
    is_taken: bool,
    failure: Option<Failure>,
}

impl Run {
    /// Batch after batch.
    fn of(job: &Job, steps: &Steps) -> Self {
        let started = Instant::now();
        let mut run = Self::default();
        loop {
            match steps.attempt(|| job::take(job).then(|| batch(job))) {
                Ok(None) => run.is_taken = true,
                Ok(Some(Batch { rows, more })) => {
                    run.rows += rows;
                    run.batches += i64::from(rows > 0);
                    run.more = more;
                }
                Err(failure) => {
                    failure.report(job);
                    run.failure = Some(failure);
                }
            }
            steps.commit();
            if run.is_taken || run.failure.is_some() || !run.more || started.elapsed() > TURN {
                run.seconds = started.elapsed().as_secs_f64();
                return run;
            }
        }
    }

    /// Into job_runs, where there is anything to tell.
    fn note(&self, job: &Job, steps: &Steps) {
        if self.rows == 0 && self.failure.is_none() {
            return;
        }
        let noted = steps.attempt(|| {
            let arguments: [DatumWithOid<'_>; 5] = [
                job.name.into(),
                self.seconds.into(),
                self.batches.into(),
                self.rows.into(),
                self.failure.as_ref().map(Failure::condition).into(),
            ];
            read_once("SELECT memory.note_job_run($1, $2, $3, $4, $5)", &arguments, |_| ());
        });
        if let Err(failure) = noted {
            failure.report(job);
        }
        steps.commit();
    }

    fn told(&self) -> serde_json::Value {
        let mut told =
            json!({"rows": self.rows, "batches": self.batches, "seconds": (self.seconds * 1000.0).round() / 1000.0});
        if self.is_taken {
            told["skipped"] = "it runs elsewhere".into();
        }
        if self.more {
            told["more"] = true.into();
        }
        if let Some(failure) = &self.failure {
            told["error"] = failure.condition().into();
        }
        told
    }
}

impl Failure {
    /// To the server's log only: a message may hold what an operator does not see.
    fn report(&self, job: &Job) {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!("the job {} failed: {}: {}", job.name, self.condition(), self.message),
            "memory_ext",
        )
        .report(PgLogLevel::LOG_SERVER_ONLY);
    }
}

/// By the function that SQL knows, so that whoever calls needs the right to it, and it has the rights that the job needs.
fn batch(job: &Job) -> Batch {
    read_once(
        "SELECT r.rows, r.more FROM memory.run_job($1) AS r",
        &[job.name.into()],
        |rows| {
            let rows = rows.first();
            Batch {
                rows: unwrap(rows.get(1)).unwrap_or_default(),
                more: unwrap(rows.get(2)).unwrap_or_default(),
            }
        },
    )
}

/// Every job, or those of each round alone, each told of before it begins; what became of each.
pub fn all(steps: &Steps, hourly: bool, begins: impl Fn(&Job)) -> serde_json::Value {
    let mut report = serde_json::Map::new();
    for job in JOBS.iter().filter(|job| hourly || job.pace == Pace::EachRound) {
        begins(job);
        let run = Run::of(job, steps);
        run.note(job, steps);
        report.insert(job.name.to_owned(), run.told());
    }
    report.into()
}

fn maintain(call: Call) -> Result<pg_sys::Datum, Error> {
    let report = {
        let steps = Steps::of_call(call).ok_or_else(|| {
            Error::not_ready(
                "memory.maintain() commits, and cannot do so inside of a transaction block or a function",
                "CALL memory.maintain() by itself.",
            )
        })?;
        all(&steps, true, |_| ())
    };
    Ok(call.row([JsonB(report).into_datum()]))
}

raw_function!(maintain_wrapper, pg_finfo_maintain_wrapper, |call| {
    maintain(call).unwrap_or_else(|error| error.raise())
});
