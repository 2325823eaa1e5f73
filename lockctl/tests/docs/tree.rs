//! The files of the repository, and what is in its pages besides commands.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::root;

/// All files with this extension, from the root of the repository; nothing that was built.
pub(crate) fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// A page of Markdown.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Where its links and pictures lead, and at which line.
    pub(crate) links: Vec<(String, usize)>,
    /// Its headings, as the fragments of links name them.
    pub(crate) anchors: Vec<String>,
    /// What it has in backticks, outside of blocks, and at which line.
    pub(crate) codes: Vec<(String, usize)>,
    /// What is below each heading, up to the next one of any level: its codes.
    pub(crate) sections: Vec<(String, Vec<String>)>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        for (event, place) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((dest_url.into_string(), line(text, &place)));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let heading = heading.take().unwrap_or_default();
                    page.anchors.push(page.anchor(&heading));
                    page.sections.push((heading, Vec::new()));
                }
                Event::Text(text) => {
                    if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        *heading += &code;
                    }
                    if let Some((_, codes)) = page.sections.last_mut() {
                        codes.push(code.to_string());
                    }
                    page.codes.push((code.into_string(), line(text, &place)));
                }
                _ => {}
            }
        }
        page
    }

    /// The fragment of a heading as code hosts make it; the second of a name is numbered.
    fn anchor(&self, heading: &str) -> String {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor = kept.collect::<String>().replace(' ', "-");
        let is_free = |anchor: &String| !self.anchors.contains(anchor);
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        std::iter::once(anchor.clone()).chain(numbered).find(is_free).expect("they are endless")
    }
}

fn line(text: &str, place: &Range<usize>) -> usize {
    1 + text[..place.start].matches('\n').count()
}

#[test]
fn headings_become_fragments_as_on_code_hosts() {
    let page = Page::read("# What's `a_b` — now?\n## Again\n## Again\n```sh\n# no heading\n```\n");
    assert_eq!(page.anchors, ["whats-a_b--now", "again", "again-1"]);
}

#[test]
fn links_and_code_are_found_with_their_lines_and_not_in_blocks() {
    let page = Page::read(
        "a [b](c.md#d) `e::f`\n\n![g](h.svg)\n\n```text\n[i](j) `k`\n```\n[l]\n\n[l]: m\n",
    );
    let links = [("c.md#d".into(), 1), ("h.svg".into(), 3), ("m".into(), 8)];
    assert_eq!(page.links, links);
    assert_eq!(page.codes, [("e::f".into(), 1)]);
}
