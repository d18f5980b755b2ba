//! Metrics in Prometheus' text format, version 0.0.4: a family's help and type once, then its samples. What there is to tell is
//! memory.metrics(), in SQL.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{shmem, time};
use crate::raw_function;

/// One value of a family.
#[derive(Debug, Default)]
struct Sample {
    name: String,
    kind: String,
    help: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Of families whose samples stand together.
fn text(samples: &[Sample]) -> String {
    let mut text = String::new();
    for (i, sample) in samples.iter().enumerate() {
        let Sample { name, kind, help, .. } = sample;
        if i == 0 || samples[i - 1].name != *name {
            text += &format!("# HELP {name} {}\n# TYPE {name} {kind}\n", escaped(help, false));
        }
        text += name;
        for (place, (label, value)) in sample.labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            text += &format!("{before}{label}=\"{}\"", escaped(value, true));
        }
        let after = if sample.labels.is_empty() { "" } else { "}" };
        text += &format!("{after} {}\n", number(sample.value));
    }
    text
}

fn escaped(text: &str, in_quotes: bool) -> String {
    let text = text.replace('\\', r"\\").replace('\n', r"\n");
    if in_quotes { text.replace('"', "\\\"") } else { text }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

thread_local! {
    static METRICS: Statement = const {
        Statement::new("SELECT m.name, m.type, m.help, m.labels::text, m.value FROM memory.metrics() AS m", &[])
    };
}

fn samples() -> Result<Vec<Sample>> {
    METRICS.with(|metrics| {
        metrics.read(&[], |rows| {
            rows.map(|row| {
                let of = |column| unwrap(row.get::<String>(column)).unwrap_or_default();
                let labels: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&of(4)).map_err(|error| {
                        Error::corrupt(
                            format!("labels are no object: {error}"),
                            "Tell whoever wrote memory.metrics().",
                        )
                    })?;
                Ok(Sample {
                    name: of(1),
                    kind: of(2),
                    help: of(3),
                    labels: labels
                        .into_iter()
                        .map(|(label, value)| (label, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
                        .collect(),
                    value: unwrap(row.get(5)).unwrap_or_default(),
                })
            })
            .collect()
        })
    })
}

#[pg_extern(sql = false)]
fn prometheus_metrics() -> std::result::Result<String, ErrorReport> {
    Ok(text(&samples()?))
}

raw_function!(counting_since, pg_finfo_counting_since, |call| {
    call.value(time::of_unix_seconds(shmem::since()))
});

#[cfg(test)]
mod tests {
    use super::{Sample, text};

    fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
        Sample {
            name: name.to_owned(),
            kind: "gauge".to_owned(),
            help: "It's \"so\"\\\nand so.".to_owned(),
            labels: labels.iter().map(|(l, v)| ((*l).to_owned(), (*v).to_owned())).collect(),
            value,
        }
    }

    #[test]
    fn a_family_is_told_of_once_and_what_would_end_a_line_is_escaped() {
        let samples = [
            sample("a", &[], 1.0),
            sample("b", &[("x", "1\n\"\\"), ("y", "")], 0.25),
            sample("b", &[("x", "2")], 1e21),
        ];
        assert_eq!(
            text(&samples),
            "# HELP a It's \"so\"\\\\\\nand so.\n# TYPE a gauge\na 1\n\
             # HELP b It's \"so\"\\\\\\nand so.\n# TYPE b gauge\nb{x=\"1\\n\\\"\\\\\",y=\"\"} 0.25\nb{x=\"2\"} 1000000000000000000000\n"
        );
    }

    #[test]
    fn what_is_no_number_is_told_as_prometheus_reads_it() {
        for (value, told) in [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")] {
            assert!(text(&[sample("a", &[], value)]).ends_with(&format!("a {told}\n")));
        }
    }
}
