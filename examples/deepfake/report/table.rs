//! Tables of results.

use maud::{Markup, html};

/// A row for each method, say, and a column for each number.
#[derive(Debug, Clone, Default)]
pub struct ResultTable {
    pub title: String,
    /// The first names the rows.
    pub columns: Vec<String>,
    /// As many cells as columns each.
    pub rows: Vec<Vec<String>>,
    /// What the numbers are.
    pub note: String,
}

impl ResultTable {
    pub fn html(&self) -> Markup {
        html! {
            figure {
                h3 { (self.title) }
                div.wide tabindex="0" role="region" aria-label=(self.title) {
                    table.results {
                        thead { tr { @for column in &self.columns { th scope="col" { (column) } } } }
                        tbody {
                            @for row in &self.rows {
                                tr {
                                    @for (place, cell) in row.iter().enumerate() {
                                        @if place == 0 { th scope="row" { (cell) } }
                                        @else { td { (cell) } }
                                    }
                                }
                            }
                        }
                    }
                }
                figcaption { (self.note) }
            }
        }
    }
}
