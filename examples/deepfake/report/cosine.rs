//! The cosines between the domains' gradients, as coloured tables.

use colorous::RED_BLUE;
use maud::{Markup, html};

/// Those of one domain left out.
#[derive(Debug, Clone, Default)]
pub struct CosineGroup {
    pub title: String,
    pub matrices: Vec<CosineMatrix>,
}

impl CosineGroup {
    pub fn html(&self) -> Markup {
        html! {
            h3 { (self.title) }
            div.matrices { @for matrix in &self.matrices { (matrix.html()) } }
        }
    }
}

/// The mean cosines of $K$ domains over a training.
#[derive(Debug, Clone, Default)]
pub struct CosineMatrix {
    pub title: String,
    /// The $K$ domains.
    pub names: Vec<String>,
    /// $K$ rows of $K$ numbers from −1 to 1; not a number where there is none.
    pub means: Vec<Vec<f64>>,
}

impl CosineMatrix {
    fn html(&self) -> Markup {
        html! {
            div.cosines {
                h4 { (self.title) }
                table.heat {
                    thead { tr {
                        td {}
                        @for name in &self.names { th scope="col" title=(name) { span { (name) } } }
                    } }
                    tbody {
                        @for (name, row) in self.names.iter().zip(&self.means) {
                            tr {
                                th scope="row" title=(name) { (name) }
                                @for cosine in row { (cell(*cosine)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(cosine: f64) -> Markup {
    if !cosine.is_finite() {
        return html! { td { "–" } };
    }
    let colour = RED_BLUE.eval_continuous(0.5 * (cosine.clamp(-1.0, 1.0) + 1.0));
    // ITU-R BT.601.
    let luma =
        0.299 * f64::from(colour.r) + 0.587 * f64::from(colour.g) + 0.114 * f64::from(colour.b);
    let ink = if luma > 140.0 { "#000" } else { "#fff" };
    html! { td style={ "background:#" (format!("{colour:x}")) ";color:" (ink) } { (format!("{cosine:.2}")) } }
}

/// The colours from −1 to 1.
pub fn scale() -> Markup {
    let stops: Vec<String> = (0..=10)
        .map(|place| format!("#{:x}", RED_BLUE.eval_rational(place, 11)))
        .collect();
    html! {
        p.scale {
            "−1, opposed " span style={ "background:linear-gradient(90deg," (stops.join(",")) ")" } {}
            " 1, alike"
        }
    }
}
