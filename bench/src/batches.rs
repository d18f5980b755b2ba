//! Work done over and over through one client: statements that take the number of a batch, and what puts the table back before.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

use crate::measure::Side;
use crate::rival::{self, Rival};

/// Ids of nodes, from numbers.
pub const NODE_OF: &str = "
    CREATE FUNCTION node_of(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid
    $$";

/// A database of one section.
pub struct Ground<'a> {
    cluster: &'a Cluster,
    database: &'static str,
    /// The superuser whose statements put tables back: no trigger of ours sees them.
    owner: Rc<RefCell<Client>>,
}

impl<'a> Ground<'a> {
    /// A new database, with the extension, a tenant `acme` and what `sql` makes.
    pub fn new(cluster: &'a Cluster, database: &'static str, sql: &str) -> Self {
        eprintln!("{database}: loading");
        cluster.create_database(database);
        let mut owner = cluster.connect(database, SUPERUSER);
        for sql in [
            "INSERT INTO memory.tenants (slug) VALUES ('acme'); SET session_replication_role = replica",
            sql,
            "VACUUM ANALYZE", // for the visibility map: a bulk load is not what is measured
        ] {
            owner.batch_execute(sql).unwrap();
        }
        let owner = Rc::new(RefCell::new(owner));
        Ground {
            cluster,
            database,
            owner,
        }
    }

    /// A client with its context set by `context`.
    pub fn client(&self, role: &str, context: &str) -> Rc<RefCell<Client>> {
        let mut client = self.cluster.connect(self.database, role);
        client.batch_execute(context).unwrap();
        Rc::new(RefCell::new(client))
    }

    /// `statement` with $1 from 1 to `batches`, each its own transaction, prepared, after `reset` by the owner; microseconds for each of
    /// `units`.
    pub fn batches(
        &self,
        client: &Rc<RefCell<Client>>,
        reset: impl Into<String>,
        statement: impl Into<String>,
        batches: i32,
        units: i32,
    ) -> Side<'static> {
        let (client, owner) = (Rc::clone(client), Rc::clone(&self.owner));
        let (reset, statement) = (reset.into(), statement.into());
        Box::new(move || {
            owner.borrow_mut().batch_execute(&reset).unwrap();
            let mut client = client.borrow_mut();
            let prepared = client.prepare(&statement).unwrap();
            let start = Instant::now();
            for number in 1..=batches {
                client.execute(&prepared, &[&number]).unwrap();
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(units)
        })
    }

    /// bench/rivals/store.py as a role in this database; None where it does not run.
    pub fn python(&self, role: &str) -> Option<Rc<RefCell<Rival>>> {
        let dsn = format!(
            "host={} port=5432 dbname={} user={role}",
            self.cluster.socket_folder(),
            self.database
        );
        if !rival::has("psycopg") {
            return None;
        }
        Some(Rc::new(RefCell::new(Rival::start("store.py", &[&dsn])?)))
    }

    /// One of its sides over the first `units` rows, after `reset`; microseconds for each.
    pub fn python_side(
        &self,
        rival: &Rc<RefCell<Rival>>,
        reset: impl Into<String>,
        side: &'static str,
        units: i32,
    ) -> Side<'static> {
        let (rival, owner, reset) = (Rc::clone(rival), Rc::clone(&self.owner), reset.into());
        Box::new(move || {
            owner.borrow_mut().batch_execute(&reset).unwrap();
            let said = rival.borrow_mut().ask(&format!("{side} {units}"));
            said.trim().parse::<f64>().expect("store.py says seconds") * 1e6 / f64::from(units)
        })
    }

    /// One statement without arguments, after `reset`; microseconds for each of `units`.
    pub fn once(&self, client: &Rc<RefCell<Client>>, reset: &str, statement: &str, units: i32) -> Side<'static> {
        let (client, owner) = (Rc::clone(client), Rc::clone(&self.owner));
        let (reset, statement) = (reset.to_owned(), statement.to_owned());
        Box::new(move || {
            owner.borrow_mut().batch_execute(&reset).unwrap();
            let start = Instant::now();
            client.borrow_mut().batch_execute(&statement).unwrap();
            start.elapsed().as_secs_f64() * 1e6 / f64::from(units)
        })
    }

    /// COPY of what the query gives into a table, as the superuser (PostgreSQL has no COPY FROM under RLS); microseconds per row.
    pub fn copy(&self, context: &str, reset: &str, query: &str, table: &str, rows: i32) -> Side<'static> {
        use std::io::{Read, Write};
        let mut data = Vec::new();
        self.owner
            .borrow_mut()
            .copy_out(&format!("COPY ({query}) TO STDOUT"))
            .unwrap()
            .read_to_end(&mut data)
            .unwrap();
        let (client, owner) = (self.client(SUPERUSER, context), Rc::clone(&self.owner));
        let (reset, table) = (reset.to_owned(), table.to_owned());
        Box::new(move || {
            owner.borrow_mut().batch_execute(&reset).unwrap();
            let mut client = client.borrow_mut();
            let start = Instant::now();
            let mut copy = client.copy_in(&format!("COPY {table} FROM STDIN")).unwrap();
            copy.write_all(&data).unwrap();
            copy.finish().unwrap();
            start.elapsed().as_secs_f64() * 1e6 / f64::from(rows)
        })
    }
}
