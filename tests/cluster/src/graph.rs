//! What tests of the graph share: a server with a tenant, random graphs.

use std::collections::BTreeSet;

use postgres::Client;

use crate::random::Random;
use crate::{Cluster, SUPERUSER};

/// A server with a tenant `acme` and a role `svc` that serves it.
pub fn memory(label: &str) -> Cluster {
    let cluster = Cluster::new(label);
    cluster.create_database("app");
    let mut admin = cluster.connect("app", SUPERUSER);
    admin
        .batch_execute(
            "INSERT INTO memory.tenants (slug) VALUES ('acme');
             CREATE ROLE svc LOGIN;
             SELECT memory.grant_access('svc', 'service', '{acme}');",
        )
        .unwrap();
    cluster
}

/// A connection of `svc` for a user; for the whole tenant where there is none.
pub fn serve(cluster: &Cluster, user: Option<&str>) -> Client {
    let mut client = cluster.connect("app", "svc");
    identify(&mut client, user);
    client
}

pub fn identify(client: &mut Client, user: Option<&str>) {
    client
        .execute(
            "SELECT memory.set_security_context('acme', $1, service_name => 'test', is_local => false)",
            &[&user],
        )
        .unwrap();
}

pub const TYPES: [&str; 5] = ["led_to", "relates_to", "depends_on", "produces", "belongs_to"];

/// One of seven days, or NULL (which also means now, when all of them are past).
pub fn day(random: &mut Random, or_null: bool) -> Option<u64> {
    (!or_null || random.below(2) == 0).then(|| random.below(7))
}

pub fn literal(day: Option<u64>) -> String {
    day.map_or("NULL::timestamptz".to_owned(), |day| {
        format!("timestamptz '2020-01-01Z' + interval '{day} days'")
    })
}

/// [from, to): to at or after from, or none.
pub fn validity(random: &mut Random) -> (Option<u64>, Option<u64>) {
    let from = random.below(4);
    let to = (random.below(6) == 0).then(|| from + random.below(4));
    (Some(from), to)
}

/// Stores a random graph of a user past the functions; gives its nodes.
pub fn random_graph(random: &mut Random, admin: &mut Client, user: &str) -> Vec<String> {
    let nodes: Vec<String> = (0..=random.below(14)).map(|_| random.uuid()).collect();
    let mut rows = Vec::new();
    for node in &nodes {
        let (from, to) = validity(random);
        let expires = if random.below(8) == 0 { day(random, true) } else { None };
        rows.push(format!(
            "('{node}'::uuid, {}, {}, {})",
            literal(from),
            literal(to),
            literal(expires)
        ));
    }
    let tenant = "memory.tenant_id('acme')";
    let mut sql = format!(
        "INSERT INTO memory.nodes (tenant_id, user_id, node_id, valid_from, valid_to, expires_at, content, context_type)
         SELECT {tenant}, '{user}', v.*, '{{}}', 'tool_output' FROM (VALUES {}) AS v;",
        rows.join(", ")
    );
    let mut current = BTreeSet::new();
    let mut rows = Vec::new();
    for _ in 0..random.below(60) {
        let ends = (random.below(nodes.len() as u64), random.below(nodes.len() as u64));
        let kind = random.one_of(&TYPES);
        let ((from, to), strength) = (validity(random), random.below(5) as f32 / 4.0);
        if to.is_none() && !current.insert((ends, kind)) {
            continue;
        }
        let (source, target) = (&nodes[ends.0 as usize], &nodes[ends.1 as usize]);
        let (from, to) = (literal(from), literal(to));
        rows.push(format!(
            "('{source}'::uuid, '{target}'::uuid, '{kind}', {strength}, {from}, {to})"
        ));
    }
    if !rows.is_empty() {
        sql += &format!(
            "INSERT INTO memory.relationships
                 (tenant_id, user_id, from_node_id, to_node_id, relationship_type, strength, valid_from, valid_to)
             SELECT {tenant}, '{user}', v.* FROM (VALUES {}) AS v;",
            rows.join(", ")
        );
    }
    admin.batch_execute(&sql).unwrap();
    nodes
}
