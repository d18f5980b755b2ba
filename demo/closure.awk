# Which installed packages need the package `gone`, directly or through others, itself included; one per line.
# Input, tab-separated: status, package, provides, dependencies. It shares no code with the SQL that it checks, only the rules:
# of alternatives the first that is installed counts, versions and architectures do not, and a package stands for what it
# provides (of several that do, the first by name).

function bare(name) {
    sub(/\(.*/, "", name)
    gsub(/[ \t]/, "", name)
    sub(/:.*/, "", name)
    return name
}

BEGIN { FS = "\t" }

$1 == "installed" {
    installed[$2] = 1
    needs[$2] = needs[$2] "," $4
    n = split($3, provided, ",")
    for (i = 1; i <= n; i++) {
        virtual = bare(provided[i])
        if (virtual != "" && (!(virtual in provider) || $2 < provider[virtual])) provider[virtual] = $2
    }
}

END {
    for (package in needs) {
        n = split(needs[package], clauses, ",")
        for (i = 1; i <= n; i++) {
            m = split(clauses[i], alternatives, "|")
            for (j = 1; j <= m; j++) {
                target = bare(alternatives[j])
                if (!(target in installed)) target = provider[target]
                if (target != "") {
                    needed_by[target] = needed_by[target] " " package
                    break
                }
            }
        }
    }
    reached[gone] = 1
    queue[1] = gone
    for (head = tail = 1; head <= tail; head++) {
        print queue[head]
        n = split(needed_by[queue[head]], dependents, " ")
        for (i = 1; i <= n; i++) {
            if (!(dependents[i] in reached)) {
                reached[dependents[i]] = 1
                queue[++tail] = dependents[i]
            }
        }
    }
}
