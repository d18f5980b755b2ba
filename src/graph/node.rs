//! Storing nodes: one, or a batch in one statement.
//!
//! An INSERT cannot touch a row twice, so what a batch says of one entity is folded first. Where folding would lose
//! something (see `merge::hides`) the rest goes into another *round*, a statement of its own after the first.

use std::collections::{HashMap, HashSet};

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::check_unit;
use super::content::{self, Entity};
use crate::batch::{self, Element, Subjects};
use crate::check;
use crate::context::{self, Reach, hold};
use crate::error::{Error, Result, shown};
use crate::pg::jsonb::Jsonb;
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{array, time};
use crate::vocabulary::{Named, Vocabulary};

/// The statement that stores nodes from `$source`, which gives the columns from user_id on, in this order.
macro_rules! store {
    ($source:literal) => {
        concat!(
            "INSERT INTO memory.nodes AS n
                 (tenant_id, user_id, node_id, session_id, content, context_type, summary, tags, metadata, base_relevance,
                  tier, entity_id, entity_type, entity_system, valid_from, expires_at, access_count) ",
            $source,
            " ON CONFLICT (tenant_id, user_id, entity_system, entity_id) DO UPDATE SET
                  content = memory.merge_entity(
                      CASE WHEN n.content ? '_encrypted'
                          THEN memory.decrypted(n.tenant_id, n.user_id, 'node', n.node_id::text, '', n.content)
                          ELSE n.content END,
                      CASE WHEN excluded.content ? '_encrypted'
                          THEN memory.decrypted(n.tenant_id, n.user_id, 'node', excluded.node_id::text, '', excluded.content)
                          ELSE excluded.content END,
                      excluded.access_count),
                  summary = coalesce(excluded.summary, n.summary),
                  -- @> compares each with each, and honours no cancel.
                  tags = CASE WHEN cardinality(excluded.tags) <= 64 AND n.tags @> excluded.tags THEN n.tags ELSE n.tags || ARRAY(
                      SELECT tag FROM unnest(excluded.tags) AS tag WHERE tag <> ALL (n.tags)) END,
                  metadata = n.metadata || excluded.metadata,
                  entity_type = coalesce(excluded.entity_type, n.entity_type),
                  -- Whoever ended it may have begun after this transaction.
                  valid_to = CASE WHEN n.valid_to > clock_timestamp() THEN n.valid_to END,
                  expires_at = coalesce(excluded.expires_at,
                      CASE WHEN n.expires_at > clock_timestamp() THEN n.expires_at END),
                  updated_at = now(), last_accessed = now(), access_count = n.access_count + excluded.access_count
              RETURNING node_id"
        )
    };
}

thread_local! {
    static STORE_ONE: Statement = const {
        Statement::new(
            store!(
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text[], $9, $10, $11, $12, $13, $14, coalesce($15, now()), $16,
                         $17)"
            ),
            &[
                pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::JSONBOID, pg_sys::TEXTOID,
                pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::JSONBOID, pg_sys::FLOAT4OID, pg_sys::TEXTOID,
                pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID,
                pg_sys::INT8OID,
            ],
        )
    };
    static STORE_MANY: Statement = const {
        Statement::new(
            store!(
                "SELECT $1, user_id, node_id, session_id, content, context_type, summary, tags::text[], metadata,
                        base_relevance, tier, entity_id, entity_type, entity_system, coalesce(valid_from, now()),
                        expires_at, stores
                 -- In FROM, unnest would put each value aside first.
                 FROM (SELECT unnest($2) AS user_id, unnest($3) AS node_id, unnest($4) AS session_id, unnest($5) AS content,
                              unnest($6) AS context_type, unnest($7) AS summary, unnest($8) AS tags, unnest($9) AS metadata,
                              unnest($10) AS base_relevance, unnest($11) AS tier, unnest($12) AS entity_id,
                              unnest($13) AS entity_type, unnest($14) AS entity_system, unnest($15) AS valid_from,
                              unnest($16) AS expires_at, unnest($17) AS stores) AS given"
            ),
            &[
                pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID,
                pg_sys::JSONBARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID,
                pg_sys::JSONBARRAYOID, pg_sys::FLOAT4ARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID,
                pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZARRAYOID, pg_sys::TIMESTAMPTZARRAYOID,
                pg_sys::INT8ARRAYOID,
            ],
        )
    };
}

/// What a caller said of a node.
struct Given<'a> {
    content: Jsonb<'a>,
    context_type: &'a str,
    summary: Option<&'a str>,
    tags: Vec<String>,
    metadata: Option<Jsonb<'a>>,
    base_relevance: Option<f32>,
    tier: Option<&'a str>,
    session_id: Option<&'a str>,
    valid_from: Option<TimestampWithTimeZone>,
    expires_at: Option<TimestampWithTimeZone>,
}

/// A row to store: of an entity perhaps several stores made one.
struct Row<'a> {
    user: String,
    node_id: Uuid,
    entity: Entity,
    /// None for a node that is no entity.
    key: Option<Key>,
    /// Which statement stores it.
    round: usize,
    stores: i64,
    given: Given<'a>,
}

/// User, entity_system, entity_id: the order in which rows are locked.
type Key = (String, String, String);

impl<'a> Row<'a> {
    /// Checks what was given, but for the context type; `now` is when an entity was last updated.
    fn new(mut given: Given<'a>, user: String, now: &'a str) -> Result<Self> {
        given
            .base_relevance
            .map(|r| check_unit("base_relevance", r))
            .transpose()?;
        if let Some(tier) = given
            .tier
            .filter(|tier| !["private", "shared", "consensus"].contains(tier))
        {
            return Err(Error::bad_argument(
                format!("tier {} is unknown", shown(tier)),
                "It is private, shared or consensus.",
            ));
        }
        if given.session_id.is_none() {
            given.session_id = context::current().and_then(|context| context.session.as_deref());
        }
        let entity = Entity::read(given.content.root())?;
        let key = entity
            .key()
            .map(|(system, id)| (user.clone(), system.to_owned(), id.to_owned()));
        if key.is_some() {
            given.content = content::first(given.content, now);
        }
        let mut row = Self {
            user,
            node_id: Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes()),
            entity,
            key,
            round: 0,
            stores: 1,
            given,
        };
        let tags = std::mem::take(&mut row.given.tags);
        row.add_tags(tags);
        Ok(row)
    }

    /// As many as there are: each is looked up, not compared with all others.
    fn add_tags(&mut self, tags: Vec<String>) {
        let mut known: HashSet<String> = self.given.tags.iter().cloned().collect();
        self.given
            .tags
            .extend(tags.into_iter().filter(|tag| known.insert(tag.clone())));
    }

    /// Takes in a later store of the same entity, as storing it again would.
    fn fold(&mut self, later: Row<'a>) {
        let (own, new) = (&mut self.given, later.given);
        own.content = content::again(own.content, new.content, later.stores);
        own.summary = new.summary.or(own.summary);
        own.metadata = match (own.metadata, new.metadata) {
            (Some(old), Some(new)) => Some(content::flat(old, new)),
            (old, new) => new.or(old),
        };
        own.expires_at = new.expires_at.or(own.expires_at);
        self.entity.kind = later.entity.kind.or(self.entity.kind.take());
        self.stores += later.stores;
        self.add_tags(new.tags);
    }
}

impl<'a> Given<'a> {
    fn read(element: &Element<'a>) -> Result<Self> {
        Ok(Self {
            content: element
                .object("content")?
                .ok_or_else(|| element.wrong("content", "is missing"))?,
            context_type: element.needed_text("context_type")?,
            summary: element.text("summary")?,
            tags: element.texts("tags")?.unwrap_or_default(),
            metadata: element.object("metadata")?,
            base_relevance: element.real("base_relevance")?,
            tier: element.text("tier")?,
            session_id: element.text("session_id")?,
            valid_from: element.timestamp("valid_from")?,
            expires_at: element.timestamp("expires_at")?,
        })
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn store_node(
    content: Option<Jsonb<'_>>,
    context_type: Option<&str>,
    summary: Option<&str>,
    tags: Option<Vec<Option<String>>>,
    metadata: Option<Jsonb<'_>>,
    base_relevance: Option<f32>,
    tier: Option<&str>,
    session_id: Option<&str>,
    valid_from: Option<TimestampWithTimeZone>,
    expires_at: Option<TimestampWithTimeZone>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<Uuid, ErrorReport> {
    let subject = hold::writer(tenant, user_id, Reach::User)?;
    let tag = |tag: Option<String>| check::element("tags", tag);
    let given = Given {
        content: check::object("content", content)?,
        context_type: check::text("context_type", context_type)?,
        summary,
        tags: tags.unwrap_or_default().into_iter().map(tag).collect::<Result<_>>()?,
        metadata: metadata
            .map(|metadata| check::object("metadata", Some(metadata)))
            .transpose()?,
        base_relevance,
        tier,
        session_id,
        valid_from,
        expires_at,
    };
    Vocabulary::Context.check(given.context_type)?;
    let now = time::transaction_start();
    let user = subject.user.unwrap_or_default();
    Ok(store_one(subject.tenant, Row::new(given, user, &now)?))
}

fn store_one(tenant: [u8; 16], row: Row<'_>) -> Uuid {
    let Row {
        user,
        node_id,
        entity,
        stores,
        given,
        ..
    } = row;
    let arguments: [DatumWithOid<'_>; 17] = [
        Uuid::from_bytes(tenant).into(),
        user.into(),
        node_id.into(),
        given.session_id.into(),
        given.content.into(),
        given.context_type.into(),
        given.summary.into(),
        array::text_literal(&given.tags).into(),
        given.metadata.unwrap_or_else(Jsonb::empty_object).into(),
        given.base_relevance.unwrap_or(RELEVANCE).into(),
        given.tier.unwrap_or(TIER).into(),
        entity.id.into(),
        entity.kind.into(),
        entity.system.into(),
        given.valid_from.into(),
        given.expires_at.into(),
        stores.into(),
    ];
    STORE_ONE.with(|s| {
        s.write(&arguments, |rows| {
            unwrap(rows.first().get_one::<Uuid>()).expect("RETURNING node_id")
        })
    })
}

/// What store_node takes where nothing is said.
const RELEVANCE: f32 = 0.5;
const TIER: &str = "private";

/// The rows of a batch, and for each element the row that it went into and whether it was that entity's first.
struct Batch<'a> {
    rows: Vec<Row<'a>>,
    places: Vec<(usize, bool)>,
}

impl<'a> Batch<'a> {
    fn read(elements: &[Element<'a>], subjects: &mut Subjects<'a>, now: &'a str) -> Result<Self> {
        let mut rows: Vec<Row<'a>> = Vec::with_capacity(elements.len());
        let mut places = Vec::with_capacity(elements.len());
        let mut latest: HashMap<Key, usize> = HashMap::new();
        let mut types = Named::new(Vocabulary::Context);
        for element in elements {
            pgrx::check_for_interrupts!();
            let located = |error| element.locate(error);
            let user = subjects.user_of(element)?.to_owned();
            let given = Given::read(element)?;
            types.check(given.context_type).map_err(located)?;
            let mut row = Row::new(given, user, now).map_err(located)?;
            let before = row.key.as_ref().and_then(|key| latest.get(key).copied());
            match before {
                Some(i) if !content::hides(rows[i].given.content, row.given.content) => {
                    rows[i].fold(row);
                    places.push((i, false));
                }
                _ => {
                    row.round = before.map_or(0, |i| rows[i].round + 1);
                    if let Some(key) = &row.key {
                        latest.insert(key.clone(), rows.len());
                    }
                    places.push((rows.len(), before.is_none()));
                    rows.push(row);
                }
            }
        }
        Ok(Self { rows, places })
    }

    /// Stores the rows round by round, each in the order of locks; gives each row's node.
    fn store(&self, tenant: [u8; 16]) -> Vec<Uuid> {
        let mut nodes = vec![Uuid::from_bytes([0; 16]); self.rows.len()];
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|&i| {
            (
                self.rows[i].round,
                self.rows[i].key.is_none(),
                self.rows[i].key.as_ref(),
            )
        });
        for round in order.chunk_by(|&a, &b| self.rows[a].round == self.rows[b].round) {
            let rows: Vec<&Row<'a>> = round.iter().map(|&i| &self.rows[i]).collect();
            // Each row of the source gives one row back, in its order.
            for (&i, node_id) in round.iter().zip(store_many(tenant, &rows)) {
                nodes[i] = node_id;
            }
        }
        nodes
    }
}

fn store_many(tenant: [u8; 16], rows: &[&Row<'_>]) -> Vec<Uuid> {
    fn column<'r, T: IntoDatum>(rows: &[&'r Row<'_>], value: impl Fn(&'r Row<'_>) -> T) -> DatumWithOid<'static> {
        rows.iter().map(|row| value(row)).collect::<Vec<T>>().into()
    }
    let none = Jsonb::empty_object();
    let arguments: [DatumWithOid<'_>; 17] = [
        Uuid::from_bytes(tenant).into(),
        column(rows, |row| row.user.as_str()),
        column(rows, |row| row.node_id),
        column(rows, |row| row.given.session_id),
        rows.iter().map(|row| row.given.content).collect::<Vec<_>>().into(),
        column(rows, |row| row.given.context_type),
        column(rows, |row| row.given.summary),
        column(rows, |row| array::text_literal(&row.given.tags)),
        rows.iter()
            .map(|row| row.given.metadata.unwrap_or(none))
            .collect::<Vec<_>>()
            .into(),
        column(rows, |row| row.given.base_relevance.unwrap_or(RELEVANCE)),
        column(rows, |row| row.given.tier.unwrap_or(TIER)),
        column(rows, |row| row.entity.id.as_deref()),
        column(rows, |row| row.entity.kind.as_deref()),
        column(rows, |row| row.entity.system.as_deref()),
        column(rows, |row| row.given.valid_from),
        column(rows, |row| row.given.expires_at),
        column(rows, |row| row.stores),
    ];
    let stored: Vec<Uuid> = STORE_MANY.with(|s| {
        s.write(&arguments, |stored| {
            stored
                .map(|row| unwrap(row.get::<Uuid>(1)).expect("RETURNING node_id"))
                .collect()
        })
    });
    assert_eq!(stored.len(), rows.len(), "every row is stored or merged");
    stored
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn store_nodes(
    nodes: Option<Jsonb<'_>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<
    TableIterator<'static, (name!(ordinality, i64), name!(node_id, Uuid), name!(created, bool))>,
    ErrorReport,
> {
    let elements = batch::elements("nodes", nodes)?;
    let now = time::transaction_start();
    let mut subjects = Subjects::new(tenant, user_id)?;
    let batch = Batch::read(&elements, &mut subjects, &now)?;
    let stored = match subjects.tenant() {
        Some(tenant) => batch.store(tenant),
        None => Vec::new(),
    };
    let answer: Vec<(i64, Uuid, bool)> = (1..)
        .zip(&batch.places)
        .map(|(place, &(i, first))| (place, stored[i], first && stored[i] == batch.rows[i].node_id))
        .collect();
    Ok(TableIterator::new(answer))
}
