//! The report: a page with its plots, written from the results alone, and the results as data beside it.

mod beside;
mod details;
mod judge;
mod page;
mod pictures;
mod plot;
mod reasons;
mod short;
mod table;
mod verdict;

use std::fs;
use std::path::Path;

use lock_bench_worker::Failure;

use crate::results::Results;

/// Between these two lines of the project's page the figures stand in short.
const MARKS: [&str; 2] = ["<!-- figures: begin -->", "<!-- figures: end -->"];

/// The results that an earlier run has left in the folder of its report.
pub(crate) fn read(folder: &Path) -> Result<Results, Failure> {
    let path = folder.join("results.json");
    let of = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = fs::read(&path).map_err(|error| of(&error))?;
    Ok(serde_json::from_slice(&bytes).map_err(|error| of(&error))?)
}

/// Writes page, plots and data.
pub(crate) fn write(results: &Results, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("results.json"), serde_json::to_string_pretty(results)? + "\n")?;
    let pictures = pictures::draw(results, folder)?;
    let path = folder.join("README.md");
    fs::write(&path, page::page(results, &pictures))?;
    println!("{} written", path.display());
    Ok(())
}

/// Writes the figures in short between the marks of a page.
pub(crate) fn summarize(results: &Results, page: &Path) -> Result<(), Failure> {
    let text = fs::read_to_string(page)?;
    let mut table = page::summary(results);
    let told = match (results.quick, results.runs().count()) {
        (true, _) => "Of a quick run, with few samples.\n\n".into(),
        (false, 1) => String::new(),
        (false, runs) => format!("Of {runs} runs, one after the other.\n\n"),
    };
    table.insert_str(0, &told);
    let replaced = between_marks(&text, &table)
        .ok_or_else(|| format!("{} has no lines {MARKS:?}", page.display()))?;
    Ok(fs::write(page, replaced)?)
}

/// The text with something else between its marks, if it has them.
fn between_marks(text: &str, new: &str) -> Option<String> {
    let [begin, end] = MARKS;
    let (head, rest) = text.split_once(begin)?;
    let (_, tail) = rest.split_once(end)?;
    Some(format!("{head}{begin}\n{new}{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let [begin, end] = MARKS;
        let text = format!("a\n{begin}\nold\n{end}\nb\n");
        let new = between_marks(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{begin}\nnew\n{end}\nb\n"));
        assert_eq!(between_marks(&new, "new\n").unwrap(), new);
        assert_eq!(between_marks("a\nb\n", "new\n"), None);
    }

    /// Where servers are missing the report says so, and is written all the same.
    #[test]
    fn a_run_that_measured_nothing_has_a_report() {
        let folder = tempfile::tempdir().unwrap();
        write(&Results::default(), folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("README.md")).unwrap();
        assert_eq!(page.matches("not measured").count(), 10, "{page}");
        assert!(read(folder.path()).unwrap().versus.is_empty());
    }
}
