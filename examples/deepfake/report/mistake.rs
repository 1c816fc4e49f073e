//! The pictures that a net is most wrong about, and where it looks in them.

use std::{error::Error, io::Cursor, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use burn::tensor::Device;
use image::{ImageFormat, RgbImage};
use maud::{Markup, html};
use roga::detector::explain::{HeatMap, OverlayConfig};

use super::collect::{self, Tested};
use crate::{command::explain, data::Domain, detector::Detector, scores::Scores};

/// The worst mistakes of one net on one test set.
#[derive(Debug, Clone, Default)]
pub struct Gallery {
    pub title: String,
    pub mistakes: Vec<Mistake>,
    /// What the pictures and the heat maps are.
    pub note: String,
}

/// A picture that a net is wrong about.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// As PNG.
    picture: Vec<u8>,
    /// The picture under the heat, as PNG.
    heat: Option<Vec<u8>>,
    forged: bool,
    score: f64,
    caption: String,
}

impl Mistake {
    pub fn new(
        picture: &RgbImage,
        heat: Option<&HeatMap>,
        (forged, score): (bool, f64),
        caption: String,
    ) -> Result<Self, Box<dyn Error>> {
        let laid = heat.map(|heat| OverlayConfig::new().lay(heat, picture));
        Ok(Self {
            picture: png(picture)?,
            heat: laid.transpose()?.as_ref().map(png).transpose()?,
            forged,
            score,
            caption,
        })
    }

    fn html(&self) -> Markup {
        let class = if self.forged { "forged" } else { "real" };
        html! {
            figure.mistake {
                div.pair {
                    img src=(data_uri(&self.picture)) alt={ "A " (class) " picture: " (self.caption) };
                    @if let Some(heat) = &self.heat {
                        img src=(data_uri(heat)) alt="The same under its heat map";
                    }
                }
                figcaption {
                    strong class=(class) { (class) } " · score " (format!("{:+.2}", self.score))
                    br; (self.caption)
                }
            }
        }
    }
}

impl Gallery {
    pub fn html(&self) -> Markup {
        html! {
            section.gallery {
                h3 { (self.title) }
                div.mistakes { @for mistake in &self.mistakes { (mistake.html()) } }
                p.note { (self.note) }
            }
        }
    }
}

fn png(picture: &RgbImage) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

/// How many pictures of each class.
const OF_EACH: usize = 4;

/// The worst mistakes on every domain tested on, of the net that is best at it: what is left to be
/// learned. `test` are the pictures that it was tested on.
pub fn galleries(
    folder: &Path,
    test: &[Domain],
    device: &Device,
) -> Result<Vec<Gallery>, Box<dyn Error>> {
    let runs = collect::tested(folder)?;
    let mut galleries = Vec::new();
    for domain in test {
        let of_domain = runs
            .iter()
            .filter(|run| run.auc.contains_key(&*domain.name));
        let auc = |run: &Tested| run.auc[&*domain.name];
        if let Some(best) = of_domain.max_by(|a, b| auc(a).total_cmp(&auc(b))) {
            galleries.push(gallery(folder, best, domain, device)?);
        }
    }
    Ok(galleries)
}

fn gallery(
    folder: &Path,
    best: &Tested,
    domain: &Domain,
    device: &Device,
) -> Result<Gallery, Box<dyn Error>> {
    let folder = folder.join(&best.folder);
    let scores = Scores::read(&folder.join("scores.csv"))?;
    let scores = scores
        .into_iter()
        .find(|scores| scores.domain == domain.name);
    let scores = scores.unwrap_or_default();
    let tested = domain.about.iter().map(|about| &about.id);
    if !scores.ids.iter().eq(tested) {
        return Err(format!("{} was tested on other pictures", folder.display()).into());
    }
    let detector = Detector::open(&folder, device)?;
    let mut mistakes = Vec::new();
    for place in worst(&scores, OF_EACH) {
        let picture = domain.picture(place)?;
        let [heat, _] = explain::heat(&detector, &picture)?;
        mistakes.push(Mistake::new(
            &picture,
            Some(&heat),
            (scores.forged[place], scores.scores[place]),
            scores.ids[place].to_string(),
        )?);
    }
    Ok(Gallery {
        title: format!("{}, {}", domain.name, best.name),
        mistakes,
        note: note(best, &scores),
    })
}

fn note(best: &Tested, scores: &Scores) -> String {
    format!(
        "The forged pictures with the lowest scores of all that some real picture reaches, then the \
         real ones with the highest, of {} pictures; the score is the logit of \"forged\" less that \
         of \"real\". Of all nets the one with the highest AUC here ({:.3}). The heat is Grad-CAM of \
         the score: bright is what speaks for \"forged\".",
        scores.scores.len(),
        best.auc[&*scores.domain],
    )
}

/// The places of the forged pictures with the lowest scores, then of the real ones with the
/// highest, whatever the threshold: none that all pictures of the other class lie beyond.
fn worst(scores: &Scores, of_each: usize) -> Vec<usize> {
    let of_class = |class: bool| {
        let places = (0..scores.scores.len()).filter(|place| scores.forged[*place] == class);
        let mut places: Vec<usize> = places.collect();
        places.sort_by(|a, b| scores.scores[*a].total_cmp(&scores.scores[*b]));
        places
    };
    let (real, forged) = (of_class(false), of_class(true));
    let (Some(&highest), Some(&lowest)) = (real.last(), forged.first()) else {
        return Vec::new();
    };
    let [highest, lowest] = [highest, lowest].map(|place| scores.scores[place]);
    let missed = forged
        .into_iter()
        .filter(|place| scores.scores[*place] <= highest);
    let alarms = real
        .into_iter()
        .rev()
        .filter(|place| scores.scores[*place] >= lowest);
    missed.take(of_each).chain(alarms.take(of_each)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(scores: &[f64], forged: &[bool]) -> Scores {
        Scores {
            domain: "mouth".into(),
            scores: scores.into(),
            forged: forged.into(),
            ..Scores::default()
        }
    }

    #[test]
    fn the_worst_are_furthest_on_the_wrong_side() {
        let forged = [true, false, true, false, true, false, true];
        let some = scores(&[0.3, 0.6, -2.0, 0.1, 5.0, -7.0, 0.2], &forged);
        assert_eq!(worst(&some, 2), [2, 6, 1, 3]);
        assert_eq!(worst(&some, 9), [2, 6, 0, 1, 3]);
        let perfect = scores(&[1.0, 0.0, 2.0], &[true, false, true]);
        assert!(worst(&perfect, 3).is_empty());
        assert!(worst(&scores(&[1.0], &[true]), 3).is_empty());
        assert!(worst(&scores(&[], &[]), 3).is_empty());
    }

    #[test]
    fn pictures_are_carried_along() {
        let uri = data_uri(&png(&RgbImage::new(3, 2)).unwrap());
        let (head, data) = uri.split_once(',').unwrap();
        assert_eq!(head, "data:image/png;base64");
        let file = STANDARD.decode(data).unwrap();
        let picture = image::load_from_memory_with_format(&file, ImageFormat::Png).unwrap();
        assert_eq!(picture.into_rgb8(), RgbImage::new(3, 2));
    }
}
