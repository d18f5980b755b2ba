//! pg_upgrade to a newer PostgreSQL carries everything, where one is set up beside (scripts/setup /usr/lib/postgresql/NN/bin/pg_config, then scripts/build
//! with PG_CONFIG for it); else the test is skipped, and says so.

use std::path::{Path, PathBuf};

use cluster::load::Load;
use cluster::{Cluster, SUPERUSER, skip};

/// The newest private copy of PostgreSQL, with the extension in it, that is newer than the cluster's: its number and its programs.
fn newer(cluster: &Cluster) -> Option<(u32, PathBuf)> {
    let own: u32 = cluster
        .psql("postgres", "SHOW server_version_num")
        .trim()
        .parse::<u32>()
        .unwrap()
        / 10_000;
    let copies = Path::new(cluster.programs())
        .ancestors()
        .find(|folder| folder.join("current").is_file())?
        .to_owned();
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(copies)
        .ok()?
        .filter_map(|entry| {
            let tree = entry.ok()?.path();
            let number = tree.file_name()?.to_str()?.parse().ok()?;
            let programs = tree.join(std::fs::read_to_string(tree.join(".bindir")).ok()?.trim());
            let control = Path::new("share/postgresql").join(format!("{number}/extension/memory_ext.control"));
            (number > own && programs.join("pg_upgrade").exists() && tree.join(control).exists())
                .then_some((number, programs))
        })
        .collect();
    found.sort();
    found.pop()
}

#[test]
fn pg_upgrade_carries_everything() {
    let cluster = Cluster::new("major");
    let Some((number, programs)) = newer(&cluster) else {
        skip("no newer PostgreSQL with the extension is set up");
        return;
    };
    Load::prepare(&cluster, "app");
    let load = Load::onto(&cluster, "app");
    load.beside(3, || load.wait_for(300));
    cluster.psql(
        "app",
        "SELECT memory.create_embedding_space('m', 3); SELECT memory.run_archival('0')",
    );
    cluster.stop(cluster::Stop::Fast);
    let programs = programs.display().to_string();
    cluster.shell(
        "cd \"$PGHOST\"
         mv data old
         \"$NEW/initdb\" -D data -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync $CHECKSUMS >initdb.new
         grep -v '^include' old/postgresql.conf | sed -n '/^memory.master_key_file/,$p' >>data/postgresql.conf
         env -u PGHOST -u PGPORT \"$NEW/pg_upgrade\" -b \"$OLD\" -B \"$NEW\" -d old -D data -U postgres --link -s \"$PGHOST\" >upgrade.log 2>&1 || { tail -40 upgrade.log >&2; exit 1; }
         \"$NEW/pg_ctl\" -D data -l log.new -w -s start",
        &[
            ("NEW", &programs),
            ("OLD", cluster.programs()),
            // From 18 on they are the default, and both have to have the same.
            ("CHECKSUMS", if number >= 18 { "--no-data-checksums" } else { "" }),
        ],
    );
    let upgraded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut client = cluster.connect("app", SUPERUSER);
        let version: String = client.query_one("SHOW server_version_num", &[]).unwrap().get(0);
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, number);
        load.verify(&mut client);
        load.beside(2, || load.wait_for(20));
        load.verify(&mut client);
    }));
    cluster.shell(
        "\"$NEW/pg_ctl\" -D \"$PGHOST/data\" -m immediate -w -s stop",
        &[("NEW", &programs)],
    );
    upgraded.unwrap();
}
