//! Storing embeddings: their nodes are locked first, as whoever stores a relationship locks them, then all are stored in one statement
//! in the order of their keys. So no two batches deadlock.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::pg_sys;

use super::code;
use super::space::{Space, Use};
use crate::check;
use crate::context::{Reach, hold};
use crate::error::{Error, Result, shown};
use crate::pg::call::Call;
use crate::pg::spi::{self, Statement, unwrap};
use crate::pg::vector::{self, Vector, Vectors};
use crate::raw_function;

thread_local! {
    static LOCK_NODES: Statement = const {
        Statement::new(
            "SELECT n.node_id FROM memory.nodes AS n
             WHERE n.tenant_id = $1 AND n.user_id = $2 AND n.node_id = ANY ($3)
             ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
             FOR KEY SHARE OF n",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::UUIDARRAYOID],
        )
    };
    /// The statement that stores into a space, by its table.
    static STORE: RefCell<HashMap<pg_sys::Oid, Rc<spi::Kept>>> = RefCell::default();
}

/// What a vector says of its node.
const VECTOR_TYPES: [&str; 4] = ["query", "response", "context", "knowledge"];

/// The arguments that both functions have, read and checked: whose rows, and in which space.
struct Target<'a> {
    tenant: [u8; 16],
    user: String,
    space: Space,
    vector_type: &'a str,
}

impl<'a> Target<'a> {
    fn of(call: &'a Call) -> Result<Self> {
        let subject = hold::writer(call.str(4), call.str(5), Reach::User)?;
        let vector_type = check::needed("vector_type", call.str(3))?;
        if !VECTOR_TYPES.contains(&vector_type) {
            return Err(Error::bad_argument(
                format!("vector_type {} is unknown", shown(vector_type)),
                format!("It is one of: {}.", VECTOR_TYPES.join(", ")),
            ));
        }
        let model = check::text("model", call.str(0))?;
        Ok(Self {
            tenant: subject.tenant,
            user: subject.user.unwrap_or_default(),
            space: Space::find(Some(model), Use::Write)?,
            vector_type,
        })
    }

    /// Stores the vectors, in the order of their nodes; `unknown` makes the error about a node that is not the user's.
    fn store(
        &self,
        vectors: &BTreeMap<[u8; 16], Vector<'_>>,
        element_type: pg_sys::Oid,
        unknown: impl Fn(&HashSet<[u8; 16]>) -> Option<Error>,
    ) -> Result<()> {
        let tenant = Uuid::from_bytes(self.tenant);
        let nodes: Vec<Uuid> = vectors.keys().map(|node| Uuid::from_bytes(*node)).collect();
        let arguments = [tenant.into(), self.user.as_str().into(), nodes.clone().into()];
        let locked: HashSet<[u8; 16]> = LOCK_NODES.with(|s| {
            s.write(&arguments, |rows| {
                rows.filter_map(|row| unwrap(row.get::<Uuid>(1)))
                    .map(|node| *node.as_bytes())
                    .collect()
            })
        });
        if let Some(error) = unknown(&locked) {
            return Err(error);
        }
        let given: Vec<Vector<'_>> = vectors.values().copied().collect();
        let (embeddings, array_type) = vector::array(&given, element_type);
        let arguments: [DatumWithOid<'_>; 5] = [
            tenant.into(),
            self.user.as_str().into(),
            self.vector_type.into(),
            nodes.into(),
            embeddings,
        ];
        spi::connected(|client| {
            let kept = STORE.with_borrow_mut(|kept| {
                let make = || Rc::new(spi::Kept::new(client, &self.statement(), &Self::types(array_type)));
                Rc::clone(kept.entry(self.space.table).or_insert_with(make))
            });
            kept.write(client, &arguments);
        });
        Ok(())
    }

    fn types(array_type: pg_sys::Oid) -> [pg_sys::Oid; 5] {
        [
            pg_sys::UUIDOID,
            pg_sys::TEXTOID,
            pg_sys::TEXTOID,
            pg_sys::UUIDARRAYOID,
            array_type,
        ]
    }

    fn statement(&self) -> String {
        format!(
            "INSERT INTO memory.{} AS e (tenant_id, user_id, node_id, vector_type, embedding)
             SELECT $1, $2, given.node_id, $3, given.embedding FROM unnest($4, $5) AS given (node_id, embedding)
             ON CONFLICT (tenant_id, user_id, node_id, vector_type)
             DO UPDATE SET embedding = excluded.embedding, updated_at = now()",
            self.space.relation
        )
    }
}

fn unknown_node(node: [u8; 16]) -> Error {
    let error = check::unknown("node", &uuid::Uuid::from_bytes(node).to_string());
    Error {
        hint: "There is no such node, or it is not this user's: an embedding belongs to a node.".to_owned(),
        ..error
    }
}

/// The same error, said of a place in the arrays.
fn at(place: usize, error: Error) -> Error {
    Error {
        message: format!("element {place}: {}", error.message),
        ..error
    }
}

fn store_one(call: Call) -> Result<()> {
    let target = Target::of(&call)?;
    let node = *check::needed("node_id", call.argument::<Uuid>(1))?.as_bytes();
    let vector = check::needed("embedding", call.argument::<Vector<'_>>(2))?;
    target.space.check("embedding", vector.numbers())?;
    let unknown = |known: &HashSet<[u8; 16]>| (!known.contains(&node)).then(|| unknown_node(node));
    target.store(&BTreeMap::from([(node, vector)]), call.argument_type(2), unknown)
}

fn store_many(call: Call) -> Result<i64> {
    let target = Target::of(&call)?;
    let nodes = check::needed("node_ids", call.argument::<Vec<Option<Uuid>>>(1))?;
    let vectors = check::needed("embeddings", call.argument::<Vectors<'_>>(2))?;
    if nodes.len() != vectors.elements.len() {
        return Err(Error::bad_argument(
            format!(
                "node_ids has {} elements, embeddings {}",
                nodes.len(),
                vectors.elements.len()
            ),
            "Give one embedding for each node, in the same order.",
        ));
    }
    let mut given = BTreeMap::new();
    for (i, (node, vector)) in nodes.iter().zip(&vectors.elements).enumerate() {
        pgrx::check_for_interrupts!();
        let located = |error| at(i + 1, error);
        let node = check::needed("node_id", *node).map_err(located)?;
        let vector = check::needed("embedding", *vector).map_err(located)?;
        target.space.check("embedding", vector.numbers()).map_err(located)?;
        // The last one wins.
        given.insert(*node.as_bytes(), vector);
    }
    if given.is_empty() {
        return Ok(0);
    }
    let unknown = |known: &HashSet<[u8; 16]>| {
        let lost = |node: &Uuid| !known.contains(node.as_bytes());
        let place = nodes.iter().flatten().position(lost)?;
        Some(at(place + 1, unknown_node(*nodes[place]?.as_bytes())))
    };
    target.store(&given, vectors.element_type(), unknown)?;
    Ok(given.len() as i64)
}

raw_function!(store_embedding, pg_finfo_store_embedding, |call| {
    match store_one(call) {
        Ok(()) => call.nothing(),
        Err(error) => error.raise(),
    }
});

raw_function!(store_embeddings, pg_finfo_store_embeddings, |call| {
    match store_many(call) {
        Ok(count) => call.value(count),
        Err(error) => error.raise(),
    }
});

/// An index's row is at most a third of a page; beside the code and the user's id stand the rest of the key and the headers.
const LONGEST_CODE_AND_USER: usize = 2_600;

raw_function!(embedding_code, pg_finfo_embedding_code, |call| {
    // Declared STRICT: no argument is NULL.
    let (Some(vector), Some(user)) = (call.argument::<Vector<'_>>(0), call.text(1)) else {
        return call.null();
    };
    if code::LENGTH_OF_HEAD + vector.numbers().len() + user.len() > LONGEST_CODE_AND_USER {
        return call.null();
    }
    call.value(code::encode(vector.numbers()))
});
