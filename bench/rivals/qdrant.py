"""qdrant-edge beside us: the same vectors, the same user, the same queries, in one process.

Usage: qdrant.py FOLDER     with points.tsv (number, user, vector), queries.tsv (user, vector)
Says `ready`; then for each line that it reads, the median of the searches in milliseconds and what they found, as numbers.
Needs qdrant-edge-py from PyPI: pip install qdrant-edge-py
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time

import qdrant_edge as qdrant

folder = pathlib.Path(sys.argv[1])
first = json.loads((folder / "queries.tsv").open().readline().split("\t")[1])
with tempfile.TemporaryDirectory() as home:
    config = qdrant.EdgeConfig(vectors=qdrant.EdgeVectorParams(size=len(first), distance=qdrant.Distance.Cosine))
    shard = qdrant.EdgeShard.create(home, config)
    shard.update(qdrant.UpdateOperation.create_field_index("user", qdrant.PayloadSchemaType.Keyword))
    batch = []
    for line in (folder / "points.tsv").open():
        number, user, vector = line.rstrip("\n").split("\t")
        batch.append(qdrant.Point(int(number), json.loads(vector), {"user": user}))
        if len(batch) == 1000:
            shard.update(qdrant.UpdateOperation.upsert_points(batch))
            batch = []
    if batch:
        shard.update(qdrant.UpdateOperation.upsert_points(batch))
    shard.optimize()
    queries = []
    for line in (folder / "queries.tsv").open():
        user, vector = line.rstrip("\n").split("\t")
        own = qdrant.Filter(must=[qdrant.FieldCondition("user", match=qdrant.MatchValue(user))])
        queries.append(qdrant.QueryRequest(limit=10, query=qdrant.Query.Nearest(json.loads(vector)), filter=own))
    print("ready", flush=True)
    for _ in sys.stdin:
        times, found = [], []
        for query in queries:
            start = time.perf_counter()
            points = shard.query(query)
            times.append(1000 * (time.perf_counter() - start))
            found.append([point.id for point in points])
        print(json.dumps([statistics.median(times), found]), flush=True)
