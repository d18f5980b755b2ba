//! Paths, ranking and drawings from outside: against brute force in SQL on random graphs, against petgraph and plain iteration on a
//! real one, and through Graphviz.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::process::{Command, Stdio};

use cluster::SUPERUSER;
use cluster::graph::{TYPES, day, identify, literal, memory, random_graph, serve};
use cluster::postgres::Client;
use cluster::random::seed;
use petgraph::graphmap::DiGraphMap;

/// Every simple path, the best of them: its steps. $1 user, $2 from, $3 to, $4 depth, $5 weighted, $6 direction, $7 types, $8 as_of.
const BEST_PATH: &str = "
WITH RECURSIVE seen AS (
    SELECT node_id FROM memory.nodes
    WHERE tenant_id = memory.tenant_id('acme') AND user_id = $1 AND valid_from <= $8
        AND coalesce(valid_to > $8, true) AND coalesce(expires_at > $8, true)
), valid AS (
    SELECT *, CASE WHEN $5 THEN 1 / nullif(strength, 0) ELSE 1 END AS cost FROM memory.relationships
    WHERE tenant_id = memory.tenant_id('acme') AND user_id = $1 AND valid_from <= $8 AND coalesce(valid_to > $8, true)
        AND coalesce(relationship_type = ANY ($7), true)
        AND from_node_id IN (TABLE seen) AND to_node_id IN (TABLE seen)
), edges AS (
    SELECT from_node_id AS parent, to_node_id AS target, relationship_type AS kind, cost FROM valid
    WHERE $6 <> 'in' AND cost IS NOT NULL
    UNION ALL
    SELECT to_node_id, from_node_id, relationship_type, cost FROM valid WHERE $6 <> 'out' AND cost IS NOT NULL
), way AS (
    SELECT node_id AS at, ARRAY[node_id] AS nodes, ARRAY[]::text[] COLLATE \"C\" AS kinds, ARRAY[0::float8] AS costs
    FROM seen WHERE node_id = $2::text::uuid
    UNION ALL
    SELECT e.target, w.nodes || e.target, w.kinds || e.kind, w.costs || w.costs[cardinality(w.costs)] + e.cost
    FROM way w JOIN edges e ON e.parent = w.at
    WHERE w.at <> $3::text::uuid AND cardinality(w.kinds) < $4 AND e.target <> ALL (w.nodes)
), best AS (
    SELECT * FROM way WHERE at = $3::text::uuid
    ORDER BY costs[cardinality(costs)], cardinality(nodes), nodes, kinds LIMIT 1
)
SELECT concat_ws(' ', i - 1, nodes[i], kinds[i - 1], costs[i]) FROM best, generate_series(1, cardinality(nodes)) AS i ORDER BY i";

fn texts(client: &mut Client, sql: &str, parameters: &[&(dyn cluster::postgres::types::ToSql + Sync)]) -> Vec<String> {
    client
        .query(sql, parameters)
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[test]
fn a_path_is_the_best_that_brute_force_finds() {
    let cluster = memory("path");
    let mut random = seed();
    let mut admin = cluster.connect("app", SUPERUSER);
    let (mut own, mut tenant) = (serve(&cluster, None), serve(&cluster, None));
    let (mut found_some, mut longest) = (0, 0);
    for graph in 0..250 {
        let user = format!("user-{graph}");
        let nodes = random_graph(&mut random, &mut admin, &user);
        // Costs of 1, 2 and 4 add up exactly, so that ties are ties.
        admin
            .batch_execute("UPDATE memory.relationships SET strength = 1 WHERE strength = 0.75")
            .unwrap();
        identify(&mut own, Some(&user));
        for _ in 0..3 {
            let mut end = || match random.below(12) {
                0 => random.uuid(),
                _ => random.one_of_ref(&nodes).clone(),
            };
            let (from, to) = (end(), end());
            let (depth, weighted) = (random.below(8) as i32, random.below(2) == 0);
            let direction = random.one_of(&["out", "in", "both"]);
            let types: Option<Vec<&str>> =
                (random.below(4) == 0).then(|| (0..random.below(4)).map(|_| random.one_of(&TYPES)).collect());
            let at = literal(day(&mut random, true));
            let model = BEST_PATH.replace("$8", &format!("coalesce({at}, now())"));
            let expected = texts(
                &mut admin,
                &model,
                &[&user, &from, &to, &depth, &weighted, &direction, &types],
            );
            let sql = format!(
                "SELECT concat_ws(' ', step, node_id, relationship_type, cost)
                 FROM memory.shortest_path($1::text::uuid, $2::text::uuid, $3, $4, $5, $6, {at})"
            );
            for client in [&mut own, &mut tenant] {
                let found = texts(client, &sql, &[&from, &to, &depth, &weighted, &direction, &types]);
                assert_eq!(
                    found, expected,
                    "{user}: {from} {to} {depth} {weighted} {direction} {types:?} {at}"
                );
            }
            found_some += usize::from(expected.len() > 1);
            longest = longest.max(expected.len());
        }
    }
    println!("{found_some} paths, the longest of {longest} nodes");
    // Random graphs without paths would compare nothing.
    assert!(
        found_some > 50 && longest > 3,
        "{found_some} paths, the longest of {longest}"
    );
}

/// Two users have nodes with the same ids, one the other's relationships turned round. A service that names no user gets what the two
/// get together, and no walk that goes from one's graph into the other's.
#[test]
fn a_service_walks_through_each_graph_for_itself() {
    let cluster = memory("shared");
    let mut random = seed();
    let mut admin = cluster.connect("app", SUPERUSER);
    let mut tenant = serve(&cluster, None);
    let (mut rows, mut paths) = (0, 0);
    for graph in 0..60 {
        let (user, other) = (format!("user-{graph}"), format!("other-{graph}"));
        let nodes = random_graph(&mut random, &mut admin, &user);
        admin
            .batch_execute(&format!(
                "UPDATE memory.relationships SET strength = 1 WHERE strength = 0.75;
                 INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, valid_from)
                 SELECT tenant_id, '{other}', node_id, content, context_type, valid_from
                 FROM memory.nodes WHERE user_id = '{user}';
                 INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type, strength)
                 SELECT DISTINCT ON (from_node_id, to_node_id) tenant_id, '{other}', to_node_id, from_node_id, 'produces', strength
                 FROM memory.relationships WHERE user_id = '{user}' AND hashtext(id::text) % 2 = 0
                 ORDER BY from_node_id, to_node_id, id"
            ))
            .unwrap();
        let users = [&user, &other];
        let start: Vec<&String> = (0..2).map(|_| random.one_of_ref(&nodes)).collect();
        let (depth, direction) = (random.below(6) as i32, random.one_of(&["out", "in", "both"]));
        let each = "SELECT DISTINCT ON (t.node_id) t.* FROM unnest($4::text[]) AS u,
             LATERAL memory.traverse($1::text[]::uuid[], $2, $3, tenant => 'acme', user_id => u) AS t
             ORDER BY t.node_id, t.depth, t.parent_id, t.relationship_type COLLATE \"C\"";
        let row = "SELECT concat_ws(' ', depth, node_id, parent_id, relationship_type)";
        let expected = texts(
            &mut admin,
            &format!("{row} FROM ({each}) AS t ORDER BY depth, node_id"),
            &[&start, &depth, &direction, &users.as_slice()],
        );
        let found = texts(
            &mut tenant,
            &format!("{row} FROM memory.traverse($1::text[]::uuid[], $2, $3)"),
            &[&start, &depth, &direction],
        );
        assert_eq!(found, expected, "{user}: {start:?} {depth} {direction}");
        rows += found.len();
        let weighted = random.below(2) == 0;
        let row = "SELECT string_agg(concat_ws(' ', step, node_id, relationship_type, cost), ', ' ORDER BY step)";
        let expected = texts(
            &mut admin,
            &format!(
                "SELECT path FROM unnest($6::text[]) AS u, LATERAL (
                     {row} AS path, max(cost) AS cost, max(step) AS steps, array_agg(node_id ORDER BY step) AS nodes,
                         array_agg(relationship_type ORDER BY step) AS types
                     FROM memory.shortest_path($1::text::uuid, $2::text::uuid, $3, $4, $5, tenant => 'acme', user_id => u)) AS p
                 WHERE path IS NOT NULL ORDER BY cost, steps, nodes, types COLLATE \"C\" LIMIT 1"
            ),
            &[&start[0], &start[1], &depth, &weighted, &direction, &users.as_slice()],
        );
        let found = texts(
            &mut tenant,
            &format!("SELECT path FROM ({row} AS path
                     FROM memory.shortest_path($1::text::uuid, $2::text::uuid, $3, $4, $5)) AS p WHERE path IS NOT NULL"),
            &[&start[0], &start[1], &depth, &weighted, &direction],
        );
        assert_eq!(found, expected, "{user}: {start:?} {depth} {weighted} {direction}");
        paths += found.len();
    }
    println!("{rows} rows, {paths} paths");
    assert!(rows > 60 && paths > 10, "{rows} rows, {paths} paths");
}

/// An edge: from, to, strength.
type Edge = (String, String, f64);

/// Personalised PageRank by going through the edges 400 times.
fn ranks(nodes: &BTreeSet<String>, edges: &[Edge], seeds: &BTreeSet<String>, damping: f64) -> BTreeMap<String, f64> {
    let place: HashMap<&String, usize> = nodes.iter().enumerate().map(|(i, node)| (node, i)).collect();
    let edges: Vec<(usize, usize, f64)> = edges
        .iter()
        .filter_map(|(from, to, strength)| Some((*place.get(from)?, *place.get(to)?, *strength)))
        .collect();
    let mut out = vec![0.0; nodes.len()];
    for (from, _, strength) in &edges {
        out[*from] += strength;
    }
    let seed: Vec<f64> = nodes
        .iter()
        .map(|node| {
            if seeds.contains(node) {
                1.0 / seeds.len() as f64
            } else {
                0.0
            }
        })
        .collect();
    let mut score = seed.clone();
    for _ in 0..400 {
        let mut next: Vec<f64> = seed.iter().map(|seed| (1.0 - damping) * seed).collect();
        for (from, to, strength) in edges.iter().filter(|edge| edge.2 > 0.0) {
            next[*to] += damping * score[*from] * strength / out[*from];
        }
        for (i, out) in out.iter().enumerate() {
            if *out == 0.0 {
                for (next, seed) in next.iter_mut().zip(&seed).filter(|(_, seed)| **seed > 0.0) {
                    *next += damping * score[i] * seed;
                }
            }
        }
        score = next;
    }
    nodes.iter().cloned().zip(score).collect()
}

/// What rank_related() gives is what plain iteration gives over what traverse() reaches and the relationships between.
fn compare_ranks(
    client: &mut Client,
    edges: &[Edge],
    seeds: &[String],
    depth: i32,
    direction: &str,
    damping: f64,
) -> usize {
    let reached = texts(
        client,
        "SELECT node_id::text FROM memory.traverse($1::text[]::uuid[], $2, $3, paths => false)",
        &[&seeds, &depth, &direction],
    );
    let nodes: BTreeSet<String> = reached.into_iter().collect();
    let seeds_seen = seeds.iter().filter(|seed| nodes.contains(*seed)).cloned().collect();
    let mut walked = Vec::new();
    for (from, to, strength) in edges {
        if direction != "in" {
            walked.push((from.clone(), to.clone(), *strength));
        }
        if direction == "in" || direction == "both" && from != to {
            walked.push((to.clone(), from.clone(), *strength));
        }
    }
    let expected = ranks(&nodes, &walked, &seeds_seen, damping);
    let rows = client
        .query(
            "SELECT node_id::text, score FROM memory.rank_related($1::text[]::uuid[], 1000000, $2, $3, $4)",
            &[&seeds, &(damping as f32), &depth, &direction],
        )
        .unwrap();
    let rows: Vec<(String, f64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(rows.is_sorted_by(|a, b| (b.1, &a.0) < (a.1, &b.0)), "by score, then id");
    assert_eq!(rows.len(), nodes.len());
    for (node, score) in &rows {
        assert!(
            (score - expected[node]).abs() < 2e-8,
            "{seeds:?} {direction} {damping}: {node} {score} {}",
            expected[node]
        );
    }
    let sum: f64 = rows.iter().map(|row| row.1).sum();
    assert!(rows.is_empty() || (sum - 1.0).abs() < 1e-6, "{sum}");
    rows.len()
}

#[test]
fn ranks_are_what_plain_iteration_gives() {
    let cluster = memory("rank");
    let mut random = seed();
    let mut admin = cluster.connect("app", SUPERUSER);
    let mut own = serve(&cluster, None);
    let mut rows = 0;
    for graph in 0..200 {
        let user = format!("user-{graph}");
        let nodes = random_graph(&mut random, &mut admin, &user);
        identify(&mut own, Some(&user));
        let edges: Vec<Edge> = admin
            .query(
                "SELECT from_node_id::text, to_node_id::text, strength::float8 FROM memory.relationships
                 WHERE user_id = $1 AND valid_from <= now() AND coalesce(valid_to > now(), true)",
                &[&user],
            )
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect();
        let mut seeds: Vec<String> = (0..random.below(4))
            .map(|_| random.one_of_ref(&nodes).clone())
            .collect();
        if random.below(4) == 0 {
            seeds.push(random.uuid());
        }
        let direction = random.one_of(&["out", "in", "both"]);
        let damping = random.one_of(&[0.0, 0.5, 0.85, 0.95]);
        rows += compare_ranks(&mut own, &edges, &seeds, random.below(5) as i32, direction, damping);
    }
    assert!(rows > 100, "{rows} rows");
}

/// From, to, type, strength.
type Need = (String, String, &'static str, f32);

/// The names that follow each other in a field: what is needed, how, how strongly.
type Needs = Vec<(&'static str, f32, Vec<String>)>;

/// The packages that Debian's archive has (where apt knows none, those that are installed) and what each depends on and recommends.
fn packages() -> (Vec<String>, Vec<Need>) {
    let listed = Command::new("apt-cache")
        .arg("dumpavail")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let mut text = String::from_utf8_lossy(&listed).into_owned();
    if !text.contains("Package: ") {
        text = std::fs::read_to_string("/var/lib/dpkg/status").expect("a Debian or Ubuntu");
    }
    let mut found: BTreeMap<String, Needs> = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let Some(package) = field("Package") else { continue };
        let names = |field: Option<&str>| {
            let split = field.unwrap_or_default().split([',', '|']);
            split
                .filter_map(|part| Some(part.trim().split([' ', ':', '(']).next()?.to_owned()))
                .collect()
        };
        found.entry(package.to_owned()).or_insert_with(|| {
            vec![
                ("depends_on", 1.0, names(field("Pre-Depends"))),
                ("depends_on", 1.0, names(field("Depends"))),
                ("relates_to", 0.25, names(field("Recommends"))),
            ]
        });
    }
    // Of the archive what a few big packages need, directly or not: some thousand.
    let big = [
        "gnome",
        "kde-standard",
        "texlive",
        "build-essential",
        "postgresql",
        "r-base",
        "libreoffice",
    ];
    let mut wanted: Vec<String> = big
        .iter()
        .filter(|name| found.contains_key(**name))
        .map(|name| (*name).to_owned())
        .collect();
    if !wanted.is_empty() {
        let mut kept = BTreeMap::new();
        while let Some(name) = wanted.pop() {
            if let Some(needs) = found.remove(&name) {
                wanted.extend(needs.iter().flat_map(|(_, _, names)| names.iter().cloned()));
                kept.insert(name, needs);
            }
        }
        found = kept;
    }
    let mut edges = BTreeMap::new();
    for (package, needs) in &found {
        for (kind, strength, names) in needs {
            for name in names.iter().filter(|name| found.contains_key(*name)) {
                edges.insert((package.clone(), name.clone(), *kind), *strength);
            }
        }
    }
    let edges = edges
        .into_iter()
        .map(|((from, to, kind), strength)| (from, to, kind, strength))
        .collect();
    (found.into_keys().collect(), edges)
}

/// What Debian's packages need: many small ones, some that everything needs, cycles.
#[test]
fn on_the_packages_of_debian_paths_are_petgraphs_and_ranks_those_of_plain_iteration() {
    let cluster = memory("debian");
    let mut random = seed();
    let mut ann = serve(&cluster, Some("ann"));
    let (names, edges) = packages();
    for names in names.chunks(5000) {
        ann.execute(
            "SELECT FROM memory.store_nodes((SELECT jsonb_agg(jsonb_build_object('context_type', 'domain_entity',
                 'content', jsonb_build_object('entity_system', 'dpkg', 'entity_id', name))) FROM unnest($1::text[]) AS name))",
            &[&names],
        )
        .unwrap();
    }
    let rows = ann
        .query("SELECT entity_id, node_id::text FROM memory.nodes", &[])
        .unwrap();
    let ids: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let place: HashMap<&String, u32> = ids.values().zip(0..).collect();
    for edges in edges.chunks(5000) {
        let from: Vec<&String> = edges.iter().map(|edge| &ids[&edge.0]).collect();
        let to: Vec<&String> = edges.iter().map(|edge| &ids[&edge.1]).collect();
        let kinds: Vec<&str> = edges.iter().map(|edge| edge.2).collect();
        let strengths: Vec<f32> = edges.iter().map(|edge| edge.3).collect();
        ann.execute(
            "SELECT memory.store_relationships((SELECT jsonb_agg(jsonb_build_object('from_node_id', f, 'to_node_id', t,
                 'relationship_type', k, 'strength', s))
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::real[]) AS e (f, t, k, s)))",
            &[&from, &to, &kinds, &strengths],
        )
        .unwrap();
    }
    println!("{} packages, {} relationships", names.len(), edges.len());

    let ids_of: Vec<&String> = {
        let mut all: Vec<(&u32, &&String)> = place.iter().map(|(id, place)| (place, id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| *id).collect()
    };
    let (mut longest, mut paths) = (0, 0);
    for direction in ["out", "in", "both"] {
        for weighted in [false, true] {
            let mut rival = DiGraphMap::<u32, f64>::new();
            let mut join = |from: u32, to: u32, cost: f64| {
                let before = rival.edge_weight(from, to).copied().unwrap_or(f64::INFINITY);
                rival.add_edge(from, to, before.min(cost));
            };
            for (from, to, _, strength) in &edges {
                let (from, to) = (place[&ids[from]], place[&ids[to]]);
                let cost = if weighted { 1.0 / f64::from(*strength) } else { 1.0 };
                if direction != "in" {
                    join(from, to, cost);
                }
                if direction != "out" {
                    join(to, from, cost);
                }
            }
            for _ in 0..8 {
                // Some packages that need much, so that there are paths.
                let from = random.below(ids_of.len() as u64) as u32;
                rival.add_node(from);
                let costs = petgraph::algo::dijkstra(&rival, from, None, |edge| *edge.2);
                for _ in 0..8 {
                    let mut reached: Vec<&u32> = costs.keys().collect();
                    reached.sort_unstable();
                    let to = match random.below(4) {
                        0 => random.below(ids_of.len() as u64) as u32,
                        _ => *random.one_of(&reached),
                    };
                    let rows = ann
                        .query(
                            "SELECT node_id::text, cost FROM memory.shortest_path($1::text::uuid, $2::text::uuid, 1000, $3, $4)",
                            &[ids_of[from as usize], ids_of[to as usize], &weighted, &direction],
                        )
                        .unwrap();
                    let rows: Vec<(u32, f64)> = rows
                        .iter()
                        .map(|row| (place[&row.get::<_, String>(0)], row.get(1)))
                        .collect();
                    let said = format!(
                        "{} {} {direction} {weighted}",
                        ids_of[from as usize], ids_of[to as usize]
                    );
                    assert_eq!(rows.last().map(|row| row.1), costs.get(&to).copied(), "{said}");
                    for pair in rows.windows(2) {
                        assert_eq!(
                            rival.edge_weight(pair[0].0, pair[1].0),
                            Some(&(pair[1].1 - pair[0].1)),
                            "{said}"
                        );
                    }
                    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
                        assert_eq!((first.0, last.0), (from, to), "{said}");
                        paths += 1;
                    }
                    longest = longest.max(rows.len());
                }
            }
        }
    }
    println!("{paths} paths, the longest of {longest} nodes");
    assert!(paths > 100 && longest > 3);

    let edges: Vec<Edge> = edges
        .iter()
        .map(|edge| (ids[&edge.0].clone(), ids[&edge.1].clone(), f64::from(edge.3)))
        .collect();
    let mut ranked = 0;
    for (direction, depth) in [("out", 9), ("both", 1), ("both", 2), ("in", 2)] {
        let seeds: Vec<String> = (0..3).map(|_| random.one_of(&ids_of).clone()).collect();
        ranked += compare_ranks(&mut ann, &edges, &seeds, depth, direction, 0.85);
    }
    println!("{ranked} nodes ranked");
}

/// What Graphviz draws: the texts of its picture.
fn drawn(dot: &str) -> Vec<String> {
    let mut child = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dot: scripts/setup installs graphviz");
    child.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !complaints.to_lowercase().contains("syntax"),
        "{complaints}\n{dot}"
    );
    let svg = String::from_utf8(output.stdout).unwrap();
    assert!(!svg.contains("<script") && !svg.contains("href"), "{svg}");
    let mut texts = Vec::new();
    for text in svg.split("<text").skip(1) {
        let inner = text.split_once('>').unwrap().1.split_once("</text>").unwrap().0;
        let plain = inner
            .replace("&#160;", " ")
            .replace("&#45;", "-")
            .replace("&quot;", "\"")
            .replace("&#39;", "'");
        texts.push(plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"));
    }
    texts
}

#[test]
fn graphviz_draws_hostile_labels_as_they_stand() {
    let cluster = memory("draw");
    let mut ann = serve(&cluster, Some("ann"));
    let hostile = [
        r#"a"b"#,
        r#"\"]; evil [label="x"#,
        r"\",
        r"trailing \",
        r"\N \G \L \l \r \T \E",
        "<b>bold</b>",
        "<<table><tr><td>x</td></tr></table>>",
        "&lt;script&gt; &amp; &#60; &nbsp;",
        "</text><script>alert(1)</script>",
        "]]>",
        "{a|b|<p>c}",
        "/* comment */ // # too",
        "}; digraph x { subgraph cluster_0 {",
        "%%{init: {}}%% --> ;",
        "größer als ∞, 日本語, 🦀👩‍👩‍👧, e\u{301}",
        "javascript:alert(1)",
        "'; DROP TABLE memory.nodes; --",
        "node",
    ];
    ann.execute("SELECT memory.store_node('{}', 'tool_output', 'centre')", &[])
        .unwrap();
    for summary in hostile {
        ann.execute("SELECT memory.store_node('{}', 'tool_output', $1)", &[&summary])
            .unwrap();
    }
    ann.execute(
        "SELECT memory.store_node('{}', 'tool_output', E'line\\nbreak\\ttab\\u0001 \\u202eleft \\u2028')",
        &[],
    )
    .unwrap();
    ann.execute(
        "SELECT memory.store_relationships(jsonb_agg(jsonb_build_object('from_node_id', c.node_id, 'to_node_id', n.node_id,
             'relationship_type', 'led_to'))) FROM memory.nodes c, memory.nodes n WHERE c.summary = 'centre' AND n <> c",
        &[],
    )
    .unwrap();
    let dot = "SELECT memory.graph_dot(array_agg(node_id)) FROM memory.nodes WHERE summary = 'centre'";
    let dot: String = ann.query_one(dot, &[]).unwrap().get(0);
    let texts = drawn(&dot);
    for summary in hostile {
        // No label but the last is longer than 40 characters.
        let expected = summary.to_owned();
        assert!(texts.contains(&expected), "{expected}: {texts:?}");
    }
    assert!(texts.contains(&"line break tab left".to_owned()), "{texts:?}");
    // 20 nodes and 19 relationships, and nothing else.
    assert_eq!(texts.len(), hostile.len() + 2 + hostile.len() + 1, "{texts:?}");
}
