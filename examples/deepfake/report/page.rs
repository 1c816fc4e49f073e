//! The page as a whole: HTML with its style, without a script or anything from elsewhere.

use std::error::Error;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{CosineGroup, CurveSection, Gallery, ResultTable, cosine, palette};

/// Everything that the page shows. What is empty has no section.
#[derive(Debug, Clone, Default)]
pub struct ReportData {
    pub title: String,
    /// A paragraph each.
    pub summary: Vec<String>,
    pub tables: Vec<ResultTable>,
    pub roc: CurveSection,
    pub training: CurveSection,
    pub cosines: Vec<CosineGroup>,
    pub mistakes: Vec<Gallery>,
    /// Names and values.
    pub settings: Vec<(String, String)>,
}

/// No browser loads anything or runs anything for this page, whatever its texts are.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The page as text. All names and texts are escaped.
pub fn page(data: &ReportData) -> Result<String, Box<dyn Error>> {
    let sections = sections(data)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (data.title) }
                style { (PreEscaped(include_str!("style.css"))) (PreEscaped(palette::style())) }
            }
            body {
                header {
                    h1 { (data.title) }
                    @for paragraph in &data.summary { p { (paragraph) } }
                    nav aria-label="Sections" { ul {
                        @for (id, title, _) in &sections { li { a href={ "#" (id) } { (title) } } }
                    } }
                }
                main {
                    @for (id, title, content) in &sections {
                        section id=(id) { h2 { (title) } (content) }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

type Section = (&'static str, &'static str, Markup);

/// Those that there is something for.
fn sections(data: &ReportData) -> Result<Vec<Section>, Box<dyn Error>> {
    let methods = methods(data);
    let tables = html! { @for table in &data.tables { (table.html()) } };
    let cosines = html! {
        p.note {
            "The cosine between the gradients of two domains' losses, the mean of a training's steps. \
             Below 0 a step that helps one domain hurts the other."
        }
        (cosine::scale())
        @for group in &data.cosines { (group.html()) }
    };
    let mistakes = html! { @for gallery in &data.mistakes { (gallery.html()) } };
    let settings = html! {
        dl { @for (name, value) in &data.settings { div { dt { (name) } dd { (value) } } } }
    };
    let all = [
        (!data.tables.is_empty(), ("results", "Results", tables)),
        (
            !data.roc.groups.is_empty(),
            ("roc", "ROC curves", data.roc.html(&methods)?),
        ),
        (
            !data.training.groups.is_empty(),
            ("training", "Training", data.training.html(&methods)?),
        ),
        (
            !data.cosines.is_empty(),
            ("cosines", "Domain cosines", cosines),
        ),
        (
            !data.mistakes.is_empty(),
            ("mistakes", "Worst mistakes", mistakes),
        ),
        (
            !data.settings.is_empty(),
            ("settings", "Settings", settings),
        ),
    ];
    let shown = all.into_iter().filter(|(any, _)| *any);
    Ok(shown.map(|(_, section)| section).collect())
}

/// All methods that have a curve, each once.
fn methods(data: &ReportData) -> Vec<&str> {
    let mut methods = Vec::new();
    for method in data.roc.methods().chain(data.training.methods()) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use roga::detector::explain::HeatMap;

    use super::*;
    use crate::report::{CosineMatrix, Curve, CurveGroup, Panel, mistake::Mistake};

    const HOSTILE: &str =
        "<script>alert('x')</script>\"&</td></svg><img src=https://example.org/x>";

    fn roc(method: &str, shape: f64) -> Curve {
        let places: Vec<f64> = (0..=100).map(|place| f64::from(place) / 100.0).collect();
        let height = |x: f64, shape: f64| x.powf(shape);
        Curve {
            method: method.into(),
            points: places.iter().map(|x| (*x, height(*x, shape))).collect(),
            band: places
                .iter()
                .map(|x| (height(*x, 1.25 * shape), height(*x, 0.8 * shape)))
                .collect(),
        }
    }

    fn falling(method: &str, rate: f64) -> Curve {
        let points = (0..150).map(|step| {
            let x = f64::from(step);
            (10.0 * x, 0.7 * (-x * rate).exp() + 0.02 * (x * 1.7).sin())
        });
        Curve {
            method: method.into(),
            points: points.collect(),
            band: Vec::new(),
        }
    }

    fn mistake(place: u32) -> Mistake {
        let picture = RgbImage::from_fn(96, 96, |x, y| {
            let face = (x as i32 - 48).pow(2) + (y as i32 - 50).pow(2) < 1300;
            let shade = (y + 11 * place) as u8;
            if face {
                Rgb([200, 150 + shade / 4, 120])
            } else {
                Rgb([40, 60, shade])
            }
        });
        let heat = (0..96 * 96).map(|pixel| {
            let (x, y) = ((pixel % 96) as f32, (pixel / 96) as f32);
            (-((x - 48.0).powi(2) + (y - 62.0).powi(2)) / 160.0).exp()
        });
        let heat = HeatMap::new(96, 96, heat.collect()).unwrap();
        let caption = format!("picture {place}, person-{place}");
        Mistake::new(
            &picture,
            Some(&heat),
            (place < 4, 1.5 - f64::from(place)),
            caption,
        )
        .unwrap()
    }

    /// A page with everything, of names that are longer and worse than any real ones.
    fn sample(name: &str) -> ReportData {
        let methods = [
            "erm",
            "sam",
            "sagm",
            "domain-sam",
            "roga-all",
            "roga-sampled",
        ];
        let domains = ["face-swap", "self-blending", "mouth", "generator", name];
        let rows = methods.iter().zip(0..).map(|(method, row)| {
            let cells = (0..5).map(|cell| format!("0.{} ± 0.004", 812 + 7 * row + 13 * cell));
            std::iter::once(method.to_string()).chain(cells).collect()
        });
        let table = ResultTable {
            title: format!("AUC on the forgery left out, {name}"),
            columns: ["method"]
                .iter()
                .chain(&domains[..4])
                .chain(&["mean"])
                .map(|n| n.to_string())
                .collect(),
            rows: rows.collect(),
            note:
                "Frame AUC on people never seen; ±: one standard error by a bootstrap over people."
                    .into(),
        };
        let group = |domain: &str, panels| CurveGroup {
            title: format!("{domain} left out"),
            panels,
        };
        let section = |groups| CurveSection {
            groups,
            note: "The bands are pointwise.".into(),
        };
        let roc_panel = |k: usize| Panel {
            x: "real pictures taken for forged".into(),
            y: "forged pictures found".into(),
            curves: methods
                .iter()
                .zip(1..)
                .map(|(m, i)| roc(m, 0.5 / (i + k) as f64))
                .collect(),
            roc: true,
        };
        let curves = |rate: f64| {
            methods
                .iter()
                .zip(1..)
                .map(|(m, i)| falling(m, rate * f64::from(i)))
                .collect()
        };
        let training = ["mean loss", "mean cosine"].map(|y| Panel {
            x: "step".into(),
            y: y.into(),
            curves: curves(0.01),
            roc: false,
        });
        let cosine = |i: usize, j: usize| {
            if i == j {
                1.0
            } else {
                0.9 - 0.35 * (i + j) as f64 % 1.7
            }
        };
        let matrix = |method: &&str| CosineMatrix {
            title: method.to_string(),
            names: domains.map(String::from).into(),
            means: (0..5)
                .map(|i| {
                    (0..5)
                        .map(|j| if i + j == 7 { f64::NAN } else { cosine(i, j) })
                        .collect()
                })
                .collect(),
        };
        ReportData {
            title: format!("Deepfake detection on forgeries never seen {name}"),
            summary: vec![
                "600 steps, the last weights, 3 seeds, 2000 test pictures a forgery of 250 people."
                    .into(),
            ],
            tables: vec![table.clone(), table],
            roc: section(
                (0..)
                    .zip(&domains)
                    .map(|(k, d)| group(d, vec![roc_panel(k)]))
                    .collect(),
            ),
            training: section(
                domains[..2]
                    .iter()
                    .map(|d| group(d, training.clone().into()))
                    .collect(),
            ),
            cosines: vec![CosineGroup {
                title: format!("{name} left out"),
                matrices: methods[..4].iter().map(matrix).collect(),
            }],
            mistakes: vec![Gallery {
                title: format!("{name} left out, roga-all"),
                mistakes: (0..8).map(mistake).collect(),
                note: "Bright is where the score hangs on the picture.".into(),
            }],
            settings: ["version", "faces", "forgeries", "rho", name]
                .map(|s| (s.into(), format!("{s} 0.05")))
                .into(),
        }
    }

    /// The names of the tags, in order; those that close begin with `/`. Text holds no `<`.
    fn tags(html: &str) -> Vec<&str> {
        html.split('<')
            .skip(1)
            .map(|piece| piece.split([' ', '>', '\n']).next().unwrap_or(""))
            .collect()
    }

    fn assert_balanced(html: &str) {
        let mut open: Vec<&str> = Vec::new();
        let pieces = html.split('<').skip(1);
        for (tag, piece) in tags(html).into_iter().zip(pieces) {
            let (inside, _) = piece.split_once('>').expect("a tag ends");
            let void = ["!DOCTYPE", "meta", "img", "br"].contains(&tag) || inside.ends_with('/');
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed)),
                None if void => {}
                None => open.push(tag),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn tags_are_balanced_and_nothing_comes_from_elsewhere() {
        for name in ["nobody", HOSTILE] {
            let page = page(&sample(name)).unwrap();
            assert_balanced(&page);
            let known = [
                "!DOCTYPE",
                "html",
                "head",
                "meta",
                "title",
                "style",
                "body",
                "header",
                "nav",
                "main",
                "section",
                "h1",
                "h2",
                "h3",
                "h4",
                "p",
                "ul",
                "li",
                "a",
                "figure",
                "figcaption",
                "div",
                "table",
                "thead",
                "tbody",
                "tr",
                "th",
                "td",
                "span",
                "strong",
                "br",
                "img",
                "dl",
                "dt",
                "dd",
                "svg",
                "line",
                "rect",
                "polyline",
                "polygon",
                "text",
            ];
            for tag in tags(&page) {
                assert!(known.contains(&tag.trim_start_matches('/')), "{tag}");
            }
            for source in page.split(" src=\"").skip(1) {
                assert!(source.starts_with("data:image/png;base64,"));
            }
            for target in page.split("href=\"").skip(1) {
                assert!(target.starts_with('#'));
            }
            for word in ["url(", "@import", "xmlns", "http://", "<script"] {
                assert!(!page.contains(word), "{word}");
            }
        }
        let page = page(&sample(HOSTILE)).unwrap();
        assert!(page.contains("&lt;script&gt;alert"));
        assert_eq!(
            page.matches("https://").count(),
            page.matches("&lt;img src=https://").count()
        );
    }

    #[test]
    fn what_is_empty_has_no_section() {
        let page = page(&ReportData::default()).unwrap();
        assert_balanced(&page);
        assert!(!page.contains("<section"));
        let part = ReportData {
            settings: vec![("rho".into(), "0.05".into())],
            ..ReportData::default()
        };
        let page = super::page(&part).unwrap();
        assert_eq!(page.matches("<section").count(), 1);
        assert!(page.contains("<dt>rho</dt><dd>0.05</dd>"));
    }

    #[test]
    fn a_method_has_one_colour() {
        let data = sample("nobody");
        let page = page(&data).unwrap();
        let methods = methods(&data);
        assert_eq!(methods.len(), 6);
        for (index, method) in methods.iter().enumerate() {
            let line = format!("stroke=\"{}\"", palette::hex(index));
            // A line in each of nine pictures and each of two legends, and twice in the style.
            assert_eq!(page.matches(&line).count(), 9 + 2 + 2, "{method}");
        }
    }

    /// Written for the eye: to the file that `ROGA_REPORT_SAMPLE` names.
    #[test]
    fn sample_page() {
        let page = page(&sample("a-domain-whose-name-is-longer-than-any <b>")).unwrap();
        assert!(page.len() > 50_000);
        if let Some(path) = std::env::var_os("ROGA_REPORT_SAMPLE") {
            std::fs::write(path, page).unwrap();
        }
    }
}
