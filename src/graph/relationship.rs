//! Storing relationships: the nodes that they join are looked up and locked first, then all are stored in one statement.

use std::collections::{BTreeMap, HashSet};

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::check_unit;
use crate::batch::{self, Element, Subjects};
use crate::check;
use crate::context::{Reach, hold};
use crate::error::{Error, Result};
use crate::pg::jsonb::Jsonb;
use crate::pg::spi::{Statement, unwrap};
use crate::vocabulary::{Named, Vocabulary};

thread_local! {
    /// The places, from 1, of the nodes that are seen, which stay until the transaction ends.
    static LOCK_NODES: Statement = const {
        Statement::new(
            "SELECT asked.place
             FROM unnest($2, $3, $4) WITH ORDINALITY AS asked (user_id, node_id, valid_from, place)
             JOIN memory.nodes AS n
                 ON n.tenant_id = $1 AND n.user_id = asked.user_id AND n.node_id = asked.node_id
             WHERE memory.holds_at(n.valid_from, n.valid_to, n.expires_at,
                                   greatest(asked.valid_from, statement_timestamp()))
             ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
             FOR KEY SHARE OF n",
            &[pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZARRAYOID],
        )
    };
    static STORE: Statement = const {
        Statement::new(
            "INSERT INTO memory.relationships AS r
                 (tenant_id, user_id, id, from_node_id, to_node_id, relationship_type, strength, metadata, valid_from)
             SELECT $1, user_id, id, from_node_id, to_node_id, relationship_type, strength, metadata,
                    coalesce(valid_from, now())
             -- In FROM, unnest would put each value aside first.
             FROM (SELECT unnest($2) AS user_id, unnest($3) AS id, unnest($4) AS from_node_id, unnest($5) AS to_node_id,
                          unnest($6) AS relationship_type, unnest($7) AS strength, unnest($8) AS metadata,
                          unnest($9) AS valid_from) AS given
             ON CONFLICT (tenant_id, user_id, from_node_id, to_node_id, relationship_type) WHERE valid_to IS NULL
             DO UPDATE SET strength = excluded.strength, metadata = excluded.metadata
             RETURNING id",
            &[
                pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::UUIDARRAYOID,
                pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::FLOAT4ARRAYOID, pg_sys::JSONBARRAYOID,
                pg_sys::TIMESTAMPTZARRAYOID,
            ],
        )
    };
}

/// What makes a relationship, in the order in which rows are locked. Ids order as their bytes do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    user: String,
    from: [u8; 16],
    to: [u8; 16],
    kind: String,
}

/// The rest of it.
struct Given<'a> {
    strength: f32,
    metadata: Jsonb<'a>,
    valid_from: Option<TimestampWithTimeZone>,
    /// The element that said so; None where it was no batch.
    element: Option<Element<'a>>,
}

type Relationships<'a> = BTreeMap<Key, Given<'a>>;

fn strength(given: Option<f32>) -> Result<f32> {
    check_unit("strength", given.unwrap_or(1.0))
}

/// Looks up and locks the nodes at both ends.
fn lock_nodes(tenant: [u8; 16], relationships: &Relationships<'_>) -> Result<()> {
    let (mut users, mut nodes, mut times) = (Vec::new(), Vec::new(), Vec::new());
    let mut asked = HashSet::new();
    for (key, given) in relationships {
        for node in [key.from, key.to] {
            let time = given.valid_from.map(i64::from);
            if asked.insert((key.user.as_str(), node, time)) {
                users.push(key.user.as_str());
                nodes.push(Uuid::from_bytes(node));
                times.push(given.valid_from);
            }
        }
    }
    let arguments: [DatumWithOid<'_>; 4] = [
        Uuid::from_bytes(tenant).into(),
        users.clone().into(),
        nodes.clone().into(),
        times.clone().into(),
    ];
    let places: Vec<usize> = LOCK_NODES.with(|s| {
        s.write(&arguments, |rows| {
            rows.map(|row| unwrap(row.get::<i64>(1)).expect("a place") as usize)
                .collect()
        })
    });
    if places.len() == nodes.len() {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for place in places {
        let i = place - 1;
        seen.insert((users[i], *nodes[i].as_bytes(), times[i].map(i64::from)));
    }
    // The first element that is wrong, from first, is the one that is named.
    let mut wrong: Vec<(usize, Error)> = Vec::new();
    for (key, given) in relationships {
        for (argument, node) in [("from_node_id", key.from), ("to_node_id", key.to)] {
            if !seen.contains(&(key.user.as_str(), node, given.valid_from.map(i64::from))) {
                let error = unknown_node(argument, node);
                let number = given.element.map_or(0, |element| element.number);
                wrong.push((
                    number,
                    given.element.map_or(error.clone(), |element| element.locate(error)),
                ));
            }
        }
    }
    wrong.sort_by_key(|(number, _)| *number);
    wrong.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

fn unknown_node(argument: &str, node: [u8; 16]) -> Error {
    let error = check::unknown("node", &uuid::Uuid::from_bytes(node).to_string());
    Error {
        message: format!("{argument}: {}", error.message),
        hint: "There is no such node, it is not seen now, or it is not this user's: a relationship joins two nodes of one \
               user."
            .to_owned(),
        ..error
    }
}

/// Stores them; gives their ids in the order of their keys.
fn store(tenant: [u8; 16], relationships: &Relationships<'_>) -> Vec<Uuid> {
    let (mut users, mut ids, mut from, mut to, mut kinds) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut strengths, mut metadata, mut times) = (vec![], vec![], vec![]);
    for (key, given) in relationships {
        users.push(key.user.as_str());
        ids.push(Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes()));
        from.push(Uuid::from_bytes(key.from));
        to.push(Uuid::from_bytes(key.to));
        kinds.push(key.kind.as_str());
        strengths.push(given.strength);
        metadata.push(given.metadata);
        times.push(given.valid_from);
    }
    let arguments: [DatumWithOid<'_>; 9] = [
        Uuid::from_bytes(tenant).into(),
        users.into(),
        ids.into(),
        from.into(),
        to.into(),
        kinds.into(),
        strengths.into(),
        metadata.into(),
        times.into(),
    ];
    STORE.with(|s| {
        s.write(&arguments, |rows| {
            rows.map(|row| unwrap(row.get::<Uuid>(1)).expect("RETURNING id"))
                .collect()
        })
    })
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn store_relationship(
    from_node_id: Option<Uuid>,
    to_node_id: Option<Uuid>,
    relationship_type: Option<&str>,
    strength: Option<f32>,
    metadata: Option<Jsonb<'_>>,
    valid_from: Option<TimestampWithTimeZone>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<Uuid, ErrorReport> {
    let subject = hold::writer(tenant, user_id, Reach::User)?;
    let kind = check::text("relationship_type", relationship_type)?;
    Vocabulary::Relationship.check(kind)?;
    let key = Key {
        user: subject.user.unwrap_or_default(),
        from: *check::needed("from_node_id", from_node_id)?.as_bytes(),
        to: *check::needed("to_node_id", to_node_id)?.as_bytes(),
        kind: kind.to_owned(),
    };
    let given = Given {
        strength: self::strength(strength)?,
        metadata: metadata.map_or(Ok(Jsonb::empty_object()), |metadata| {
            check::object("metadata", Some(metadata))
        })?,
        valid_from,
        element: None,
    };
    let relationships = Relationships::from([(key, given)]);
    lock_nodes(subject.tenant, &relationships)?;
    Ok(store(subject.tenant, &relationships)[0])
}

#[pg_extern(sql = false)]
fn store_relationships(
    relationships: Option<Jsonb<'_>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<i64, ErrorReport> {
    let elements = batch::elements("relationships", relationships)?;
    let mut subjects = Subjects::new(tenant, user_id)?;
    let mut relationships = Relationships::new();
    let mut types = Named::new(Vocabulary::Relationship);
    for element in &elements {
        pgrx::check_for_interrupts!();
        let located = |error| element.locate(error);
        let user = subjects.user_of(element)?.to_owned();
        let kind = element.needed_text("relationship_type")?;
        types.check(kind).map_err(located)?;
        let node = |name: &str| {
            let node = element.uuid(name)?.ok_or_else(|| element.wrong(name, "is missing"))?;
            Ok::<_, Error>(*node.as_bytes())
        };
        let key = Key {
            user,
            from: node("from_node_id")?,
            to: node("to_node_id")?,
            kind: kind.to_owned(),
        };
        let given = Given {
            strength: strength(element.real("strength")?).map_err(located)?,
            metadata: element.object("metadata")?.unwrap_or_else(Jsonb::empty_object),
            valid_from: element.timestamp("valid_from")?,
            element: Some(*element),
        };
        relationships.insert(key, given);
    }
    let Some(tenant) = subjects.tenant() else {
        return Ok(0);
    };
    lock_nodes(tenant, &relationships)?;
    Ok(store(tenant, &relationships).len() as i64)
}
