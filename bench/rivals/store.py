"""Storing and archiving from a Python client: LangGraph's PostgresStore and psycopg row at a time, and ours through the same driver.

Usage: store.py DSN     says `ready`; then for each line `SIDE NUMBER` does that side over the first NUMBER rows of `source`, as the
database has it, in batches of a thousand, and says the seconds that it took.
Needs psycopg from PyPI, for the side `langgraph` also langgraph-checkpoint-postgres: pip install langgraph-checkpoint-postgres 'psycopg[binary]'
"""

import json
import sys
import time

import psycopg
from psycopg.rows import dict_row

BATCH = 1000
dsn = sys.argv[1]
client = psycopg.connect(dsn, autocommit=True)
# As PostgresStore.from_conn_string has it.
langgraph_client = psycopg.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=dict_row)
rows_of = {}


def rows(query, number):
    """What a client has in its memory before it begins."""
    key = (query, number)
    if key not in rows_of:
        rows_of[key] = client.execute(query, (number,)).fetchall()
    return rows_of[key]


NODES = "SELECT user_id, content, context_type, summary, tags FROM source WHERE number <= %s ORDER BY number"
EVENTS = """SELECT user_id, session_id, event_id, event_type, occurred_at::text, payload FROM source
            WHERE batch <= %s / 1000 ORDER BY occurred_at"""


def batches(all_rows):
    return (all_rows[i : i + BATCH] for i in range(0, len(all_rows), BATCH))


def store_nodes(number):
    names = ["user_id", "content", "context_type", "summary", "tags"]
    for batch in batches(rows(NODES, number)):
        document = json.dumps([dict(zip(names, row)) for row in batch])
        client.execute("SELECT count(*) FROM memory.store_nodes(%s::jsonb)", (document,), prepare=True)


def node_at_a_time(number):
    for row in rows(NODES, number):
        client.execute(
            """INSERT INTO rival AS t (tenant_id, user_id, content, context_type, summary, tags, entity_id, entity_system)
               VALUES (memory.current_tenant_id(), %s, %s::jsonb, %s, %s, %s, %s, %s)
               ON CONFLICT (tenant_id, user_id, entity_system, entity_id) DO UPDATE SET content = t.content || excluded.content,
                   summary = excluded.summary, tags = excluded.tags, updated_at = now(), access_count = t.access_count + 1""",
            (row[0], json.dumps(row[1]), *row[2:5], row[1]["entity_id"], row[1]["entity_system"]),
            prepare=True,
        )


def langgraph(number):
    from langgraph.store.base import PutOp
    from langgraph.store.postgres import PostgresStore

    store = PostgresStore(langgraph_client)
    for batch in batches(rows(NODES, number)):
        store.batch(
            [
                PutOp((row[0],), row[1]["entity_id"], {"content": row[1], "type": row[2], "summary": row[3], "tags": row[4]}, index=False)
                for row in batch
            ]
        )


def archive_events(number):
    names = ["user_id", "session_id", "event_id", "event_type", "occurred_at", "payload"]
    for batch in batches(rows(EVENTS, number)):
        document = json.dumps([{"tenant": "acme", **dict(zip(names, row))} for row in batch])
        client.execute("SELECT memory.archive_events(%s::jsonb)", (document,), prepare=True)


def event_at_a_time(number):
    for row in rows(EVENTS, number):
        client.execute(
            """INSERT INTO memory.agent_events_archive (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
               VALUES (memory.current_tenant_id(), %s, %s, %s, %s, %s, %s::jsonb)
               ON CONFLICT (tenant_id, user_id, session_id, event_id) DO NOTHING""",
            (*row[:5], json.dumps(row[5])),
            prepare=True,
        )


def langgraph_setup(number):
    from langgraph.store.postgres import PostgresStore

    PostgresStore(langgraph_client).setup()


SIDES = {
    side.__name__: side
    for side in (store_nodes, node_at_a_time, langgraph, langgraph_setup, archive_events, event_at_a_time)
}
# The same to all sides: a service of the tenant.
client.execute("SELECT memory.set_security_context('acme', service_name => 'bench', is_local => false)")
print("ready", flush=True)
for line in sys.stdin:
    side, number = line.split()
    if side in ("store_nodes", "node_at_a_time", "langgraph"):
        rows(NODES, int(number))
    elif side != "langgraph_setup":
        rows(EVENTS, int(number))
    start = time.perf_counter()
    SIDES[side](int(number))
    print(time.perf_counter() - start, flush=True)
