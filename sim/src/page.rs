//! A report as one HTML file: headings, paragraphs, tables and pictures, nothing from elsewhere.

use std::fmt::Write;

use crate::plot::escape;

const STYLE: &str = "body{font:15px/1.45 sans-serif;color:#222;background:#fff;max-width:1000px;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em}h2{font-size:1.25em;margin-top:2em;border-bottom:1px solid #ccc}\
svg{max-width:100%;height:auto;margin:.8em 0}\
table{border-collapse:collapse;font-size:13px;margin:1em 0}\
th,td{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}\
th{background:#f3f3f3;text-align:right;vertical-align:bottom;white-space:normal}\
td:first-child,th:first-child{text-align:left}\
code{background:#f3f3f3;padding:0 .3em}";

/// A page being written.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page with its title.
    pub fn new(title: &str) -> Self {
        Page { title: escape(title), body: format!("<h1>{}</h1>\n", escape(title)) }
    }

    /// A section begins.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p>{}</p>", escape(text));
    }

    /// A picture, see [`crate::plot`].
    pub fn figure(&mut self, svg: &str) {
        let _ = writeln!(self.body, "<div>{svg}</div>");
    }

    /// A table: its head, and its rows.
    pub fn table(&mut self, table: &Table) {
        let row = |tag: &str, cells: &[String]| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        self.body.push_str("<table>\n");
        self.body.push_str(&row("th", &table.head));
        table.rows.iter().for_each(|cells| self.body.push_str(&row("td", cells)));
        self.body.push_str("</table>\n");
    }

    /// The whole file.
    pub fn to_html(&self) -> String {
        let Page { title, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
        )
    }
}

/// A table for a page and for a terminal.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// As many cells each.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(head: &[&str]) -> Self {
        Table { head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// The table in columns of characters, the first one flush left and the others flush right.
    pub fn to_text(&self) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let widths: Vec<_> = (0..self.head.len())
            .map(|column| {
                all().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(line, "{cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_in_text_and_escaped_in_html() {
        let mut table = Table::new(&["name", "n"]);
        table.rows.push(vec!["a<b".into(), "10".into()]);
        assert_eq!(table.to_text(), "name   n\na<b   10\n");
        let mut page = Page::new("t");
        page.table(&table);
        assert!(page.to_html().contains("<td>a&lt;b</td><td>10</td>"));
    }
}
