//! The lexical leg of a search: of all nodes in the scope that pass the filter, those whose words match a query best.
//!
//! A user's documents lie together in the index of search_documents; one pass over them counts and matches (`bm25`). It reads beyond
//! row-level security (see `pg::range`) and only orders: whatever is in the answer has passed a `Filter`, which reads the nodes as the
//! caller.

use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

use pgrx::pg_sys;

use super::bm25::{Constants, Document, Index, Phrases, Scored};
use super::document::{Part, Text};
use super::filter::{Filter, Hit, Key, nodes_at};
use super::language::Language;
use super::maintain::{add_content, pause};
use super::query::Query;
use super::terms::{Places, Terms};
use super::text::Term;
use crate::config;
use crate::error::{Error, Result};
use crate::pg::catalog::{Table, TableName};
use crate::pg::jsonb::Jsonb;
use crate::pg::range::{self, Range};
use crate::pg::spi::{self, Statement, unwrap};

/// The columns of the key's index.
const USER: usize = 1;
const NODE: usize = 2;
const TERMS: usize = 4;

/// How many texts are read at once, where phrases are looked for.
const TEXTS: usize = 256;

thread_local! {
    static DOCUMENTS: TableName =
        const { TableName::new(c"search_documents", [c"search_documents_pkey", c"search_documents_pkey"]) };
    static TEXT: Statement = const {
        Statement::new(
            concat!(
                "SELECT c.number, n.summary, n.content, n.tags FROM",
                nodes_at!("n.summary, n.content, n.tags", "")
            ),
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIDARRAYOID],
        )
    };
}

/// The `pool` best nodes that pass, best first, each with its BM25; ties go to the smaller node id. Costs some 0.2 µs per document in the scope; a phrase,
/// reading the text of every node that holds its words.
pub fn leg(filter: &Filter<'_>, query: &str, pool: usize) -> Result<Vec<Hit>> {
    let query = Query::parse(query);
    let scope = filter.scope();
    let read = |mut language: Language| (language.code, Terms::new(&query, &mut language, &mut pause));
    let first = read(Language::of(scope.tenant));
    if first.1.is_empty() {
        return Ok(Vec::new());
    }
    let table = DOCUMENTS
        .with(TableName::find)
        .filter(|table| range::may_read(table.oid))
        .ok_or_else(|| {
            Error::not_allowed(
                "the role may not read memory.search_documents",
                "A superuser grants it: SELECT memory.grant_access('<role>', 'app').",
            )
        })?;
    let mut index = Index::new([first]);
    scan(&table, filter, &mut index);
    if !index.unknown_languages().is_empty() {
        // Rare: texts that were read before the tenant's language was changed.
        let others: Vec<Language> = index
            .unknown_languages()
            .iter()
            .map(|code| Language::by_code(*code))
            .collect();
        index = Index::new([Language::of(scope.tenant)].into_iter().chain(others).map(read));
        scan(&table, filter, &mut index);
    }
    let constants = Constants {
        k1: config::SEARCH_BM25_K1.get(),
        b: config::SEARCH_BM25_B.get(),
    };
    let users: Vec<Rc<str>> = index.users().iter().map(|user| Rc::from(user.as_str())).collect();
    let mut texts = Texts { filter, users: &users };
    let mut scored = index.score(constants, &mut texts);
    Ok(passing(filter, &mut scored, &users, pool))
}

fn scan(table: &Table, filter: &Filter<'_>, index: &mut Index) {
    let scope = filter.scope();
    let range = Range {
        tenant: scope.tenant,
        users: scope.users(),
        third: None,
    };
    range::each(table.oid, table.indexes[0], &range, &mut |row, _| {
        if let Some(part) = row.optional_bytes(TERMS).and_then(Part::read) {
            index.visit(row.text(USER), row.uuid(NODE), &part);
        }
        true
    });
}

fn best_first(a: &Scored, b: &Scored) -> std::cmp::Ordering {
    let ties = || a.node.cmp(&b.node).then(a.user.cmp(&b.user));
    b.score.total_cmp(&a.score).then_with(ties)
}

/// The `pool` best that pass, in order; no more is put in order than is asked.
fn passing(filter: &Filter<'_>, scored: &mut [Scored], users: &[Rc<str>], pool: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut rest = scored;
    let mut size = pool.saturating_mul(4);
    while !rest.is_empty() && hits.len() < pool {
        if size < rest.len() {
            rest.select_nth_unstable_by(size, best_first);
        }
        let (now, later) = rest.split_at_mut(size.min(rest.len()));
        now.sort_unstable_by(best_first);
        let key = |scored: &Scored| Key {
            user: &users[scored.user as usize],
            node: scored.node,
        };
        let keys: Vec<Key<'_>> = now.iter().map(key).collect();
        let hit = |place: usize| Hit {
            user: Rc::clone(&users[now[place].user as usize]),
            node: now[place].node,
            score: now[place].score,
        };
        hits.extend(filter.first(&keys, pool - hits.len()).into_iter().map(hit));
        rest = later;
        size = size.saturating_mul(4);
    }
    hits
}

/// Phrases, looked for in the nodes' texts, which are read as the caller.
struct Texts<'a> {
    filter: &'a Filter<'a>,
    users: &'a [Rc<str>],
}

impl Phrases for Texts<'_> {
    fn held(&mut self, language: u32, terms: &Terms, documents: &[Document]) -> Vec<u64> {
        let mut language = Language::by_code(language);
        let wanted: HashSet<Term> = terms
            .all_phrases()
            .flatten()
            .flat_map(|(_, alternatives)| alternatives.iter().copied())
            .collect();
        let mut held = vec![0; documents.len()];
        for (chunk, held) in documents.chunks(TEXTS).zip(held.chunks_mut(TEXTS)) {
            let key = |document: &Document| Key {
                user: &self.users[document.user as usize],
                node: document.node,
            };
            let keys: Vec<Key<'_>> = chunk.iter().map(key).collect();
            let found = self.filter.find(&keys);
            let arguments = found.arguments(self.filter.scope());
            TEXT.with(|statement| {
                statement.read(&arguments, |rows| {
                    for row in rows {
                        // Content may be large, and is read one by one.
                        spi::freeing(|| {
                            let place = found.key(unwrap(row.get::<i64>(1)).expect("WITH ORDINALITY"));
                            let summary: Option<String> = unwrap(row.get(2));
                            let mut text = Text::new(summary.map(Cow::Owned));
                            if let Some(content) = unwrap(row.get::<Jsonb<'_>>(3)) {
                                add_content(&mut text, content.root());
                            }
                            for tag in unwrap(row.get::<Vec<Option<String>>>(4))
                                .unwrap_or_default()
                                .into_iter()
                                .flatten()
                            {
                                text.add_tag(Cow::Owned(tag));
                            }
                            let mut places = Places::default();
                            text.places(&mut language, &mut pause, &mut |term, place| {
                                if wanted.contains(&term) {
                                    places.add(term, place);
                                }
                            });
                            for (number, phrase) in terms.all_phrases().enumerate() {
                                held[place] |= u64::from(places.hold(phrase, &mut pause)) << number;
                            }
                        });
                    }
                });
            });
        }
        held
    }

    fn pause(&mut self) {
        pause();
    }
}
