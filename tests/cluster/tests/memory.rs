//! What calls leave in a backend's memory while their transaction lasts.

use cluster::Cluster;
use cluster::calls::{MOST_BYTES, calls, left, set_up};

#[test]
fn many_calls_of_any_function_leave_little_in_a_backend() {
    let cluster = Cluster::new("memory");
    set_up(&cluster, "app");
    let mut wrong = Vec::new();
    for call in calls(&cluster, "app") {
        match left(&cluster, "app", &call, 0.15, 20_000) {
            Ok(left) => {
                let line = format!(
                    "{:<30} {:>8.1} {:>8.1} bytes per call after {} calls",
                    call.name, left.palloced, left.resident, left.calls
                );
                println!("{line}");
                if !left.is_little() {
                    wrong.push(line);
                }
            }
            Err(error) => wrong.push(error),
        }
    }
    assert!(
        wrong.is_empty(),
        "more than {MOST_BYTES} bytes, or no call:\n{}",
        wrong.join("\n")
    );
}
