//! Hostile arguments: an expression of a type, from random choices.

use cluster::random::Random;

const TEXTS: &[&str] = &[
    "NULL",
    "''",
    "' '",
    "'x'",
    "'s'",
    "'e'",
    "'bob'",
    "'alice'",
    "'red'",
    "'blue'",
    "' BLUE '",
    "'system'",
    "'none'",
    "'00000000-0000-7000-8000-00000000000b'",
    "'log'",
    "'%s%n{}'",
    "'infinity'",
    "E'\\x01'",
    "U&'\\+10FFFF'",
    "'é\u{130}…'",
    "$q$'; DROP TABLE memory.nodes; --$q$",
    "repeat('x', 100000)",
    "repeat('é', 3000000)",
    "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)",
];

const JSONS: &[&str] = &[
    "NULL",
    "'null'",
    "'{}'",
    "'[]'",
    "'1'",
    "'\"x\"'",
    "'[null]'",
    "'[{}]'",
    "'[[]]'",
    "'[{},{},1]'",
    "'{\"a\": 1e131071}'",
    "(repeat('[', 4000) || repeat(']', 4000))::jsonb",
    "(repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb",
    "('{\"entity_id\": 1, \"entity_system\": \"s\", \"entity_data\": ' || repeat('{\"a\":', 3000) || '1' || repeat('}', 3001))::jsonb",
    "'{\"entity_id\": \"e\", \"entity_system\": \"s\", \"update_count\": 1e400, \"entity_data\": []}'",
    "'{\"entity_id\": [], \"entity_system\": {}}'",
    "jsonb_build_object('a', repeat('x', 10000000))",
    "'[{\"event_type\": \"log\", \"payload\": {}, \"event_id\": \"e\"}, {\"event_type\": \"log\", \"payload\": {}, \"event_id\": \"f\"}]'",
    "'[{\"event_type\": \"log\", \"payload\": {}, \"occurred_at\": \"infinity\"}]'",
    "'[{\"event_type\": \"log\", \"payload\": {}, \"occurred_at\": \"yesterday allballs x\"}]'",
    "'[{\"content\": {\"entity_id\": 1, \"entity_system\": 2}, \"context_type\": \"domain_entity\", \"tags\": [\"a\"], \"user_id\": \"alice\"}]'",
    "'[{\"content\": {}, \"context_type\": \"domain_entity\", \"base_relevance\": 1e400}]'",
    "'[{\"content\": {}, \"context_type\": \"domain_entity\", \"user_id\": \"bob\"}]'",
    "'[{\"content\": {}, \"context_type\": \"domain_entity\", \"tenant\": \"blue\", \"user_id\": \"alice\"}]'",
    "(SELECT jsonb_agg('{\"content\": {\"entity_id\": 1, \"entity_system\": 2, \"entity_data\": {\"a\": {}}}, \"context_type\": \"domain_entity\"}'::jsonb) FROM generate_series(1, 500))",
    "'[{\"from_node_id\": \"00000000-0000-7000-8000-0000000000a1\", \"to_node_id\": \"00000000-0000-7000-8000-0000000000b0\", \"relationship_type\": \"relates_to\"}]'",
    "'[{\"tenant\": \"red\", \"user_id\": \"alice\", \"session_id\": \"s\", \"event_id\": \"e\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}]'",
    "'{\"version\": 1, \"relations\": {\"preferences\": [{\"preferences\": {}, \"updated_at\": \"now\"}]}}'",
    "'{\"version\": 1, \"user_id\": \"bob\", \"relations\": {\"nodes\": [{}], \"embeddings\": [{\"model\": \"m\"}]}}'",
    "'[{\"tenant\": \"red\", \"user_id\": \"alice\", \"session_id\": \"s\", \"event_id\": \"e\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}, {\"tenant\": \"blue\", \"user_id\": \"alice\", \"session_id\": \"s\", \"event_id\": \"e\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}]'",
];

/// An expression of the type, now and then one that gets past the first check.
pub fn argument(random: &mut Random, name: &str, kind: &str) -> String {
    let fitting = match name {
        "event_type" => "'log'",
        "context_type" => "'domain_entity'",
        "relationship_type" => "'relates_to'",
        "direction" => "'both'",
        "tier" => "'private'",
        "session_id" => "'s'",
        "from_node_id" | "to_node_id" => "'00000000-0000-7000-8000-0000000000a1'",
        "model" => "'m'",
        "embedding" => "'[3,2,1]'",
        "query" => "'own marker -x \"own own\" -\"marker of\"'",
        "expand_depth" | "neighbours" => "2",
        "embeddings" => "'{\"[3,2,1]\",\"[1,2,1]\",\"[1,1,1]\"}'",
        "kind" => "'export'",
        "document" => "memory.export_user_document('alice')",
        "tenant" | "user_id" => "NULL",
        "algorithm" => "'HS256'",
        "key" => "encode(repeat('k', 32)::bytea, 'base64')",
        "scopes" => "'{read,admin}'",
        "audience" => "'*'",
        "ttl" => "'1 day'",
        // signed by nobody
        "token" => {
            "'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJib2IiLCJ0ZW5hbnQiOiJibHVlIiwiZXhwIjo0MDAwMDAwMDAwfQ.AAAA'"
        }
        "payload" | "metadata" | "preferences" => "'{\"a\": 1}'",
        "content" => "'{\"entity_id\": \"e\", \"entity_system\": \"s\"}'",
        "start_nodes" | "node_ids" | "seed_nodes" => {
            "'{00000000-0000-7000-8000-0000000000a1, 00000000-0000-7000-8000-0000000000b0, 00000000-0000-7000-8000-0000000000b1}'"
        }
        _ => "",
    };
    if !fitting.is_empty() && random.below(2) == 0 {
        return format!("{fitting}::{kind}");
    }
    let choices: &[&str] = match kind {
        "text" => TEXTS,
        "jsonb" => JSONS,
        "boolean" => &["NULL", "true", "false"],
        "integer" => &["NULL", "0", "-1", "1", "100", "-2147483648", "2147483647"],
        "bigint" => &["NULL", "0", "-1", "1", "-9223372036854775808", "9223372036854775807"],
        "real" | "double precision" => &["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "0", "0.5", "1e38", "-1"],
        "timestamp with time zone" => &[
            "NULL",
            "'infinity'",
            "'-infinity'",
            "'4714-11-24 00:00:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "now()",
        ],
        "interval" => &[
            "NULL",
            "'0'",
            "'-1 day'",
            "'178000000 years'",
            "'-178000000 years'",
            "'1 month -30 days'",
            "'2147483647 days 2562047788 hours'",
        ],
        "vector" => &[
            "NULL",
            "'[1,2,3]'",
            "'[0,0,0]'",
            "'[3e38,-3e38,3e38]'",
            "'[1e-45,0,0]'",
            "'[1]'",
            "array_fill(1, '{16000}')",
        ],
        "vector[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{\"[1,2,3]\"}'",
            "'{{\"[1,2,3]\"},{\"[1]\"}}'",
            "array_fill('[1,2,3]'::vector, '{5000}')",
        ],
        "bytea" => &["NULL", "''", "'x'"],
        "uuid" => &[
            "NULL",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'00000000-0000-7000-8000-0000000000a1'",
            "'00000000-0000-7000-8000-0000000000b0'",
            "'00000000-0000-7000-8000-0000000000b1'",
        ],
        "uuid[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{{00000000-0000-7000-8000-0000000000a1}, {00000000-0000-7000-8000-0000000000b0}}'",
            "'[-2147483647:-2147483646]={00000000-0000-7000-8000-0000000000a1, NULL}'",
            "ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 20000))",
        ],
        "text[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{{log, x}, {NULL, domain_entity}}'",
            "'[5:6]={domain_entity, relates_to}'",
            "ARRAY(SELECT i::text FROM generate_series(1, 100000) i)",
            "'{domain_entity}'",
            "'{relates_to}'",
        ],
        "regrole" => &["NULL", "'hostile_app'", "0", "4294967295"],
        "regclass" => &["NULL", "'memory.nodes'", "0", "4294967295"],
        "regconfig" => &["NULL", "'german'", "0", "4294967295"],
        _ => &["NULL"],
    };
    let value = random.one_of(choices);
    if ["regrole", "regclass", "regconfig"].contains(&kind) {
        return format!(
            "{value}::{}{kind}",
            if value.starts_with(|c: char| c.is_ascii_digit()) {
                "oid::"
            } else {
                ""
            }
        );
    }
    format!("({value})::{kind}")
}
