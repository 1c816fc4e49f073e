//! The diagnostics' pictures: everything is in them, and nothing leaves them.

use burn::tensor::Tensor;
use roga::{
    diagnostic::{Conflict, Direction, LandscapeConfig, plot},
    domain::DomainBatches,
    optim::RobustGradientAlignmentConfig as Config,
};

use crate::problems::{Loss, Point, device};

const NAMES: [&str; 4] = [
    "<script>&\"quoted\"'",
    "a name that goes on for much longer than there is room for it",
    "写真写真写真写真写真写真写真写真写真写真写真",
    "\u{1b}[2J",
];

fn bowls(count: usize) -> DomainBatches<Loss> {
    let bowls = (0..count).map(|index| {
        let name = NAMES.get(index).map(|name| name.to_string());
        let angle = 0.7 * index as f32;
        let bowl = Loss::Bowl {
            a: vec![1.0, 1.0 + 0.2 * index as f32],
            c: vec![3.0 * angle.cos(), 3.0 * angle.sin()],
        };
        (name.unwrap_or(format!("domain {index}")), bowl)
    });
    DomainBatches::new(bowls).unwrap()
}

fn pictures(count: usize, loss: impl Fn(&Point, &Loss) -> Tensor<1>) -> Vec<String> {
    let model = Point::new(&[0.1, -0.2], &device());
    let robust = Config::erm()
        .with_max_skipped_steps(None)
        .init_gradient()
        .unwrap();
    let mut conflict = Conflict::new();
    for _ in 0..3 {
        let gradients = robust.gradients(&model, &bowls(count), &loss);
        conflict.add(&gradients.unwrap().1).unwrap();
    }
    let ascent = |domain: usize, rho| Direction::Ascent {
        domain: bowls(count).names().nth(domain).unwrap().to_string(),
        rho,
    };
    let config = LandscapeConfig::new()
        .with_points(5)
        .with_first(ascent(0, 0.5));
    let landscape = |second| {
        let config = config.clone().with_second(second);
        let landscape = config.measure(&model, &[bowls(count)], &loss);
        plot::landscape(&landscape.unwrap()).unwrap()
    };
    vec![
        plot::cosines(&conflict).unwrap(),
        plot::cosine_curves(&conflict).unwrap(),
        landscape(None),
        landscape(Some(ascent(count - 1, 0.25))),
    ]
}

/// An attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let start = format!(" {name}=\"");
    let rest = tag.split_once(&start).unwrap().1;
    rest.split_once('"').unwrap().0
}

fn numeral(tag: &str, name: &str) -> f64 {
    attribute(tag, name).parse().unwrap()
}

/// The tag and the text of every label.
fn labels(svg: &str) -> impl Iterator<Item = (&str, &str)> {
    svg.split("<text").skip(1).map(|rest| {
        let (tag, rest) = rest.split_once('>').unwrap();
        (tag, rest.split_once("</text>").unwrap().0.trim())
    })
}

#[test]
fn labels_stay_inside_from_1_to_16_domains() {
    for count in [1, 2, 3, 4, 5, 8, 16, 20] {
        for svg in pictures(count, |model, loss| loss.at(model)) {
            let head = svg.split_once('>').unwrap().0;
            let (width, height) = (numeral(head, "width"), numeral(head, "height"));
            assert!(labels(&svg).count() > 0);
            for (tag, text) in labels(&svg) {
                let letters = |letter: char| if letter < '\u{1100}' { 0.56 } else { 1.0 };
                let plain = text.replace("&lt;", "<").replace("&gt;", ">");
                let plain = plain.replace("&amp;", "&").replace("&quot;", "'");
                let plain = plain.replace("&apos;", "'");
                let length: f64 = plain.chars().map(letters).sum();
                let length = length * numeral(tag, "font-size");
                let before = match attribute(tag, "text-anchor") {
                    "start" => 0.0,
                    "middle" => 0.5,
                    _ => 1.0,
                };
                let (x, y) = (numeral(tag, "x"), numeral(tag, "y"));
                let ((along, whole), across, high) = match tag.contains("rotate") {
                    true => ((y, height), x, width),
                    false => ((x, width), y, height),
                };
                let ends = [along - before * length, along + (1.0 - before) * length];
                let inside = ends.iter().all(|end| (0.0..=whole).contains(end));
                assert!(inside, "{count} domains: `{text}` at {ends:?} of {whole}");
                assert!((5.0..high - 5.0).contains(&across), "{text}");
            }
        }
    }
}

#[test]
fn names_are_escaped_and_control_characters_written_out() {
    for svg in pictures(4, |model, loss| loss.at(model)) {
        assert!(!svg.contains("<script"));
        assert!(svg.contains("&lt;script&gt;"));
        assert!(
            !svg.chars()
                .any(|letter| letter.is_control() && letter != '\n')
        );
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    }
}

#[test]
fn what_is_not_finite_is_drawn_as_a_gap() {
    // Below 0 along the first parameter there is no loss.
    let of_some = pictures(2, |model, loss| {
        let first = model.theta.val().narrow(0, 0, 1);
        loss.at(model) + first.log() * 0.0
    });
    let of_none = pictures(2, |model, loss| loss.at(model) * f32::NAN);
    let gaps = |svg: &String| svg.matches("#C8C8C8").count();
    // One in the legend.
    assert!(gaps(&of_some[3]) > 10, "{}", gaps(&of_some[3]));
    assert!(gaps(&of_none[3]) > 10 && gaps(&of_none[0]) == 2);
    assert!(of_some.iter().all(|svg| !svg.contains("NaN")));
    // A direction that is none is named.
    assert!(of_none[2].contains("along a: NaN"));
}

#[test]
fn a_conflict_of_no_step_is_drawn() {
    let conflict = Conflict::new();
    assert!(plot::cosines(&conflict).unwrap().contains("over 0 steps"));
    let curves = plot::cosine_curves(&conflict).unwrap();
    assert!(curves.contains("There is no pair of domains."));
}
