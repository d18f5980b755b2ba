//! Each tenant gets its exact nearest, however much data others have; and what was just written, by whatever isolation.

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

/// Tenants, each with one user.
const SMALL: i32 = 2_000;
const EACH: i32 = 50;
const LARGE: i32 = 200_000;

/// As a restore does: no audit, no checks of keys. Vectors are small, so that this is quick.
const FILL: &str = "
    SET session_replication_role = replica;
    INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
    SELECT t.id, 'user', memory.uuid_v7(), '{}', 'domain_entity' FROM memory.tenants t, generate_series(1, COUNT) i WHERE WHO ORDER BY i, t.id;
    INSERT INTO memory.SPACE (tenant_id, user_id, node_id, embedding)
    SELECT n.tenant_id, n.user_id, n.node_id,
        ARRAY[random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5]::real[]::vector
    FROM memory.nodes n JOIN memory.tenants t ON t.id = n.tenant_id WHERE WHO;
    RESET session_replication_role";

fn fill(client: &mut Client, who: &str, count: i32) {
    let space: String = client
        .query_one("SELECT relation FROM memory.embedding_spaces", &[])
        .unwrap()
        .get(0);
    let sql = FILL
        .replace("COUNT", &count.to_string())
        .replace("WHO", who)
        .replace("SPACE", &space);
    client.batch_execute(&sql).unwrap();
    client.batch_execute("ANALYZE memory.nodes").unwrap();
}

/// What every small tenant finds, in one text per query.
fn answers(client: &mut Client) -> Vec<(String, String)> {
    let rows = client.query("SELECT slug, answer FROM every_answer()", &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn assert_same(found: &[(String, String)], expected: &[(String, String)], when: &str) {
    assert_eq!(found.len(), expected.len(), "{when}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{when}");
    }
}

/// Asks as each tenant's user; beside it what sorting all of that user's vectors gives.
const ASK: &str = "
    CREATE FUNCTION every_answer() RETURNS TABLE (slug text, answer text) LANGUAGE plpgsql AS $$
    DECLARE
        t memory.tenants;
        query vector := '[0.3, -0.1, 0.2, 0.4, -0.2, 0.1, 0, 0.1]';
    BEGIN
        FOR t IN SELECT * FROM memory.tenants WHERE tenants.slug LIKE 'small-%' ORDER BY tenants.slug LOOP
            PERFORM memory.set_security_context(t.slug, 'user');
            slug := t.slug;
            answer := (SELECT string_agg(node_id || ' ' || round(score::numeric, 9), ',') FROM memory.nearest_nodes(query));
            RETURN NEXT;
        END LOOP;
    END $$;
    CREATE FUNCTION every_truth() RETURNS TABLE (slug text, answer text) LANGUAGE sql AS $$
        SELECT t.slug, (
            SELECT string_agg(e.node_id || ' ' || round(e.score::numeric, 9), ',' ORDER BY e.score DESC, e.node_id)
            FROM (SELECT e.node_id, d.score FROM memory.embeddings e, LATERAL (
                      -- in double precision, as pgvector's own distances are not
                      SELECT sum(x.a::float8 * x.q) / sqrt(sum(x.a::float8 * x.a::float8)) / sqrt(sum(x.q * x.q)) AS score
                      FROM unnest(e.embedding::real[], ARRAY[0.3, -0.1, 0.2, 0.4, -0.2, 0.1, 0, 0.1]::real[]::float8[]) AS x (a, q)
                  ) d WHERE e.tenant_id = t.id AND e.user_id = 'user' ORDER BY 2 DESC, 1 LIMIT 10) e
        ) FROM memory.tenants t WHERE t.slug LIKE 'small-%' ORDER BY t.slug
    $$";

#[test]
fn two_thousand_small_tenants_find_their_own_beside_a_large_one() {
    let cluster = Cluster::with("embedding", true, &["shared_buffers = '256MB'", "autovacuum = off"]);
    cluster.create_database("d");
    let mut client = cluster.connect("d", SUPERUSER);
    client
        .batch_execute(&format!(
            "INSERT INTO memory.tenants (slug) SELECT 'small-' || i FROM generate_series(1, {SMALL}) i UNION ALL SELECT 'large';
             SELECT memory.create_embedding_space('m', 8);
             {ASK}"
        ))
        .unwrap();
    fill(&mut client, "t.slug LIKE 'small-%'", EACH);
    let before = answers(&mut client);
    assert_eq!(before.len(), SMALL as usize);
    assert!(before.iter().all(|(_, answer)| answer.split(',').count() == 10));
    let truth: Vec<(String, String)> = client
        .query("SELECT slug, answer FROM every_truth()", &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_same(&before, &truth, "alone");

    // The others' data grows a thousandfold, and moves into the index that all share.
    fill(&mut client, "t.slug = 'large'", LARGE);
    assert_same(&answers(&mut client), &before, "beside a large tenant");
    client
        .batch_execute("SELECT memory.clear_security_context(), memory.index_embeddings(3000)")
        .unwrap();
    assert_same(&answers(&mut client), &before, "while the large one is moved");
    client.batch_execute("VACUUM ANALYZE").unwrap();
    assert_same(&answers(&mut client), &before, "after VACUUM");

    // No lock is taken per tenant.
    client.batch_execute("BEGIN").unwrap();
    answers(&mut client);
    let locks: i64 = client
        .query_one("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    client.batch_execute("COMMIT").unwrap();
    assert!(locks < 50, "{locks} locks");

    // The large one finds what it has just written, moved or not.
    client
        .batch_execute("SELECT memory.set_security_context('large', 'user', is_local => false)")
        .unwrap();
    let near: f64 = client
        .query_one(
            "SELECT max(score) FROM memory.nearest_nodes('[1, 0, 0, 0, 0, 0, 0, 1]')",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(near < 0.999_999, "{near}");
    client
        .batch_execute(
            "SELECT memory.store_embedding('m', memory.store_node('{}', 'domain_entity'), '[1, 0, 0, 0, 0, 0, 0, 1]')",
        )
        .unwrap();
    let near: f64 = client
        .query_one(
            "SELECT max(score) FROM memory.nearest_nodes('[1, 0, 0, 0, 0, 0, 0, 1]')",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(near > 0.999_999, "{near}");
}

/// A search sees what a SELECT of the same transaction sees, no more and no less.
#[test]
fn a_search_has_the_snapshot_of_its_statement() {
    let cluster = Cluster::new("embsnap");
    cluster.create_database("d");
    let mut owner = cluster.connect("d", SUPERUSER);
    owner
        .batch_execute(
            "INSERT INTO memory.tenants (slug) VALUES ('acme');
             SELECT memory.create_embedding_space('m', 2);
             SELECT memory.set_security_context('acme', 'ann', is_local => false);
             SELECT memory.store_embedding('m', memory.store_node('{}', 'domain_entity'), '[1,0]') FROM generate_series(1, 3)",
        )
        .unwrap();
    let seen = "SELECT (SELECT count(*) FROM memory.nearest_nodes('[1,1]', max_results => 100))::int4, (SELECT count(*) FROM memory.embeddings)::int4";
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for vacuumed in [false, true] {
            if vacuumed {
                owner.batch_execute("VACUUM").unwrap();
            }
            let mut reader = cluster.connect("d", SUPERUSER);
            reader
                .batch_execute("SELECT memory.set_security_context('acme', 'ann', is_local => false)")
                .unwrap();
            reader
                .batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}"))
                .unwrap();
            let mut count = || {
                let row = reader.query_one(seen, &[]).unwrap();
                assert_eq!(row.get::<_, i32>(0), row.get::<_, i32>(1), "{isolation}");
                row.get::<_, i32>(0)
            };
            let before = count();
            owner
                .batch_execute(
                    "SELECT memory.store_embedding('m', memory.store_node('{}', 'domain_entity'), '[0,1]') FROM generate_series(1, 5);
                     SELECT memory.delete_nodes(ARRAY(SELECT node_id FROM memory.nodes ORDER BY node_id LIMIT 2))",
                )
                .unwrap();
            let expected = if isolation == "READ COMMITTED" {
                before + 3
            } else {
                before
            };
            assert_eq!(count(), expected, "{isolation}");
            // Its own writes too, while they are not committed.
            if isolation != "SERIALIZABLE" {
                reader
                    .batch_execute(
                        "SELECT memory.store_embedding('m', memory.store_node('{}', 'domain_entity'), '[0,1]') FROM generate_series(1, 2)",
                    )
                    .unwrap();
                let row = reader.query_one(seen, &[]).unwrap();
                assert_eq!(
                    (row.get::<_, i32>(0), row.get::<_, i32>(1)),
                    (expected + 2, expected + 2),
                    "{isolation}"
                );
            }
            reader.batch_execute("ROLLBACK").unwrap();
        }
    }
}

/// Two who each read by searching what the other writes: one of them is refused (40001).
#[test]
fn serializable_searches_conflict_with_writers() {
    let cluster = Cluster::new("embserial");
    cluster.create_database("d");
    let mut clients: Vec<Client> = (0..2).map(|_| cluster.connect("d", SUPERUSER)).collect();
    clients[0]
        .batch_execute(
            "INSERT INTO memory.tenants (slug) VALUES ('acme');
             SELECT memory.create_embedding_space('m', 2);
             SELECT memory.set_security_context('acme', 'ann');
             INSERT INTO memory.nodes (tenant_id, user_id, content, context_type) SELECT id, 'ann', '{}', 'domain_entity' FROM memory.tenants, generate_series(1, 2)",
        )
        .unwrap();
    let nodes: Vec<String> = clients[0]
        .query("SELECT node_id::text FROM memory.nodes ORDER BY 1", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    for client in &mut clients {
        for statement in [
            "SELECT memory.set_security_context('acme', 'ann', is_local => false)",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "SELECT * FROM memory.nearest_nodes('[1,1]')",
        ] {
            client.batch_execute(statement).unwrap();
        }
    }
    let mut refused = 0;
    for (client, node) in clients.iter_mut().zip(&nodes) {
        let stored = client.batch_execute(&format!("SELECT memory.store_embedding('m', '{node}', '[1,0]')"));
        refused += i32::from(stored.is_err());
    }
    for client in &mut clients {
        refused += i32::from(client.batch_execute("COMMIT").is_err());
    }
    assert!(refused > 0, "neither was refused");
}
