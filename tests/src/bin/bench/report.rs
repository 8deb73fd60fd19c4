//! The tables: as they are measured for who waits, and all of them as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::measure::Series;

/// Everything that was measured.
pub(crate) struct Report {
    machine: String,
    peers: Value,
    tables: Vec<Value>,
}

/// Several contenders at one size.
pub(crate) struct Table<'a> {
    pub(crate) name: &'a str,
    /// What is measured, in a few words.
    pub(crate) what: &'a str,
    pub(crate) unit: &'a str,
    /// The contender with which all are compared.
    pub(crate) floor: usize,
    /// What the project wants of itself, in words.
    pub(crate) goal: &'a str,
    pub(crate) rows: Vec<Series>,
}

/// How the cost of each contender grows.
pub(crate) struct Growth<'a> {
    pub(crate) name: &'a str,
    pub(crate) what: &'a str,
    pub(crate) unit: &'a str,
    /// Of what there is more in each row.
    pub(crate) of: &'a str,
    pub(crate) rows: Vec<(usize, Vec<Series>)>,
}

impl Report {
    pub(crate) fn new(machine: String, peers: Vec<(&'static str, Option<String>)>) -> Self {
        println!("{machine}\n");
        for (name, version) in &peers {
            let version = version.as_deref().unwrap_or("absent");
            println!("- {name}: {version}");
        }
        let peers = peers
            .into_iter()
            .map(|(name, version)| json!({"name": name, "version": version}));
        Self {
            machine,
            peers: peers.collect(),
            tables: Vec::new(),
        }
    }

    /// Prints and keeps a table.
    pub(crate) fn table(&mut self, table: &Table<'_>) {
        let mut text = format!("\n### {}: {}\n\n", table.name, table.what);
        let _ = writeln!(text, "| {} | median | min | max | ratio |", table.unit);
        text.push_str("|---|---:|---:|---:|---:|\n");
        let floor = table.rows[table.floor].median();
        for row in &table.rows {
            let (median, min, max) = (row.median(), row.min(), row.max());
            let figures = [median, min, max].map(figure).join(" | ");
            let _ = writeln!(
                text,
                "| {} | {figures} | {} |",
                row.name,
                ratio(median, floor)
            );
        }
        if !table.goal.is_empty() {
            let _ = writeln!(text, "\nGoal: {}", table.goal);
        }
        println!("{}", text.trim_end());
        self.tables.push(json!({
            "name": table.name, "what": table.what, "unit": table.unit, "goal": table.goal,
            "rows": table.rows.iter().map(|row| as_json(row, floor)).collect::<Value>(),
        }));
    }

    /// Prints and keeps how something grows; the first contender is the floor.
    pub(crate) fn growth(&mut self, growth: &Growth<'_>) {
        let mut text = format!(
            "\n### {}: {}\n\n| {} |",
            growth.name, growth.what, growth.of
        );
        let names: Vec<_> = growth.rows[0].1.iter().map(|series| &series.name).collect();
        for name in &names {
            let _ = write!(text, " {name} ({}) | ratio |", growth.unit);
        }
        text.push_str("\n|---:|");
        text.push_str(&"---:|---:|".repeat(names.len()));
        text.push('\n');
        for (size, row) in &growth.rows {
            let _ = write!(text, "| {} |", thousands(*size));
            for series in row {
                let (median, floor) = (series.median(), row[0].median());
                let _ = write!(text, " {} | {} |", figure(median), ratio(median, floor));
            }
            text.push('\n');
        }
        let exponents: Vec<_> = (0..names.len())
            .map(|column| exponent(&growth.rows, column))
            .collect();
        text.push_str("| exponent |");
        for exponent in &exponents {
            let _ = write!(text, " {exponent:.2} | |");
        }
        println!("{text}");
        let rows = growth.rows.iter().map(|(size, row)| {
            let floor = row[0].median();
            json!({"size": size, "series": row.iter().map(|s| as_json(s, floor)).collect::<Value>()})
        });
        self.tables.push(json!({
            "name": growth.name, "what": growth.what, "unit": growth.unit, "of": growth.of,
            "rows": rows.collect::<Value>(), "exponents": exponents,
        }));
    }

    pub(crate) fn to_json(&self) -> String {
        let all = json!({"machine": self.machine, "peers": self.peers, "tables": self.tables});
        format!("{all:#}\n")
    }
}

fn as_json(row: &Series, floor: f64) -> Value {
    json!({
        "name": row.name, "median": row.median(), "min": row.min(), "max": row.max(),
        "ratio": row.median() / floor,
    })
}

/// The slope of the medians of a column where both scales are logarithmic: 1 where the
/// cost is linear, 0 where it does not grow.
fn exponent(rows: &[(usize, Vec<Series>)], column: usize) -> f64 {
    let points = rows.iter().map(|(size, row)| {
        (
            (*size).max(1) as f64,
            row[column].median().max(f64::MIN_POSITIVE),
        )
    });
    let points: Vec<_> = points.map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}

/// With three significant digits, as far as there is something before the point.
fn figure(figure: f64) -> String {
    match figure {
        0.0 => "0".to_owned(),
        f if f.abs() < 10.0 => format!("{f:.2}"),
        f if f.abs() < 100.0 => format!("{f:.1}"),
        f => thousands(f.round() as usize),
    }
}

fn ratio(figure: f64, floor: f64) -> String {
    let ratio = figure / floor;
    match ratio {
        r if !r.is_finite() => "–".to_owned(),
        r if r < 10.0 => format!("{r:.2}"),
        r => format!("{r:.0}"),
    }
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
