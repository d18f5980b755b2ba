-- What each profile may do. Whoever changes this list says in the commit why the profile needs it.
SELECT * FROM (
    SELECT profile, split_part(object, ' ', 1) AS kind, split_part(object, ' ', 2) AS object, privileges
    FROM memory.profile_privileges
) AS p ORDER BY profile COLLATE "C", kind COLLATE "C", object COLLATE "C";
