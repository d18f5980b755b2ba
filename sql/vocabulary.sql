-- Vocabularies: the words that types are chosen from. Rows, so that an operator can add some.

CREATE TABLE memory.context_types (
    name text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    description text,
    built_in boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.context_types IS 'What a node can be. register_context_type() adds one.';

CREATE TABLE memory.relationship_types (LIKE memory.context_types INCLUDING ALL);
COMMENT ON TABLE memory.relationship_types IS 'What a relationship can say. register_relationship_type() adds one.';

CREATE TABLE memory.event_types (LIKE memory.context_types INCLUDING ALL);
COMMENT ON TABLE memory.event_types IS 'What an event can be. register_event_type() adds one.';

INSERT INTO memory.context_types (name, description, built_in) VALUES
    ('search_result', 'Something that a search brought.', true),
    ('user_selection', 'Something that the user chose.', true),
    ('tool_output', 'What a tool returned.', true),
    ('domain_entity', 'A thing of the user''s world: a person, an order, a package.', true),
    ('completed_action', 'Something that was done.', true),
    ('conversation_fact', 'Something that was said.', true),
    ('temporary_state', 'Something that holds for a while.', true),
    ('knowledge_atom', 'A single piece of knowledge.', true);
INSERT INTO memory.relationship_types (name, description, built_in) VALUES
    ('led_to', 'The first brought about the second.', true),
    ('relates_to', 'The two have to do with each other.', true),
    ('depends_on', 'The first needs the second.', true),
    ('produces', 'The first makes the second.', true),
    ('belongs_to', 'The first is part of the second.', true);
INSERT INTO memory.event_types (name, description, built_in) VALUES
    ('session_metadata', 'What is known of the session itself.', true),
    ('message_user', 'The user said something.', true),
    ('message_assistant', 'The agent said something.', true),
    ('message_system', 'The system said something.', true),
    ('context', 'What the agent was given to work with.', true),
    ('action', 'The agent did something.', true),
    ('issue', 'Something went wrong.', true),
    ('decision', 'Something was decided.', true),
    ('log', 'A line of a log.', true),
    ('tool_call', 'The agent called a tool.', true);

CREATE FUNCTION memory.register_context_type(name text, description text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.context_types (name, description)
    VALUES (memory.check_text('name', register_context_type.name), register_context_type.description)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description;
END;
COMMENT ON FUNCTION memory.register_context_type(text, text) IS
    'Adds a word for nodes, or describes it anew; the description may be NULL. An operator''s.';

CREATE FUNCTION memory.register_relationship_type(name text, description text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.relationship_types (name, description)
    VALUES (memory.check_text('name', register_relationship_type.name), register_relationship_type.description)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description;
END;
COMMENT ON FUNCTION memory.register_relationship_type(text, text) IS
    'Adds a word for relationships, or describes it anew; the description may be NULL. An operator''s.';

CREATE FUNCTION memory.register_event_type(name text, description text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.event_types (name, description)
    VALUES (memory.check_text('name', register_event_type.name), register_event_type.description)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description;
END;
COMMENT ON FUNCTION memory.register_event_type(text, text) IS
    'Adds a word for events, or describes it anew; the description may be NULL. An operator''s.';

SELECT memory.declare_table(vocabulary, 'shared', '{description}', 'WHERE NOT built_in')
FROM unnest('{memory.context_types, memory.relationship_types, memory.event_types}'::regclass[]) AS vocabulary;

SELECT memory.allow_table('app', 'SELECT', 'context_types', 'relationship_types', 'event_types');
SELECT memory.allow_table('operator', 'SELECT, INSERT, UPDATE, DELETE',
    'context_types', 'relationship_types', 'event_types');
SELECT memory.allow('operator', 'register_context_type', 'register_relationship_type', 'register_event_type',
    'check_text');

DO $$
DECLARE
    vocabulary text;
BEGIN
    FOREACH vocabulary IN ARRAY '{context_types, relationship_types, event_types}'::text[] LOOP
        EXECUTE format($sql$
            COMMENT ON COLUMN memory.%1$I.name IS 'The word.';
            COMMENT ON COLUMN memory.%1$I.description IS 'What it means, for people.';
            COMMENT ON COLUMN memory.%1$I.built_in IS 'Whether the extension brought it; a dump carries the others.';
            COMMENT ON COLUMN memory.%1$I.created_at IS 'When it was added.';
        $sql$, vocabulary);
    END LOOP;
END
$$;
