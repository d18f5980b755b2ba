//! The statements of export, erasure and anonymising, made from what is declared of each column.
//!
//! Each is one statement over all tables, so one snapshot holds for all of it, and keys change under foreign keys: PostgreSQL checks
//! these when the statement ends. $1 is the tenant, $2 the user. The key of the pseudonyms is made inside the statement and never
//! leaves it.

/// A column, as it is declared.
#[derive(Clone, Debug)]
pub struct Column {
    /// Quoted for SQL.
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    /// The expression of its default.
    pub default: Option<String>,
    pub treatment: Treatment,
}

/// What a pseudonym or an empty value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Uuid,
    Jsonb,
    Array,
    Time,
    /// Of this one only NULL is empty.
    Other,
}

/// What becomes of a column when its user is anonymised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    Keep,
    User,
    Clear,
    /// Cleared, and not exported either: a key.
    Secret,
    /// The old and the new row of an audited change: cleared, also where the row was given to another user.
    Images,
    /// An object of which one key stays.
    ClearBut(String),
    /// The kind of what it identifies.
    Pseudonym(String),
    /// The vocabulary, if it has one: a table of words, quoted.
    Word(Option<String>),
}

/// What becomes of a table's rows when their user is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    Delete,
    /// They go when the user is anonymised, too.
    DeleteAlways,
    Redact,
}

/// Whose rows are anonymised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One user's: $2. Rows that only mention that user keep theirs.
    One,
    /// Anybody's, some rows of each: no pseudonym is shared by two users.
    Each,
}

/// A table with users' data.
#[derive(Clone, Debug)]
pub struct Table {
    /// In schema memory, quoted for SQL.
    pub name: String,
    /// The same as a literal.
    pub literal: String,
    pub erasure: Erasure,
    /// Whether memory.readable_<name>() gives its rows as they were before they were encrypted.
    pub has_readable: bool,
    pub columns: Vec<Column>,
}

impl Kind {
    /// By the name that format_type() gives.
    pub fn of(type_name: &str) -> Self {
        match type_name {
            "text" => Self::Text,
            "uuid" => Self::Uuid,
            "jsonb" => Self::Jsonb,
            "timestamp with time zone" => Self::Time,
            name if name.ends_with("[]") => Self::Array,
            _ => Self::Other,
        }
    }
}

impl Treatment {
    /// As personal_columns says it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            None => match text {
                "keep" => Self::Keep,
                "user" => Self::User,
                "clear" => Self::Clear,
                "secret" => Self::Secret,
                "images" => Self::Images,
                "word" => Self::Word(None),
                _ => return None,
            },
            Some(("clear", key)) => Self::ClearBut(key.to_owned()),
            Some(("pseudonym", kind)) => Self::Pseudonym(kind.to_owned()),
            Some(("word", vocabulary)) => Self::Word(Some(vocabulary.to_owned())),
            Some(_) => return None,
        })
    }
}

impl Column {
    /// The new value of a row t that is anonymised, by the key k; None where it stays.
    fn anonymised(&self, whose: Whose) -> Option<String> {
        let old = format!("t.{}", self.name);
        let pseudonym = |kind: &str| {
            let of_whom = match (whose, kind) {
                (Whose::One, _) => "",
                (Whose::Each, "user") => "t.tenant_id || ':' || ",
                (Whose::Each, _) => "t.tenant_id || ':' || coalesce(t.user_id, '') || ':' || ",
            };
            let digest = format!("sha256(k.key || convert_to({of_whom}'{kind}:' || {old}, 'UTF8'))");
            match self.kind {
                Kind::Uuid => format!("encode(substr({digest}, 1, 16), 'hex')::uuid"),
                _ => format!("'anon-' || encode(substr({digest}, 1, 16), 'hex')"),
            }
        };
        let empty = match self.kind {
            _ if self.nullable => "NULL",
            Kind::Jsonb | Kind::Array => "'{}'",
            _ => "''",
        };
        Some(match &self.treatment {
            Treatment::Keep => return None,
            Treatment::User if whose == Whose::Each => pseudonym("user"),
            Treatment::User => format!("CASE WHEN {old} = $2 THEN {} ELSE {old} END", pseudonym("user")),
            Treatment::Clear | Treatment::Secret | Treatment::Images => empty.to_owned(),
            Treatment::ClearBut(key) => format!("jsonb_build_object('{key}', {old} -> '{key}')"),
            Treatment::Pseudonym(kind) => pseudonym(kind),
            Treatment::Word(vocabulary) => {
                let mut stays: Vec<String> = self
                    .default
                    .iter()
                    .map(|default| format!("{old} = ({default})"))
                    .collect();
                if let Some(table) = vocabulary {
                    stays.push(format!("EXISTS (SELECT FROM memory.{table} AS w WHERE w.name = {old})"));
                }
                let kind = vocabulary.as_deref().unwrap_or("word");
                if stays.is_empty() {
                    pseudonym(kind)
                } else {
                    format!(
                        "CASE WHEN {} THEN {old} ELSE {} END",
                        stays.join(" OR "),
                        pseudonym(kind)
                    )
                }
            }
        })
    }
}

impl Table {
    /// Which rows are the user's.
    fn condition(&self) -> String {
        let users: Vec<String> = self
            .columns
            .iter()
            .filter_map(|column| match column.treatment {
                Treatment::User => Some(format!("t.{} = $2", column.name)),
                Treatment::Images => Some(format!("t.{} #>> '{{old,user_id}}' = $2", column.name)),
                _ => None,
            })
            .collect();
        format!("t.tenant_id = $1 AND ({})", users.join(" OR "))
    }

    /// A row t as it is exported.
    fn exported(&self) -> String {
        let secrets: Vec<String> = self
            .columns
            .iter()
            .filter(|column| column.treatment == Treatment::Secret)
            .map(|column| format!(" - '{}'", column.name))
            .collect();
        let row = if self.has_readable {
            format!("memory.readable_{}(t)", self.name)
        } else {
            "t".to_owned()
        };
        format!("to_jsonb({row}){}", secrets.concat())
    }

    fn update(&self) -> String {
        format!(
            "UPDATE memory.{} AS t SET {} FROM k WHERE {} RETURNING 1",
            self.name,
            self.anonymised(Whose::One),
            self.condition()
        )
    }

    /// What SET says to anonymise a row t, by the key k.
    pub fn anonymised(&self, whose: Whose) -> String {
        let set: Vec<String> = self
            .columns
            .iter()
            .filter_map(|column| Some(format!("{} = {}", column.name, column.anonymised(whose)?)))
            .collect();
        set.join(", ")
    }

    /// The names of the columns, and what a copy of the row t that is nobody's has in them. The row itself stays, so
    /// times are cut to the day: to the microsecond they would tell whose copy it is.
    pub fn anonymous_copy(&self) -> (String, String) {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let name = &column.name;
                column.anonymised(Whose::Each).unwrap_or_else(|| match column.kind {
                    Kind::Time => format!("date_trunc('day', t.{name}, 'UTC')"),
                    _ => format!("t.{name}"),
                })
            })
            .collect();
        (names.join(", "), values.join(", "))
    }

    fn delete(&self) -> String {
        format!(
            "DELETE FROM memory.{} AS t WHERE {} RETURNING 1",
            self.name,
            self.condition()
        )
    }
}

/// The key of a statement's pseudonyms, 244 random bits, as a part of its WITH.
pub const KEY: &str = "k AS MATERIALIZED (SELECT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) AS key)";

/// Every row of the user: table, row as jsonb.
pub fn export(tables: &[Table]) -> String {
    let parts: Vec<String> = tables
        .iter()
        .map(|table| {
            format!(
                "SELECT {}::text, {} FROM memory.{} AS t WHERE {}",
                table.literal,
                table.exported(),
                table.name,
                table.condition()
            )
        })
        .collect();
    parts.join(" UNION ALL ")
}

/// Anonymises; gives table, rows.
pub fn anonymise(tables: &[Table]) -> String {
    of_all(tables, |table| match table.erasure {
        Erasure::DeleteAlways => table.delete(),
        Erasure::Delete | Erasure::Redact => table.update(),
    })
}

/// Erases; gives table, rows.
pub fn erase(tables: &[Table]) -> String {
    of_all(tables, |table| match table.erasure {
        Erasure::Delete | Erasure::DeleteAlways => table.delete(),
        Erasure::Redact => table.update(),
    })
}

fn of_all(tables: &[Table], change: impl Fn(&Table) -> String) -> String {
    let mut changes = Vec::new();
    let mut counts = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        changes.push(format!("c{i} AS ({})", change(table)));
        counts.push(format!("({i}, {}::text, (SELECT count(*) FROM c{i}))", table.literal));
    }
    format!(
        "WITH {KEY}, {}
         SELECT v.relation, v.changed FROM (VALUES {}) AS v (place, relation, changed) ORDER BY v.place",
        changes.join(", "),
        counts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(name: &str, kind: Kind, nullable: bool, treatment: &str) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            nullable,
            default: None,
            treatment: Treatment::parse(treatment).unwrap(),
        }
    }

    fn anonymised(kind: Kind, nullable: bool, treatment: &str) -> Option<String> {
        column("c", kind, nullable, treatment).anonymised(Whose::One)
    }

    #[test]
    fn a_treatment_says_what_becomes_of_a_column() {
        assert_eq!(anonymised(Kind::Text, false, "keep"), None);
        for (kind, nullable, empty) in [
            (Kind::Jsonb, false, "'{}'"),
            (Kind::Array, false, "'{}'"),
            (Kind::Text, false, "''"),
            (Kind::Text, true, "NULL"),
            (Kind::Other, true, "NULL"),
        ] {
            assert_eq!(anonymised(kind, nullable, "clear").as_deref(), Some(empty));
        }
        let word = anonymised(Kind::Text, false, "word:event_types").unwrap();
        assert!(
            word.starts_with("CASE WHEN EXISTS (SELECT FROM memory.event_types AS w"),
            "{word}"
        );
        assert!(
            anonymised(Kind::Uuid, false, "pseudonym:node")
                .unwrap()
                .ends_with("::uuid")
        );
        assert!(Treatment::parse("gone").is_none() && Treatment::parse("keep:x").is_none());
    }

    #[test]
    fn the_same_id_gets_one_pseudonym_in_every_column_of_its_kind() {
        let inner = |name, kind| {
            let text = column(name, Kind::Text, true, kind).anonymised(Whose::One).unwrap();
            text.replace(&format!("t.{name}"), "t.x")
        };
        assert_eq!(
            inner("session_id", "pseudonym:session"),
            inner("parent_session_id", "pseudonym:session")
        );
        assert_ne!(inner("a", "pseudonym:session"), inner("a", "pseudonym:event"));
    }

    #[test]
    fn rows_of_many_users_share_no_pseudonym() {
        let each = |name, treatment| {
            column(name, Kind::Text, true, treatment)
                .anonymised(Whose::Each)
                .unwrap()
        };
        assert!(each("session_id", "pseudonym:session").contains("coalesce(t.user_id, '')"));
        assert!(!each("user_id", "user").contains("CASE"));
        assert_eq!(each("payload", "clear"), "NULL");
    }

    #[test]
    fn a_row_is_the_users_where_one_of_its_user_columns_says_so() {
        let table = Table {
            name: "audit_log".to_owned(),
            literal: "'audit_log'".to_owned(),
            erasure: Erasure::Redact,
            has_readable: false,
            columns: vec![
                column("user_id", Kind::Text, true, "user"),
                column("actor_user_id", Kind::Text, true, "user"),
                column("changes", Kind::Jsonb, true, "images"),
            ],
        };
        assert_eq!(
            table.condition(),
            "t.tenant_id = $1 AND (t.user_id = $2 OR t.actor_user_id = $2 OR t.changes #>> '{old,user_id}' = $2)"
        );
        assert!(erase(std::slice::from_ref(&table)).contains("UPDATE memory.audit_log"));
        let deleted = Table {
            erasure: Erasure::Delete,
            ..table
        };
        assert!(erase(std::slice::from_ref(&deleted)).contains("DELETE FROM memory.audit_log"));
        assert!(anonymise(std::slice::from_ref(&deleted)).contains("UPDATE memory.audit_log"));
        let always = Table {
            erasure: Erasure::DeleteAlways,
            ..deleted
        };
        assert!(anonymise(&[always]).contains("DELETE FROM memory.audit_log"));
    }

    fn treatment() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "keep",
            "user",
            "clear",
            "clear:_tenant",
            "secret",
            "images",
            "pseudonym:node",
            "word",
            "word:event_types",
        ])
    }

    /// Some table, its columns named c0, c1 and so on.
    fn table() -> impl Strategy<Value = Table> {
        let kind = prop::sample::select(vec![
            "text",
            "uuid",
            "jsonb",
            "text[]",
            "timestamp with time zone",
            "bigint",
        ]);
        let erasure = prop::sample::select(vec![Erasure::Delete, Erasure::DeleteAlways, Erasure::Redact]);
        let columns = prop::collection::vec((kind, any::<bool>(), treatment(), any::<bool>()), 1..8);
        ("t[a-z_]{1,8}", erasure, any::<bool>(), columns).prop_map(|(name, erasure, has_readable, columns)| Table {
            literal: format!("'{name}'"),
            name,
            erasure,
            has_readable,
            columns: columns
                .into_iter()
                .enumerate()
                .map(|(i, (kind, nullable, treatment, has_default))| Column {
                    default: has_default.then(|| "'simple'::text".to_owned()),
                    ..column(&format!("c{i}"), Kind::of(kind), nullable, treatment)
                })
                .collect(),
        })
    }

    fn count(text: &str, part: &str) -> usize {
        text.matches(part).count()
    }

    proptest! {
        #[test]
        fn a_treatment_is_what_the_table_allows(text in prop_oneof!["(keep|user|clear|secret|images|word|pseudonym)(:[a-z_]{0,8})?", ".{0,12}"]) {
            let is_plain = ["keep", "user", "clear", "secret", "images", "word"].contains(&text.as_str());
            let has_kind = ["clear:", "pseudonym:", "word:"].iter().any(|kind| text.starts_with(kind));
            prop_assert_eq!(Treatment::parse(&text).is_some(), is_plain || has_kind);
        }

        #[test]
        fn each_table_is_changed_once_and_counted(tables in prop::collection::vec(table(), 1..6)) {
            for (statement, deletes) in [(erase(&tables), true), (anonymise(&tables), false)] {
                prop_assert_eq!(count(&statement, "RETURNING 1"), tables.len());
                prop_assert_eq!(count(&statement, "(SELECT count(*) FROM c"), tables.len());
                prop_assert_eq!(count(&statement, "("), count(&statement, ")"));
                let of = |erasure| tables.iter().filter(|table| table.erasure == erasure).count();
                let deleted = of(Erasure::DeleteAlways) + if deletes { of(Erasure::Delete) } else { 0 };
                prop_assert_eq!(count(&statement, "DELETE FROM"), deleted);
            }
            let exported = export(&tables);
            prop_assert_eq!(count(&exported, " FROM memory."), tables.len());
            prop_assert_eq!(count(&exported, "t.tenant_id = $1 AND ("), tables.len());
        }

        #[test]
        fn nothing_that_a_treatment_takes_is_left(table in table(), whose in prop::sample::select(vec![Whose::One, Whose::Each])) {
            for column in &table.columns {
                let old = format!("t.{}", column.name);
                let new = column.anonymised(whose);
                match &column.treatment {
                    Treatment::Keep => prop_assert_eq!(new, None),
                    Treatment::Clear | Treatment::Secret | Treatment::Images => prop_assert!(!new.unwrap().contains(&old)),
                    Treatment::ClearBut(key) => prop_assert_eq!(new.unwrap(), format!("jsonb_build_object('{key}', {old} -> '{key}')")),
                    Treatment::Pseudonym(_) => {
                        // Only as what is hashed with the key.
                        let new = new.unwrap();
                        prop_assert_eq!(count(&new, &old), 1);
                        prop_assert!(new.contains("sha256(k.key || "), "{}", new);
                    }
                    Treatment::User if whose == Whose::Each => prop_assert_eq!(count(&new.unwrap(), &old), 1),
                    // A user id, or a word, that stays says so itself.
                    Treatment::User | Treatment::Word(_) => prop_assert!(new.unwrap().contains("sha256(k.key || ")),
                }
                let is_left_out = table.exported().contains(&format!(" - '{}'", column.name));
                prop_assert_eq!(is_left_out, column.treatment == Treatment::Secret);
            }
        }
    }
}
