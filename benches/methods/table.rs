//! The tables, in Markdown.

use std::fmt::Write;

use super::{
    alternation::Spread,
    comparison::{Row, Split},
    pipeline::Stage,
};

/// A number with its quartiles.
fn spread(spread: &Spread, decimals: usize) -> String {
    let Spread { low, median, high } = spread;
    format!("{median:.decimals$} ({low:.decimals$}–{high:.decimals$})")
}

/// The values in the order in which they come first.
fn distinct<'a, T: PartialEq>(values: impl Iterator<Item = T> + 'a) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// A row for each method, a column for each number of domains.
fn by_domains(rows: &[&Row], what: &str, cell: impl Fn(&Row) -> String) -> String {
    let counts = distinct(rows.iter().map(|row| row.domains));
    let mut text = format!("{what}\n\n| method |");
    for count in &counts {
        _ = write!(text, " K = {count} |");
    }
    _ = write!(text, "\n|---|{}\n", "---|".repeat(counts.len()));
    for method in distinct(rows.iter().map(|row| row.method)) {
        _ = write!(text, "| {method} |");
        for count in &counts {
            let found = rows
                .iter()
                .find(|row| row.method == method && row.domains == *count);
            let cell = found.map_or("–".into(), |row| cell(row));
            _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

/// Of the methods: times and memory, net by net.
pub fn methods(rows: &[Row]) -> String {
    let mut text = String::new();
    for net in distinct(rows.iter().map(|row| row.net.as_str())) {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.net == net).collect();
        let Some(first) = rows.first() else { continue };
        let pictures = first.domains * first.pictures;
        _ = write!(
            text,
            "### {net}: {} parameters, {pictures} pictures a step\n\n",
            first.parameters
        );
        let plain = rows
            .iter()
            .copied()
            .filter(|row| row.method == "plain loop");
        let plain: Vec<&Row> = plain.collect();
        text += &by_domains(&plain, "A step, in milliseconds:", |row| {
            let Spread { low, median, high } = row.seconds;
            let [low, median, high] = [low, median, high].map(|seconds| 1000.0 * seconds);
            spread(&Spread { low, median, high }, 1)
        });
        let what = "A step, as a ratio to the plain loop's (quartiles):";
        text += &by_domains(&rows, what, |row| spread(&row.ratio, 2));
        text += &by_domains(&rows, "That by pass over all pictures:", |row| {
            format!("{:.3} of {}", row.ratio.median / row.passes, row.passes)
        });
        text += &by_domains(
            &rows,
            "Peak memory above the plain loop's, in copies of the parameters:",
            |row| match row.method {
                "plain loop" => format!("{:.1} MB in all", row.peak / 1e6),
                _ => format!("{:+.2}", row.copies),
            },
        );
    }
    text
}

/// Of the same pictures in few and in many domains.
pub fn splits(rows: &[Split]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let ([few, of_few], [many, of_many]) = (first.few, first.many);
    let mut text = format!(
        "### K = {many} mini-batches of {of_many} to K = {few} of {of_few}\n\n\
         | net | method | K = {few}, seconds | ratio |\n|---|---|---|---|\n"
    );
    for row in rows {
        _ = writeln!(
            text,
            "| {} | {} | {:.3} | {} |",
            row.net,
            row.method,
            row.seconds.median,
            spread(&row.ratio, 2)
        );
    }
    text.push('\n');
    text
}

/// Of the data pipeline.
pub fn stages(stages: &[Stage]) -> String {
    let mut text = String::from(
        "### Data\n\n| stage | threads | pictures a second and a thread |\n|---|---|---|\n",
    );
    for stage in stages {
        let Spread { low, median, high } = stage.pictures_per_second;
        let [low, median, high] = [low, median, high].map(|all| all / stage.threads as f64);
        let each = spread(&Spread { low, median, high }, 0);
        _ = writeln!(text, "| {} | {} | {each} |", stage.name, stage.threads);
    }
    text.push('\n');
    text
}
