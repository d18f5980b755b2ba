-- Questions to the graph that walk it: paths, ranking, drawings.

CREATE FUNCTION memory.shortest_path(
    from_node_id uuid, to_node_id uuid, max_depth integer DEFAULT 16, weighted boolean DEFAULT false,
    direction text DEFAULT 'out', relationship_types text[] DEFAULT NULL, as_of timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT step integer, OUT node_id uuid, OUT relationship_type text, OUT cost double precision
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'shortest_path_wrapper';
COMMENT ON FUNCTION memory.shortest_path(uuid, uuid, integer, boolean, text, text[], timestamptz, text, text) IS
    'The shortest path between two nodes along relationships of these types (NULL: all) that are valid at as_of (NULL: now), in '
    'max_depth steps at most, through nodes that are seen then: one row per node, step 0 is from_node_id, cost adds up. A step costs 1; '
    'weighted, 1 / strength, and strength 0 is no way. Of several the one with the fewest steps, then the smallest node ids in '
    'their order, then types. From a node to itself: step 0. No path, and an unknown, ended or invisible node: no rows. '
    'A negative max_depth, another direction than out, in or both, an unknown type are 22023; more than 4 million relationships '
    'read 54000. Breadth-first, weighted Dijkstra''s search, from both ends: milliseconds where few steps lie between; a weighted one whose '
    'cheapest path has more than max_depth steps reads all within max_depth.';

CREATE FUNCTION memory.rank_related(
    seed_nodes uuid[], max_results integer DEFAULT 20, damping real DEFAULT 0.85, max_depth integer DEFAULT 4,
    direction text DEFAULT 'both', tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT node_id uuid, OUT score double precision
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 20
AS 'MODULE_PATHNAME', 'rank_related_wrapper';
COMMENT ON FUNCTION memory.rank_related(uuid[], integer, real, integer, text, text, text) IS
    'The nodes that have most to do with seed_nodes, best first (then by node_id), the seeds among them: personalised PageRank over the '
    'nodes within max_depth steps and the relationships between these, followed in the direction given (both: each counts both ways) '
    'with probabilities by strength; parallel ones add up. With the probability 1 - damping, and from a node without a way on, it '
    'starts again at one of the seeds, each alike. Scores sum to 1 before the cut to max_results, and are exact to 1e-8. Unknown and '
    'invisible seeds are skipped; without any there are no rows. damping outside of [0, 1), a negative max_depth, max_results below 1, another '
    'direction are 22023; more than 100,000 nodes or 4 million relationships, or a damping so near to 1 that 10,000 rounds do not '
    'settle, 54000. Costs a traverse() one step deeper, and some 100 rounds over its relationships in memory.';

CREATE FUNCTION memory.graph_dot(
    start_nodes uuid[], max_depth integer DEFAULT 2, direction text DEFAULT 'both', max_nodes integer DEFAULT 200,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'graph_dot_wrapper';
COMMENT ON FUNCTION memory.graph_dot(uuid[], integer, text, integer, text, text) IS
    'What traverse() reaches from start_nodes, and every relationship between these nodes, as a graph for Graphviz (dot -Tsvg): one '
    'column per depth, start nodes framed, coloured by context type, relationships as thick as they are strong. A label is the summary, '
    'else entity_id, else the context type, 40 characters at most, and cannot say anything but itself. The same graph gives the same '
    'text. More than max_nodes nodes: 54000, no drawing of a part. A negative max_depth, another direction, max_nodes below 1 are 22023.';

CREATE FUNCTION memory.graph_mermaid(
    start_nodes uuid[], max_depth integer DEFAULT 2, direction text DEFAULT 'both', max_nodes integer DEFAULT 200,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'graph_mermaid_wrapper';
COMMENT ON FUNCTION memory.graph_mermaid(uuid[], integer, text, integer, text, text) IS
    'The same as graph_dot() for Mermaid, as a flowchart: where Markdown is read, such as on code hosts. Mermaid places the nodes itself, '
    'and draws 500 relationships unless configured to draw more.';

SELECT memory.allow('app', 'shortest_path', 'rank_related', 'graph_dot', 'graph_mermaid');
