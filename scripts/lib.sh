# What every script shares: where things live, which PostgreSQL is used, and as whom its servers run.
# To be sourced. Everything made here stands under target/, but for the directories that a server must reach: they
# move to a directory of their own under /tmp (named in target/base) when the server's OS user cannot enter the
# repository, or when its path is too long for a Unix socket or holds characters that make(1) cannot take.
# shellcheck shell=bash

umask 022
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
target=$root/target
mkdir -p "$target"

export CARGO_TARGET_DIR=$target
export PGRX_HOME=$target/pgrx
[[ -x $HOME/.cargo/bin/cargo && ":$PATH:" != *":$HOME/.cargo/bin:"* ]] && PATH=$HOME/.cargo/bin:$PATH

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
    if (( EUID == 0 )); then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "this needs root, and there is no sudo: $*"
    fi
}

# PostgreSQL refuses to run as root: then its servers run as the OS user `postgres`, which Debian's package makes.
if (( EUID == 0 )); then server_user=postgres; else server_user=$(id -un); fi

# Runs a command as the servers' OS user, from / and without what would change a server's answers.
as_server() (
    unset RUST_BACKTRACE RUST_LIB_BACKTRACE "${!PG@}"
    cd /
    if (( EUID == 0 )); then
        export HOME=/ USER=postgres LOGNAME=postgres
        exec setpriv --reuid "$server_user" --regid "$server_user" --init-groups -- "$@"
    fi
    exec "$@"
)

# $base: the directory that holds pg/ and clusters/.
base=$target
[[ -r $target/base ]] && base=$(<"$target/base")

# A socket's path is at most 107 bytes: base + /clusters/ + a name of 24 + /.s.PGSQL.5432
choose_base() {
    local longest=$((107 - 10 - 24 - 14))
    if [[ -r $target/base && -O $base && -d $base ]]; then return; fi
    base=$target
    rm -f "$target/base"
    if (( ${#base} > longest )) || [[ $base =~ [^A-Za-z0-9._/+-] ]] || ! as_server test -x "$base"; then
        base=$(mktemp -d /tmp/memory_ext.XXXXXX)
        chmod 755 "$base"
        printf '%s\n' "$base" >"$target/base"
        say "servers cannot live in $target: they go to $base (remembered in target/base)"
    fi
}

# use_pg [NN]: sets nn, tree, bindir and pg_config to the private copy of PostgreSQL NN, else of the last one set up.
use_pg() {
    nn=${1:-}
    # scripts/setup may have chosen it since this script began.
    [[ ! -r $target/base ]] || base=$(<"$target/base")
    if [[ -z $nn ]]; then
        [[ -r $base/pg/current ]] || die "PostgreSQL is not set up yet: run scripts/setup"
        nn=$(<"$base/pg/current")
    fi
    tree=$base/pg/$nn
    [[ -r $tree/.bindir ]] || die "PostgreSQL $nn is not set up yet: run scripts/setup"
    bindir=$tree/$(<"$tree/.bindir")
    pg_config=$bindir/pg_config
}

# upgrade_script FILE: an upgrade script that is not released yet, with the files that its lines `-- include: FILE` name in their places.
upgrade_script() {
    local line
    while IFS= read -r line; do
        if [[ $line == '-- include: '* ]]; then cat "$root/${line#-- include: }"; else printf '%s\n' "$line"; fi
    done <"$1"
}
