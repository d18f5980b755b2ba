//! Retrieval over long dialogues: what share of the evidence a search finds (recall), and what it takes at 6,000 nodes of one user.
//!
//! The data is not ours to carry: `MEMORY_BENCH_DIALOG` names a folder with turns.csv.gz and questions.csv.gz (conversation, session, turn,
//! said_at, speaker, text, embedding; conversation, question_no, category, question, evidence_turns, embedding).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};
use serde_json::{Value, json};

use crate::measure::{Job, Side};

const DATABASE: &str = "retrieval";

/// One tenant per conversation, one user, one node per turn; and all turns four times over, as one user's.
const SET_UP: &str = "
    CREATE TABLE turns (conversation text, session text, turn text, said_at timestamptz, speaker text, text text, embedding vector);
    CREATE TABLE questions (conversation text, question_no int, category int, question text, evidence text[], embedding vector)";
const STORE: &str = "
    SELECT memory.create_embedding_space('minilm', 384);
    INSERT INTO memory.tenants (slug) SELECT DISTINCT conversation FROM turns UNION ALL VALUES ('large');
    CREATE FUNCTION node(t turns, copy text) RETURNS jsonb LANGUAGE sql AS $$
        SELECT jsonb_build_object('context_type', 'conversation_fact', 'summary', t.speaker || ': ' || t.text,
            'content', jsonb_build_object('speaker', t.speaker, 'text', t.text, 'turn', t.turn), 'session_id', t.session || copy,
            'valid_from', t.said_at + split_part(t.turn, ':', 2)::int * interval '1 second')
    $$;
    CREATE FUNCTION store(tenant text, copy text, wanted text) RETURNS bigint LANGUAGE sql AS $$
        WITH t AS (SELECT t, row_number() OVER () AS n FROM turns AS t WHERE t.conversation ~ wanted),
            stored AS (SELECT * FROM memory.store_nodes((SELECT jsonb_agg(node(t.t, copy) ORDER BY n) FROM t), tenant, 'u'))
        SELECT memory.store_embeddings('minilm', array_agg(node_id ORDER BY n), array_agg((t.t).embedding ORDER BY n), tenant => tenant, user_id => 'u')
        FROM stored JOIN t ON n = ordinality
    $$;
    SELECT store(conversation, '', conversation) FROM (SELECT DISTINCT conversation FROM turns) AS c;
    SELECT store('large', copy, '.') FROM unnest('{a,b,c,d}'::text[]) AS copy;
    CREATE ROLE bench_service LOGIN;
    SELECT memory.grant_access('bench_service', 'service');
    GRANT SELECT ON questions TO bench_service;
    -- The rival: what people write today, one statement over full-text search and pgvector.
    CREATE TABLE rival AS SELECT n.tenant_id, n.user_id, n.node_id, n.summary, n.content, to_tsvector('english', n.summary) AS words, e.embedding
        FROM memory.nodes AS n JOIN memory.embeddings AS e USING (tenant_id, user_id, node_id);
    ALTER TABLE rival ADD PRIMARY KEY (tenant_id, user_id, node_id);
    CREATE INDEX ON rival USING gin (words);
    GRANT SELECT ON rival TO bench_service;
    ANALYZE";

const OURS: &str =
    "SELECT content ->> 'turn', summary FROM memory.search($1, $2::text::vector, max_results => $3, neighbours => $4)";
const RIVAL: &str = "
    WITH words AS (
        SELECT node_id, row_number() OVER (ORDER BY ts_rank(words, query) DESC, node_id) AS rank
        FROM rival, CAST(replace(plainto_tsquery('english', $1)::text, '&', '|') AS tsquery) AS query
        WHERE tenant_id = memory.current_tenant_id() AND user_id = memory.current_user_id() AND words @@ query ORDER BY rank LIMIT 100
    ), near AS (
        SELECT node_id, row_number() OVER (ORDER BY distance, node_id) AS rank FROM (
            SELECT node_id, embedding <=> asked AS distance FROM rival, (SELECT $2::text::vector AS asked OFFSET 0) AS q
            WHERE tenant_id = memory.current_tenant_id() AND user_id = memory.current_user_id() ORDER BY distance LIMIT 100) AS n
    )
    SELECT r.content ->> 'turn', r.summary FROM (
        SELECT node_id, sum(1.0 / (60 + rank)) AS score FROM (TABLE words UNION ALL TABLE near) AS both_legs GROUP BY node_id
        ORDER BY score DESC, node_id LIMIT $3::int) AS best
    JOIN rival AS r ON r.tenant_id = memory.current_tenant_id() AND r.user_id = memory.current_user_id() AND r.node_id = best.node_id
    WHERE $4::int = 0 ORDER BY best.score DESC, best.node_id";

struct Question {
    conversation: String,
    text: String,
    embedding: String,
    evidence: Vec<String>,
}

/// The loaded data, and a service's connection to it.
pub struct Retrieval {
    client: Rc<RefCell<Client>>,
    questions: Vec<Question>,
}

impl Retrieval {
    pub fn load(cluster: &Cluster, folder: &Path) -> Self {
        cluster.create_database(DATABASE);
        let mut client = cluster.connect(DATABASE, SUPERUSER);
        client.batch_execute(SET_UP).unwrap();
        for table in ["turns", "questions"] {
            let file = folder.join(format!("{table}.csv.gz"));
            let mut unpacked = Command::new("gzip")
                .arg("-dc")
                .arg(&file)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut copy = client
                .copy_in(&format!("COPY {table} FROM STDIN (FORMAT csv, HEADER)"))
                .unwrap();
            std::io::copy(unpacked.stdout.as_mut().unwrap(), &mut copy).unwrap();
            copy.flush().unwrap();
            copy.finish().unwrap();
            assert!(unpacked.wait().unwrap().success(), "{}", file.display());
        }
        client.batch_execute(STORE).unwrap();
        // Somebody's snapshot may keep it from pages that only searches of fresh data read twice.
        let unseen =
            "SELECT FROM pg_class WHERE oid = 'memory.search_documents'::regclass AND relallvisible < relpages";
        loop {
            client.batch_execute("VACUUM").unwrap();
            if client.query(unseen, &[]).unwrap().is_empty() {
                break;
            }
        }
        let mut client = cluster.connect(DATABASE, "bench_service");
        client.batch_execute("SET jit = off").unwrap();
        let rows = client.query("SELECT conversation, question, embedding::text, evidence FROM questions WHERE evidence <> '{}' ORDER BY conversation, question_no", &[]);
        let question = |row: cluster::postgres::Row| Question {
            conversation: row.get(0),
            text: row.get(1),
            embedding: row.get(2),
            evidence: row.get(3),
        };
        let questions = rows.unwrap().into_iter().map(question).collect();
        Self {
            client: Rc::new(RefCell::new(client)),
            questions,
        }
    }

    /// Milliseconds per search, the median of questions put to one user's 6,000 nodes; both sides prepared.
    pub fn jobs(&self) -> Vec<Job<'_>> {
        let job = |name: &str, neighbours| Job {
            name: format!("search: 6,000 nodes, {name} / one SQL statement"),
            unit: "ms",
            ours: self.median(OURS, neighbours),
            rival: self.median(RIVAL, 0),
            goal: None,
        };
        let bound = Job {
            name: "search: 6,000 nodes, both legs, neighbours => 1 / 3 ms".to_owned(),
            rival: Box::new(|| 3.0),
            goal: Some(1.0),
            ..job("", 1)
        };
        vec![job("both legs", 0), job("both legs, neighbours => 1", 1), bound]
    }

    fn median(&self, sql: &'static str, neighbours: i32) -> Side<'_> {
        let mut prepared = None;
        Box::new(move || {
            let mut client = self.client.borrow_mut();
            context(&mut client, "large");
            let statement = prepared.get_or_insert_with(|| client.prepare(sql).unwrap()).clone();
            let step = self.questions.len().div_ceil(100);
            let mut times: Vec<f64> = Vec::new();
            for question in self.questions.iter().step_by(step) {
                let start = Instant::now();
                client
                    .query(&statement, &[&question.text, &question.embedding, &10i32, &neighbours])
                    .unwrap();
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
    }

    /// Recall at 5, 10, 25 and 50, in per cent, of each way to search.
    pub fn recall(&self) -> Vec<(&'static str, [f64; 4])> {
        let no_text = OURS.replace("$1,", "nullif($1, $1),");
        let no_vector = OURS.replace("$2::text::vector", "nullif($2, $2)::vector");
        let ways: [(&str, &str, i32); 6] = [
            ("one SQL statement: ts_rank, pgvector, k = 60", RIVAL, 0),
            ("memory.search, embedding only", &no_text, 0),
            ("memory.search, query only", &no_vector, 0),
            ("memory.search, query only, neighbours => 1", &no_vector, 1),
            ("memory.search", OURS, 0),
            ("memory.search, neighbours => 1", OURS, 1),
        ];
        ways.map(|(name, sql, neighbours)| (name, self.recall_of(sql, neighbours)))
            .into()
    }

    fn recall_of(&self, sql: &str, neighbours: i32) -> [f64; 4] {
        let mut client = self.client.borrow_mut();
        let statement = client.prepare(sql).unwrap();
        let mut sums = [0.0; 4];
        let mut conversation = "";
        for question in &self.questions {
            if conversation != question.conversation {
                conversation = &question.conversation;
                context(&mut client, conversation);
            }
            for (sum, most) in sums.iter_mut().zip([5i32, 10, 25, 50]) {
                let rows = client
                    .query(&statement, &[&question.text, &question.embedding, &most, &neighbours])
                    .unwrap();
                let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                let hits = question.evidence.iter().filter(|turn| found.contains(turn)).count();
                *sum += 100.0 * hits as f64 / question.evidence.len() as f64;
            }
        }
        sums.map(|sum| sum / self.questions.len() as f64)
    }
}

fn context(client: &mut Client, tenant: &str) {
    client
        .execute(
            "SELECT memory.set_security_context($1, 'u', is_local => false)",
            &[&tenant],
        )
        .unwrap();
}

/// The table, for people.
pub fn table(recall: &[(&str, [f64; 4])]) -> String {
    let mut text = format!("{:<46} | R@5  | R@10 | R@25 | R@50\n", "recall, %");
    for (name, [five, ten, twenty_five, fifty]) in recall {
        writeln!(
            text,
            "{name:<46} | {five:4.1} | {ten:4.1} | {twenty_five:4.1} | {fifty:4.1}"
        )
        .expect("a String takes all");
    }
    text
}

/// The same for target/bench.json.
pub fn json(recall: &[(&str, [f64; 4])]) -> Value {
    recall
        .iter()
        .map(|(name, at)| json!({ "method": name, "recall": { "5": at[0], "10": at[1], "25": at[2], "50": at[3] } }))
        .collect()
}
