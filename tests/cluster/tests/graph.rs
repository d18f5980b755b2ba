//! The knowledge graph from outside: traversal against a recursive query on random graphs, many writers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;

use cluster::SUPERUSER;
use cluster::graph::{TYPES, day, identify, literal, memory, random_graph, serve};
use cluster::postgres::Client;
use cluster::random::{Random, seed};

/// What `traverse` promises, as one recursive query over the tables. $1 user, $2 start, $3 depth, $4 direction, $5 types,
/// $6 strength, $7 as_of.
const MODEL: &str = "
WITH RECURSIVE seen AS (
    SELECT node_id FROM memory.nodes
    WHERE tenant_id = memory.tenant_id('acme') AND user_id = $1 AND valid_from <= $7
        AND coalesce(valid_to > $7, true) AND coalesce(expires_at > $7, true)
), valid AS (
    SELECT * FROM memory.relationships
    WHERE tenant_id = memory.tenant_id('acme') AND user_id = $1 AND valid_from <= $7 AND coalesce(valid_to > $7, true)
        AND strength >= $6::real AND coalesce(relationship_type = ANY ($5), true)
        AND from_node_id IN (TABLE seen) AND to_node_id IN (TABLE seen)
), edges AS (
    SELECT from_node_id AS parent, to_node_id AS target, relationship_type AS kind FROM valid WHERE $4 <> 'in'
    UNION ALL
    SELECT to_node_id, from_node_id, relationship_type FROM valid WHERE $4 <> 'out'
), walk AS (
    SELECT node_id AS node, 0 AS depth FROM seen WHERE node_id::text = ANY ($2)
    UNION
    SELECT e.target, w.depth + 1 FROM walk w JOIN edges e ON e.parent = w.node WHERE w.depth < $3
), least AS (
    SELECT node, min(depth) AS depth FROM walk GROUP BY node
), best AS (
    SELECT DISTINCT ON (l.node) l.node, l.depth, e.parent, e.kind
    FROM least l LEFT JOIN (edges e JOIN least p ON p.node = e.parent) ON e.target = l.node AND p.depth = l.depth - 1
    ORDER BY l.node, e.parent, e.kind COLLATE \"C\"
)
SELECT concat_ws(' ', depth, node, parent, kind) FROM best ORDER BY depth, node";

#[test]
fn traverse_is_what_a_recursive_query_gives() {
    let cluster = memory("walk");
    let mut random = seed();
    let mut admin = cluster.connect("app", SUPERUSER);
    let (mut own, mut tenant) = (serve(&cluster, None), serve(&cluster, None));
    let (mut rows, mut deepest) = (0, 0);
    for graph in 0..200 {
        let user = format!("user-{graph}");
        let nodes = random_graph(&mut random, &mut admin, &user);
        identify(&mut own, Some(&user));
        for _ in 0..2 {
            let mut start: Vec<String> = (0..(graph + 2) % 4)
                .map(|_| random.one_of_ref(&nodes).clone())
                .collect();
            if random.below(4) == 0 {
                start.push(random.uuid());
            }
            let depth = random.below(6) as i32;
            let direction = random.one_of(&["out", "in", "both"]);
            let types: Option<Vec<&str>> =
                (random.below(3) == 0).then(|| (0..random.below(4)).map(|_| random.one_of(&TYPES)).collect());
            let strength = random.one_of(&[0.0f32, 0.0, 0.25, 0.5, 1.0]);
            let at = literal(day(&mut random, true));
            let model = MODEL.replace("$7", &format!("coalesce({at}, now())"));
            let text =
                |client: &mut Client, sql: &str, parameters: &[&(dyn cluster::postgres::types::ToSql + Sync)]| {
                    let rows = client.query(sql, parameters).unwrap();
                    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
                };
            let expected = text(
                &mut admin,
                &model,
                &[&user, &start, &depth, &direction, &types, &strength],
            );
            let call = format!("memory.traverse($1::text[]::uuid[], $2, $3, $4, $5, {at}, paths => $6)");
            let sql = format!("SELECT concat_ws(' ', depth, node_id, parent_id, relationship_type) FROM {call}");
            let said = format!("graph {graph}: {start:?} {depth} {direction} {types:?} {strength} {at}");
            for client in [&mut own, &mut tenant] {
                let found = text(client, &sql, &[&start, &depth, &direction, &types, &strength, &false]);
                assert_eq!(found, expected, "{said}");
            }
            // A path is the parent's path and the node.
            let paths = format!(
                "WITH t AS (SELECT * FROM {call})
                 SELECT count(*) FROM t LEFT JOIN t AS p ON p.node_id = t.parent_id
                 WHERE t.path = coalesce(p.path, '{{}}') || t.node_id AND cardinality(t.path) = t.depth + 1"
            );
            let good: i64 = own
                .query_one(&paths, &[&start, &depth, &direction, &types, &strength, &true])
                .unwrap()
                .get(0);
            assert_eq!(good as usize, expected.len(), "{said}");
            rows += expected.len();
            deepest = deepest.max(expected.last().map_or(0, |row| row[..1].parse().unwrap()));
        }
    }
    // The graphs are worth walking.
    // Random graphs that hold nothing would compare nothing.
    assert!(rows > 200 && deepest >= 2, "{rows} rows, depth {deepest}");
}

#[test]
fn eight_clients_storing_one_entity_lose_nothing() {
    const CLIENTS: usize = 8;
    const STORES: usize = 1000;
    const KEYS: usize = 20;
    let cluster = memory("entity");
    let start = Barrier::new(CLIENTS);
    let store = &|client: usize| {
        let mut connection = serve(&cluster, Some("eve"));
        let statement = connection
            .prepare(
                "SELECT memory.store_node(jsonb_build_object('entity_id', 7, 'entity_system', 'crm', $1::text, true,
                     'entity_data', jsonb_build_object('clients', jsonb_build_object($1, $2::int))),
                     'domain_entity', tags => ARRAY[$1], metadata => jsonb_build_object($1, $2))::text",
            )
            .unwrap();
        start.wait();
        let mut ids = BTreeSet::new();
        for i in 0..STORES {
            let key = format!("c{client}-{}", i % KEYS);
            ids.insert(
                connection
                    .query_one(&statement, &[&key, &(i as i32)])
                    .unwrap()
                    .get::<_, String>(0),
            );
        }
        ids
    };
    let ids: BTreeSet<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || store(client))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let row = serve(&cluster, Some("eve"))
        .query_one(
            "SELECT count(*), sum(access_count)::bigint, max((content->>'update_count')::bigint),
                 max((SELECT count(*) FROM jsonb_object_keys(content) k WHERE k LIKE 'c%-%')),
                 max((SELECT count(*) FROM jsonb_object_keys(content#>'{entity_data,clients}'))),
                 max(cardinality(tags)::bigint), max((SELECT sum(v::int) FROM jsonb_each_text(metadata) AS m (k, v)))::bigint
             FROM memory.nodes",
            &[],
        )
        .unwrap();
    let keys = (CLIENTS * KEYS) as i64;
    let counts: Vec<i64> = (0..6).map(|i| row.get(i)).collect();
    assert_eq!(counts, [1, 8000, 7999, keys, keys, keys]);
    // Each key holds its last value.
    let last: usize = (STORES - KEYS..STORES).sum();
    assert_eq!(row.get::<_, i64>(6), (CLIENTS * last) as i64);
    // The history has every one of them, once and in order, each with one store more, and ends with what is there.
    let row = serve(&cluster, Some("eve"))
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE (h.content->>'update_count')::bigint = h.version - 1 AND h.changed_at >= h.before),
                 bool_and(h.content = n.content) FILTER (WHERE h.version = 8000), bool_and(memory.node_as_of(n.node_id, NULL) = to_jsonb(n))
                     FILTER (WHERE h.version = 1)
             FROM memory.nodes AS n CROSS JOIN LATERAL (
                 SELECT v.*, lag(v.changed_at, 1, '-infinity') OVER (ORDER BY v.version) AS before FROM memory.node_history(n.node_id) AS v
             ) AS h",
            &[],
        )
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (8000, 8000));
    assert_eq!((row.get::<_, bool>(2), row.get::<_, bool>(3)), (true, true));
}

#[test]
fn batches_in_any_order_never_deadlock() {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 25;
    const ENTITIES: usize = 40;
    let cluster = memory("batches");
    let seeds = {
        let mut random = seed();
        [(); CLIENTS].map(|()| random.number() | 1)
    };
    let start = Barrier::new(CLIENTS);
    let work = &|client: usize| {
        let mut random = Random(seeds[client]);
        let mut connection = serve(&cluster, Some("eve"));
        let mut order: Vec<usize> = (0..ENTITIES).collect();
        let mut stored: BTreeMap<usize, i64> = BTreeMap::new();
        start.wait();
        for _ in 0..ROUNDS {
            random.shuffle(&mut order);
            let batch: Vec<usize> = order.iter().copied().chain([order[0], order[1]]).collect();
            let elements: Vec<String> = batch
                .iter()
                .map(|i| {
                    format!(
                        r#"{{"content": {{"entity_id": {i}, "entity_system": "crm"}}, "context_type": "domain_entity"}}"#
                    )
                })
                .collect();
            let answer = connection
                .query(
                    "SELECT node_id::text FROM memory.store_nodes($1::text::jsonb)",
                    &[&format!("[{}]", elements.join(","))],
                )
                .unwrap();
            let ids: Vec<String> = answer.iter().map(|row| row.get(0)).collect();
            for i in &batch {
                *stored.entry(*i).or_default() += 1;
            }
            // Relationships between the same nodes, in another order, and touches.
            let edges: Vec<String> = (0..60)
                .map(|_| {
                    let (from, to) = (random.one_of_ref(&ids), random.one_of_ref(&ids));
                    format!(r#"{{"from_node_id": "{from}", "to_node_id": "{to}", "relationship_type": "led_to"}}"#)
                })
                .collect();
            connection
                .execute(
                    "SELECT memory.store_relationships($1::text::jsonb)",
                    &[&format!("[{}]", edges.join(","))],
                )
                .unwrap();
            let touched: i64 = connection
                .query_one("SELECT memory.touch_nodes($1::text[]::uuid[])", &[&ids])
                .unwrap()
                .get(0);
            assert_eq!(touched as usize, ENTITIES);
            for i in 0..ENTITIES {
                *stored.entry(i).or_default() += 1;
            }
        }
        stored
    };
    let mut stored: BTreeMap<usize, i64> = BTreeMap::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
        for client in clients {
            for (entity, count) in client.join().unwrap() {
                *stored.entry(entity).or_default() += count;
            }
        }
    });
    let counted: BTreeMap<usize, i64> = serve(&cluster, Some("eve"))
        .query("SELECT entity_id::bigint, access_count FROM memory.nodes", &[])
        .unwrap()
        .iter()
        .map(|row| (row.get::<_, i64>(0) as usize, row.get(1)))
        .collect();
    assert_eq!(counted, stored);
}

#[test]
fn deleting_beside_relating_leaves_no_loose_end() {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 40;
    let cluster = memory("deleting");
    let seeds = {
        let mut random = seed();
        [(); CLIENTS].map(|()| random.number() | 1)
    };
    let start = Barrier::new(CLIENTS);
    let work = &|client: usize| {
        let mut random = Random(seeds[client]);
        let mut connection = serve(&cluster, Some("eve"));
        start.wait();
        for _ in 0..ROUNDS {
            let mut entities: Vec<u64> = (0..12).collect();
            random.shuffle(&mut entities);
            let ids: Vec<String> = connection
                .query(
                    "SELECT n.node_id::text FROM memory.store_nodes((
                         SELECT jsonb_agg(jsonb_build_object('context_type', 'domain_entity',
                             'content', jsonb_build_object('entity_system', 'crm', 'entity_id', e)))
                         FROM unnest($1::bigint[]) AS e)) AS n",
                    &[&entities.iter().map(|e| *e as i64).collect::<Vec<_>>()],
                )
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect();
            if client.is_multiple_of(2) {
                connection
                    .execute("SELECT memory.delete_nodes($1::text[]::uuid[])", &[&ids[..4].to_vec()])
                    .unwrap();
            } else {
                let edges: Vec<String> = (0..20)
                    .map(|_| {
                        let (from, to) = (random.one_of_ref(&ids), random.one_of_ref(&ids));
                        format!(r#"{{"from_node_id": "{from}", "to_node_id": "{to}", "relationship_type": "led_to"}}"#)
                    })
                    .collect();
                let stored = connection.execute(
                    "SELECT memory.store_relationships($1::text::jsonb)",
                    &[&format!("[{}]", edges.join(","))],
                );
                // A node that somebody deleted meanwhile is an unknown one, never a broken foreign key.
                if let Err(error) = stored {
                    assert_eq!(error.code().map(|code| code.code()), Some("P0002"), "{error}");
                }
            }
        }
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || work(client));
        }
    });
}
