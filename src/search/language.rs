//! In which language a tenant's documents are read: a text search configuration of PostgreSQL's.
//!
//! A document says in which it was read, by a number made of the configuration's name. So documents read in several can stand beside
//! each other, while a tenant changes from one to another and for ever after; a query is read in each.

use pgrx::datum::Uuid;
use pgrx::pg_sys;

use super::text::{self, Lexer};
use crate::check;
use crate::config;
use crate::error::{Error, Result};
use crate::pg::call::Call;
use crate::pg::catalog::TableName;
use crate::pg::scan;
use crate::pg::spi::{Statement, unwrap};
use crate::pg::words::Configuration;
use crate::raw_function;
use crate::tenant;

/// A language, as documents name it and as texts are read.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    pub code: u32,
    configuration: Configuration,
}

thread_local! {
    static LANGUAGES: TableName =
        const { TableName::new(c"search_languages", [c"search_languages_pkey", c"search_languages_pkey"]) };
    static CONFIGURATIONS: Statement = const {
        Statement::new(
            "SELECT n.nspname::text, c.cfgname::text FROM pg_ts_config AS c JOIN pg_namespace AS n ON n.oid = c.cfgnamespace",
            &[],
        )
    };
    static NAME: Statement = const {
        Statement::new(
            "SELECT n.nspname::text, c.cfgname::text
             FROM pg_ts_config AS c JOIN pg_namespace AS n ON n.oid = c.cfgnamespace WHERE c.oid = $1",
            &[pg_sys::OIDOID],
        )
    };
    static SET: Statement = const {
        Statement::new(
            "INSERT INTO memory.search_languages (tenant_id, config_schema, config_name) VALUES ($1, $2, $3)
             ON CONFLICT (tenant_id) DO UPDATE SET
                 config_schema = excluded.config_schema, config_name = excluded.config_name, set_at = now()",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static UNSET: Statement = const {
        Statement::new("DELETE FROM memory.search_languages WHERE tenant_id = $1", &[pg_sys::UUIDOID])
    };
}

const SCHEMA: &str = "pg_catalog";
/// Splits words and no more; there in every database.
const LAST_RESORT: &str = "simple";

impl Language {
    fn named(schema: &str, name: &str) -> Option<Self> {
        Some(Self {
            code: code(schema, name),
            configuration: Configuration::find(schema, name)?,
        })
    }

    fn last_resort() -> Self {
        Self::named(SCHEMA, LAST_RESORT).expect("PostgreSQL brings it")
    }

    /// What the tenant's texts are read in: its own, else memory.text_search_config, and where there is no such configuration, simple.
    pub fn of(tenant: [u8; 16]) -> Self {
        own(tenant)
            .or_else(|| {
                let setting = config::text_search_config();
                let (schema, name) = setting.split_once('.').unwrap_or((SCHEMA, &setting));
                Self::named(schema, name)
            })
            .unwrap_or_else(Self::last_resort)
    }

    /// The language that documents name so.
    pub fn by_code(wanted: u32) -> Self {
        let found = CONFIGURATIONS.with(|statement| {
            statement.read(&[], |rows| {
                let names = rows.map(|row| {
                    let text = |i| unwrap(row.get::<String>(i)).unwrap_or_default();
                    (text(1), text(2))
                });
                names.into_iter().find(|(schema, name)| code(schema, name) == wanted)
            })
        });
        let language = found.and_then(|(schema, name)| Self::named(&schema, &name));
        // A configuration that is gone: its words are looked for as they are.
        Self {
            code: wanted,
            ..language.unwrap_or_else(Self::last_resort)
        }
    }
}

fn own(tenant: [u8; 16]) -> Option<Language> {
    const TENANT: i16 = 1;
    let table = LANGUAGES.with(TableName::find)?;
    let mut named = None;
    scan::each(table.oid, table.indexes[0], scan::Key::Uuid(TENANT, tenant), |row| {
        named = row.get::<String>(2).zip(row.get::<String>(3));
        false
    });
    let (schema, name) = named?;
    Language::named(&schema, &name)
}

/// Stored in documents: it stays as it is.
fn code(schema: &str, name: &str) -> u32 {
    text::fnv(format!("{schema}.{name}").as_bytes()) as u32
}

impl Lexer for Language {
    fn lexemes(&mut self, text: &str, visit: &mut dyn FnMut(&[u8], u32)) -> u32 {
        self.configuration.lexemes(text, visit)
    }
}

// Runs as its owner; only an operator may call it.
raw_function!(set_search_language, pg_finfo_set_search_language, |call| {
    match set(call) {
        Ok(()) => call.null(),
        Err(error) => error.raise(),
    }
});

fn set(call: Call) -> Result<()> {
    let tenant = Uuid::from_bytes(tenant::require(check::text("tenant", call.str(0))?)?);
    let Some(configuration) = call.argument::<pg_sys::Oid>(1) else {
        UNSET.with(|statement| statement.write(&[tenant.into()], |_| ()));
        return Ok(());
    };
    let name = NAME.with(|statement| {
        statement.read(&[configuration.into()], |rows| {
            let name = rows.first().get_two::<String, String>();
            let (schema, name) = name.unwrap_or_default();
            schema.zip(name)
        })
    });
    let Some((schema, name)) = name else {
        return Err(Error::bad_argument(
            format!("there is no text search configuration {}", u32::from(configuration)),
            "\\dF lists them: 'english', 'simple', and so on.",
        ));
    };
    SET.with(|statement| statement.write(&[tenant.into(), schema.into(), name.into()], |_| ()));
    Ok(())
}
