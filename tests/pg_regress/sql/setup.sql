-- Runs before all others: the database that they share.
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;
SELECT extname FROM pg_extension WHERE extname IN ('memory_ext', 'pg_trgm', 'vector') ORDER BY extname COLLATE "C";
