//! Repairing the schema. What differs, and what takes it back, is said by sql/ops_schema.sql; here it is run.
//!
//! One repair can bring up another (a function that is made again is no member yet), so what differs is asked again until nothing new is to be run:
//! a few times at most, since every statement makes something as it was recorded.

use std::collections::HashSet;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::check;
use crate::pg::spi::{self, Statement, unwrap};

thread_local! {
    static REPAIR: Statement = const {
        Statement::new("SELECT r.object, r.statement FROM memory.schema_repair() AS r ORDER BY r.step, r.object, r.statement", &[])
    };
}

/// What is to be done; NULL: nothing that this could do.
type Repair = (String, Option<String>);

fn repairs(rows: pgrx::spi::SpiTupleTable<'_>) -> Vec<Repair> {
    rows.filter_map(|row| Some((unwrap(row.get::<String>(1))?, unwrap(row.get::<String>(2)))))
        .collect()
}

#[pg_extern(sql = false)]
fn repair_schema(
    dry_run: Option<bool>,
) -> std::result::Result<TableIterator<'static, (name!(object, String), name!(statement, Option<String>))>, ErrorReport>
{
    const MOST_ROUNDS: usize = 5;
    if check::needed("dry_run", dry_run)? {
        return Ok(TableIterator::new(REPAIR.with(|repair| repair.read(&[], repairs))));
    }
    let (mut told, mut done) = (HashSet::new(), Vec::new());
    for _ in 0..MOST_ROUNDS {
        let mut is_done = true;
        for repair in REPAIR.with(|repair| repair.write(&[], repairs)) {
            if !told.insert(repair.clone()) {
                continue;
            }
            if let (_, Some(statement)) = &repair {
                spi::run(statement);
                is_done = false;
            }
            done.push(repair);
        }
        if is_done {
            break;
        }
    }
    Ok(TableIterator::new(done))
}
