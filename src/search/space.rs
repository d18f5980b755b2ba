//! Embedding spaces: one table per model, made and dropped at run time (sql/embedding.sql).
//!
//! Protocol: who makes or drops a space first locks `embedding_spaces` against others who do. Who uses one takes a lock on its
//! table and then looks at `embedding_spaces` again, so that a space in use is not dropped and a dropped one not used.

use std::fmt::Write;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::code::Distance;
use crate::check;
use crate::context::access;
use crate::error::{Error, Result, shown};
use crate::hold;
use crate::pg::catalog::{self, TableName};
use crate::pg::spi::{self, Statement, unwrap, write_once};
use crate::pg::vector::Form;
use crate::pg::{lock, scan};
use crate::vocabulary;

thread_local! {
    static SPACES: TableName = const {
        TableName::new(c"embedding_spaces", [c"embedding_spaces_pkey", c"embedding_spaces_pkey"])
    };
    static REMEMBER: Statement = const {
        Statement::new(
            "INSERT INTO memory.embedding_spaces (model, relation, dimensions, distance, quantization) VALUES ($1, $2, $3, $4, $5)",
            &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static FORGET: Statement = const {
        Statement::new("DELETE FROM memory.embedding_spaces WHERE model = $1", &[pg_sys::TEXTOID])
    };
    static VECTOR_SCHEMA: Statement = const {
        Statement::new(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
             WHERE e.extname = 'vector'",
            &[],
        )
    };
    /// A space's columns are described as those of the common shape.
    static COMMENTS: Statement = const {
        Statement::new(
            "SELECT string_agg(format('COMMENT ON COLUMN memory.%I.%I IS %L', $1, a.attname, col_description(a.attrelid, a.attnum)), ';')
             FROM pg_attribute a WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped",
            &[pg_sys::TEXTOID, pg_sys::OIDOID],
        )
    };
    /// Who may what with the spaces: as with their common shape.
    static GRANTS: Statement = const {
        Statement::new(
            "SELECT DISTINCT p.privileges, quote_ident(r.rolname)
             FROM memory.access_grants g JOIN pg_roles r ON r.oid = g.grantee
             JOIN memory.profile_privileges p ON p.profile = g.profile OR p.profile = 'app' AND g.profile = 'service'
             WHERE p.object = 'TABLE memory.embeddings' ORDER BY 1, 2",
            &[],
        )
    };
}

/// The most bytes of a model's name.
const LONGEST_NAME: usize = 100;
/// The most that pgvector's vectors have.
const MOST_DIMENSIONS: i32 = 16_000;

/// A model's space, whose table this transaction has locked.
#[derive(Clone, Debug)]
pub struct Space {
    pub model: String,
    /// Its table, in schema memory; needs no quotes.
    pub relation: String,
    pub table: pg_sys::Oid,
    /// memory.embeddings, which it inherits from.
    pub common: pg_sys::Oid,
    /// The index of the primary key.
    pub key: pg_sys::Oid,
    /// The index of the codes of what is not in `near`.
    pub codes: pg_sys::Oid,
    /// Whose rows are in `near`.
    pub large: pg_sys::Oid,
    /// The HNSW index, and how it holds vectors; None where it takes no such vectors.
    pub near: Option<(pg_sys::Oid, Form)>,
    pub dimensions: usize,
    pub distance: Distance,
}

/// The greatest number that 16 bits hold.
const GREATEST_HALF: f32 = 65_504.0;

/// The most dimensions that an HNSW index takes.
fn most_indexed(form: Form) -> i32 {
    match form {
        Form::Whole => 2_000,
        Form::Half => 4_000,
        Form::Binary => MOST_DIMENSIONS,
    }
}

fn form(quantization: &str) -> Option<Form> {
    match quantization {
        "none" => Some(Form::Whole),
        "half" => Some(Form::Half),
        "binary" => Some(Form::Binary),
        _ => None,
    }
}

/// What a space is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
}

/// What embedding_spaces says.
struct Known {
    model: String,
    relation: String,
    dimensions: i32,
    distance: String,
    quantization: String,
}

fn known(key: scan::Key<'_>) -> Vec<Known> {
    const MODEL: usize = 1;
    const RELATION: usize = 2;
    const DIMENSIONS: usize = 3;
    const DISTANCE: usize = 4;
    const QUANTIZATION: usize = 5;
    let mut spaces = Vec::new();
    if let Some(table) = SPACES.with(TableName::find) {
        scan::each(table.oid, table.indexes[0], key, |row| {
            spaces.push(Known {
                model: row.get(MODEL).unwrap_or_default(),
                relation: row.get(RELATION).unwrap_or_default(),
                dimensions: row.get(DIMENSIONS).unwrap_or_default(),
                distance: row.get(DISTANCE).unwrap_or_default(),
                quantization: row.get(QUANTIZATION).unwrap_or_default(),
            });
            true
        });
    }
    spaces
}

fn known_model(model: &str) -> Option<Known> {
    known(scan::Key::Text(1, model)).pop()
}

fn unknown_model(model: &str) -> Error {
    let names: Vec<String> = known(scan::Key::All).into_iter().map(|space| space.model).collect();
    let meant = vocabulary::nearest(model, &names)
        .map(|known| format!("Did you mean {}? ", shown(known)))
        .unwrap_or_default();
    Error::bad_argument(
        format!("model {} is unknown", shown(model)),
        format!("{meant}An operator makes a space: SELECT memory.create_embedding_space('…', <dimensions>)."),
    )
}

/// The tables of the spaces that have an HNSW index, by their names.
pub fn with_index() -> Vec<String> {
    known(scan::Key::All)
        .into_iter()
        .map(|space| space.relation)
        .filter(|relation| catalog::relation_named(&format!("{relation}_near")) != pg_sys::InvalidOid)
        .collect()
}

impl Space {
    /// The model's space; of None the only one. 22023 where there is none, or several to choose from.
    pub fn find(model: Option<&str>, what_for: Use) -> Result<Self> {
        let model = match model {
            Some(model) => model.to_owned(),
            None => only_model()?,
        };
        let lost = || unknown_model(&model);
        let before = known_model(&model).ok_or_else(lost)?;
        let table = catalog::relation_named(&before.relation);
        match what_for {
            Use::Read => lock::relation(table, pg_sys::AccessShareLock),
            Use::Write => lock::relation(table, pg_sys::RowExclusiveLock),
        }
        let found = known_model(&model).ok_or_else(lost)?;
        let index = |of: &str| catalog::relation_named(&format!("{}_{of}", found.relation));
        let (key, codes, large, near) = (index("pkey"), index("codes"), index("large"), index("near"));
        if catalog::relation_named(&found.relation) != table || [key, codes, large].contains(&pg_sys::InvalidOid) {
            return Err(Error::not_ready(
                format!("the table of model {} is not there", shown(&model)),
                "Try again. If it stays so, drop_embedding_space() and create_embedding_space() make it anew.",
            ));
        }
        Ok(Self {
            table,
            common: catalog::relation_named("embeddings"),
            key,
            codes,
            large,
            near: form(&found.quantization)
                .filter(|_| near != pg_sys::InvalidOid)
                .map(|form| (near, form)),
            dimensions: found.dimensions as usize,
            distance: Distance::parse(&found.distance).expect("the table's CHECK"),
            relation: found.relation,
            model,
        })
    }

    /// Refuses what is no vector of this space; `argument` is what the caller calls it.
    pub fn check(&self, argument: &str, numbers: &[f32]) -> Result<()> {
        if numbers.len() != self.dimensions {
            return Err(Error::bad_argument(
                format!(
                    "{argument} has {} dimensions, the model {} has {}",
                    numbers.len(),
                    shown(&self.model),
                    self.dimensions
                ),
                "Embed with the model that the space was made for, or name the model that was used.",
            ));
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(Error::bad_argument(
                format!("{argument} holds NaN or an infinity"),
                "A vector's numbers are finite.",
            ));
        }
        let halved = self.near.is_some_and(|(_, form)| form == Form::Half);
        if halved && numbers.iter().any(|number| number.abs() > GREATEST_HALF) {
            return Err(Error::bad_argument(
                format!(
                    "{argument} holds a number beyond {GREATEST_HALF}, which the model's quantization half does not take"
                ),
                "Make the space with quantization => 'none'.",
            ));
        }
        if self.distance == Distance::Cosine && numbers.iter().all(|number| *number == 0.0) {
            return Err(Error::bad_argument(
                format!("{argument} is all zero, which has no direction"),
                "Cosine compares directions. Leave out what the model gives no embedding for.",
            ));
        }
        Ok(())
    }
}

fn only_model() -> Result<String> {
    let mut names: Vec<String> = known(scan::Key::All).into_iter().map(|space| space.model).collect();
    match names.len() {
        1 => Ok(names.remove(0)),
        0 => Err(Error::bad_argument(
            "model is NULL, and there is no embedding space",
            "An operator makes one: SELECT memory.create_embedding_space('…', <dimensions>).",
        )),
        count => {
            names.truncate(10);
            let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
            Err(Error::bad_argument(
                format!("model is NULL, and there are {count} embedding spaces"),
                format!("Name one: {}.", names.join(", ")),
            ))
        }
    }
}

/// A table's name for a model: of its letters and digits, and of a hash that keeps it apart from others like it.
fn relation_for(model: &str) -> String {
    const SHOWN: usize = 24;
    let mut name = String::from("embeddings_");
    for character in model.chars().take(SHOWN) {
        name.push(match character.to_ascii_lowercase() {
            character @ ('a'..='z' | '0'..='9') => character,
            _ => '_',
        });
    }
    let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    write!(name, "_{hash:016x}").expect("a String takes it");
    name
}

#[pg_extern(sql = false)]
fn create_embedding_space(
    model: Option<&str>,
    dimensions: Option<i32>,
    distance: Option<&str>,
    quantization: Option<&str>,
) -> std::result::Result<(), ErrorReport> {
    let model = check::text("model", model)?;
    if model.len() > LONGEST_NAME {
        return Err(Error::bad_argument(
            format!("model {} is longer than {LONGEST_NAME} bytes", shown(model)),
            "Give it a shorter name.",
        )
        .into());
    }
    let dimensions = check::positive("dimensions", dimensions)?;
    if dimensions > MOST_DIMENSIONS {
        return Err(Error::bad_argument(
            format!("dimensions is {dimensions}"),
            format!("A vector has at most {MOST_DIMENSIONS}."),
        )
        .into());
    }
    let distance = check::needed("distance", distance)?;
    let Some(metric) = Distance::parse(distance) else {
        return Err(Error::bad_argument(
            format!("distance {} is unknown", shown(distance)),
            "It is cosine, l2 or ip.",
        )
        .into());
    };
    let quantization = check::needed("quantization", quantization)?;
    let Some(form) = form(quantization) else {
        return Err(Error::bad_argument(
            format!("quantization {} is unknown", shown(quantization)),
            "It is none, half or binary.",
        )
        .into());
    };
    spi::run("LOCK TABLE memory.embedding_spaces IN SHARE ROW EXCLUSIVE MODE");
    if known_model(model).is_some() {
        return Err(Error::bad_argument(
            format!("model {} has an embedding space already", shown(model)),
            "Another model, or another version of it, goes by another name; drop_embedding_space() removes a space.",
        )
        .into());
    }
    make_table(model, dimensions, metric, form);
    let row = [
        model.into(),
        relation_for(model).into(),
        dimensions.into(),
        distance.into(),
        quantization.into(),
    ];
    REMEMBER.with(|s| s.write(&row, |_| ()));
    Ok(())
}

/// A table of its own, no member of the extension: dumped whole, and dropped with memory.embeddings if the extension goes.
fn make_table(model: &str, dimensions: i32, metric: Distance, form: Form) {
    let relation = relation_for(model);
    let vectors = VECTOR_SCHEMA.with(|s| s.read(&[], |rows| unwrap(rows.first().get_one::<String>())));
    let vectors = vectors.expect("memory_ext requires vector");
    let literal = pgrx::spi::quote_literal(model);
    let comment = pgrx::spi::quote_literal(format!("The embeddings of model {model}."));
    let near = if dimensions <= most_indexed(form) {
        let (value, class) = near_of(&vectors, dimensions, metric, form);
        format!(
            "CREATE INDEX {relation}_near ON memory.{relation} USING hnsw (({value}) {class})
                 WITH (m = 16, ef_construction = 100) WHERE indexed;
             ALTER INDEX memory.{relation}_near ALTER COLUMN 1 SET STATISTICS 0"
        )
    } else {
        format!("ALTER TABLE memory.{relation} ADD CONSTRAINT no_index CHECK (NOT indexed)")
    };
    // A row of a common model stays whole on a page, so that reading its vector is reading the row.
    spi::run(&format!(
        "CREATE TABLE memory.{relation} (
             CONSTRAINT model CHECK (model = {literal}),
             CONSTRAINT dimensions CHECK ({vectors}.vector_dims(embedding) = {dimensions}),
             PRIMARY KEY (tenant_id, user_id, node_id, vector_type),
             FOREIGN KEY (tenant_id, user_id, node_id) REFERENCES memory.nodes ON DELETE CASCADE
         ) INHERITS (memory.embeddings) WITH (toast_tuple_target = 8160);
         ALTER TABLE memory.{relation} ALTER COLUMN model SET DEFAULT {literal};
         CREATE INDEX {relation}_codes ON memory.{relation} (tenant_id, user_id, node_id, vector_type) INCLUDE (code)
             WHERE NOT indexed;
         CREATE INDEX {relation}_large ON memory.{relation} (tenant_id, user_id) WHERE indexed;
         {near};
         COMMENT ON TABLE memory.{relation} IS {comment};
         REVOKE ALL ON TABLE memory.{relation} FROM PUBLIC"
    ));
    let common = catalog::relation_named("embeddings");
    let arguments = [relation.as_str().into(), common.into()];
    let comments = COMMENTS.with(|s| s.read(&arguments, |rows| unwrap(rows.first().get_one::<String>())));
    spi::run(&comments.unwrap_or_default());
    let table = format!("memory.{relation}");
    let free_text = ["user_id", "vector_type", "model", "embedding", "code"];
    access::secure(&table, access::Rows::OfUsers, &free_text);
    access::watch(&table, access::Rows::OfUsers);
    access::keep(&table, "embeddings");
    let grants: Vec<(String, String)> = GRANTS.with(|s| {
        s.read(&[], |rows| {
            rows.map(|row| {
                let text = |i| unwrap(row.get::<String>(i)).unwrap_or_default();
                (text(1), text(2))
            })
            .collect()
        })
    });
    for (privileges, role) in grants {
        spi::run(&format!("GRANT {privileges} ON TABLE memory.{relation} TO {role}"));
    }
}

/// What the HNSW index is over, and its operator class.
fn near_of(vectors: &str, dimensions: i32, metric: Distance, form: Form) -> (String, String) {
    let kind = match metric {
        Distance::Cosine => "cosine",
        Distance::L2 => "l2",
        Distance::Ip => "ip",
    };
    match form {
        Form::Whole => (
            format!("embedding::{vectors}.vector({dimensions})"),
            format!("{vectors}.vector_{kind}_ops"),
        ),
        Form::Half => (
            format!("embedding::{vectors}.halfvec({dimensions})"),
            format!("{vectors}.halfvec_{kind}_ops"),
        ),
        Form::Binary => (
            format!("{vectors}.binary_quantize(embedding)::bit({dimensions})"),
            format!("{vectors}.bit_hamming_ops"),
        ),
    }
}

#[pg_extern(sql = false)]
fn drop_embedding_space(model: Option<&str>) -> std::result::Result<i64, ErrorReport> {
    let model = check::text("model", model)?;
    spi::run("LOCK TABLE memory.embedding_spaces IN SHARE ROW EXCLUSIVE MODE");
    let space = known_model(model).ok_or_else(|| unknown_model(model))?;
    // As create_embedding_space() made it; what else the row may say is not dropped.
    let relation = relation_for(&space.model);
    let mut count = 0;
    if catalog::relation_named(&relation) != pg_sys::InvalidOid {
        spi::run(&format!("LOCK TABLE memory.{relation} IN ACCESS EXCLUSIVE MODE"));
        hold::check_all(&format!("memory.{relation}"))?;
        let counted = write_once(&format!("SELECT count(*) FROM memory.{relation}"), &[], |rows| {
            unwrap(rows.first().get_one::<i64>())
        });
        count = counted.unwrap_or_default();
        spi::run(&format!("DROP TABLE memory.{relation}"));
    }
    FORGET.with(|s| s.write(&[model.into()], |_| ()));
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::relation_for;

    #[test]
    fn a_table_s_name_needs_no_quotes_and_fits() {
        for model in ["all-MiniLM-L6-v2", "x\"; DROP TABLE y; --", "", "é", &"long".repeat(25)] {
            let name = relation_for(model);
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert!(name.len() + "_codes".len() < 64, "{name}");
        }
        assert_ne!(relation_for("a-b"), relation_for("a_b"));
        assert_ne!(relation_for(&"x".repeat(30)), relation_for(&"x".repeat(31)));
    }
}
