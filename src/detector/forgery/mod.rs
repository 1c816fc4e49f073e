//! The ways in which a face is forged.
//!
//! Every forgery works on one picture, at that picture's size, and changes a part of the face. It
//! scales with the face, not with pixels, so that it leaves the same marks on a face of 100
//! pixels and of 1000. Brightness, contrast and the amount of fine detail of the changed part are
//! brought back to the target's: what remains to be detected are seams, resampling, missing
//! sensor noise and patterns of up-sampling, not a statistic of the whole picture.

mod expression;
mod face_swap;
mod generator;
mod inpainted_patch;
mod mouth;
mod self_blending;
mod warp;

use std::{fmt, str::FromStr};

use image::{GrayImage, Rgb32FImage, RgbImage};
use rand::{RngExt, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

use super::{
    faces::Face,
    landmark::Landmarks,
    raster::{Plane, blend, blur, luma, mask_to_bytes, moments, to_bytes, to_float},
    seed::{Purpose, generator},
};
use crate::{Error, Result};

/// A way in which a face is forged.
///
/// Its name, as it is parsed, printed and serialized: `face-swap`, `self-blending`, `mouth`,
/// `generator`, `expression`, `inpainted-patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Forgery {
    /// Another person's face, warped onto the target's landmarks triangle by triangle, its colour
    /// matched, and blended in along the face's outline: the classic of FaceForensics++'s
    /// `FaceSwap` (Rössler et al., ICCV 2019, arXiv 1901.08971).
    FaceSwap,
    /// The target blended with itself after slight changes of colour, sharpness and place
    /// (Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022,
    /// arXiv 2204.08376).
    SelfBlending,
    /// Another mouth, opened or closed as in speech, synthesised at a low resolution and blended
    /// over the lower face, as methods of lip synchronisation do (Prajwal et al., "A Lip Sync
    /// Expert Is All You Need", ACM MM 2020, arXiv 2008.10010).
    Mouth,
    /// The whole face through the bottleneck and the up-sampling of a generator, with the
    /// checkerboard of transposed convolutions (Odena et al., "Deconvolution and Checkerboard
    /// Artifacts", Distill 2016, doi 10.23915/distill.00003).
    Generator,
    /// The target's own mouth, eyes and brows, warped to the donor's expression and rendered
    /// anew, as in reenactment (Thies et al., "Face2Face: Real-time Face Capture and Reenactment
    /// of RGB Videos", CVPR 2016, arXiv 2007.14808).
    Expression,
    /// Patches on the eyes, brows, nose and mouth, removed and filled from what surrounds them:
    /// a structure by diffusion and a texture added to it (Bertalmío et al., "Simultaneous
    /// Structure and Texture Image Inpainting", IEEE TIP 2003, doi 10.1109/TIP.2003.815261), here
    /// a harmonic one and a synthetic one of a low resolution.
    InpaintedPatch,
}

/// A forged picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Forged {
    /// The picture, of the target's size.
    pub picture: RgbImage,
    /// Where it was changed: 0 not at all, 255 entirely.
    pub mask: GrayImage,
}

impl Forgery {
    /// Every forgery.
    pub const ALL: [Self; 6] = [
        Self::FaceSwap,
        Self::SelfBlending,
        Self::Mouth,
        Self::Generator,
        Self::Expression,
        Self::InpaintedPatch,
    ];

    /// The forgery's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FaceSwap => "face-swap",
            Self::SelfBlending => "self-blending",
            Self::Mouth => "mouth",
            Self::Generator => "generator",
            Self::Expression => "expression",
            Self::InpaintedPatch => "inpainted-patch",
        }
    }

    /// Whether the forgery takes anything from the donor.
    pub fn needs_donor(self) -> bool {
        matches!(self, Self::FaceSwap | Self::Mouth | Self::Expression)
    }

    /// Whether the forgery needs to know where in the target's picture the eyes, the mouth and the
    /// face's outline truly are.
    ///
    /// Where not, the landmarks of a mean face [laid into the frame](Landmarks::in_frame) do:
    /// these forgeries change an area of the face and match nothing to its features.
    pub fn needs_landmarks(self) -> bool {
        !matches!(
            self,
            Self::SelfBlending | Self::Generator | Self::InpaintedPatch
        )
    }

    /// Forges the target's picture.
    ///
    /// `strength` in $[0, 1]$ says how plain the marks are: 0 is near what a careful forger
    /// achieves, 1 can be seen with the naked eye. A forgery that
    /// [needs no donor](Self::needs_donor) does not look at it. The same faces, strength and seed
    /// give the same picture, bit for bit.
    ///
    /// ```
    /// use roga::detector::{forgery::Forgery, portrait::PortraitConfig};
    ///
    /// let config = PortraitConfig::new();
    /// let (target, donor) = (config.draw(1, 0, 0)?, config.draw(1, 1, 0)?);
    /// let forged = Forgery::FaceSwap.apply(&target, Some(&donor), 0.7, 42)?;
    /// assert_eq!(forged.picture.dimensions(), target.picture().dimensions());
    /// assert_eq!(forged.mask.get_pixel(0, 0).0, [0]); // The corner is as it was.
    /// assert_eq!(forged, Forgery::FaceSwap.apply(&target, Some(&donor), 0.7, 42)?);
    /// assert!(Forgery::SelfBlending.apply(&target, None, 0.7, 42).is_ok());
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `strength` is out of its range, or a donor is needed and there is
    /// none, or its landmarks follow another scheme than the target's.
    pub fn apply(
        self,
        target: &Face,
        donor: Option<&Face>,
        strength: f32,
        seed: u64,
    ) -> Result<Forged> {
        let mut rng = generator(Purpose::Apply, [seed, self as u64, 0, 0]);
        self.apply_from(target, donor, strength, &mut rng)
    }

    /// [`apply`](Self::apply) from a generator's state.
    pub(crate) fn apply_from(
        self,
        target: &Face,
        donor: Option<&Face>,
        strength: f32,
        rng: &mut ChaCha8Rng,
    ) -> Result<Forged> {
        check_strength(strength)?;
        let scheme = target.landmarks().scheme();
        let donor = match donor {
            _ if !self.needs_donor() => target,
            Some(donor) if donor.landmarks().scheme() == scheme => donor,
            other => {
                return Err(Error::Setting {
                    field: "donor",
                    rule: "have landmarks of the target's scheme",
                    value: other.map_or("missing".into(), |donor| {
                        let found = donor.landmarks().scheme();
                        format!("one with {found:?}, the target's is {scheme:?}")
                    }),
                });
            }
        };
        let target = Canvas::new(target);
        let (picture, mask) = match self {
            Self::FaceSwap => face_swap::forge(&target, &Canvas::new(donor), strength, rng),
            Self::SelfBlending => self_blending::forge(&target, strength, rng),
            Self::Mouth => mouth::forge(&target, &Canvas::new(donor), strength, rng),
            Self::Generator => generator::forge(&target, strength, rng),
            Self::Expression => expression::forge(&target, &Canvas::new(donor), strength, rng),
            Self::InpaintedPatch => inpainted_patch::forge(&target, strength, rng),
        };
        Ok(Forged {
            picture: to_bytes(&picture),
            mask: mask_to_bytes(&mask),
        })
    }
}

/// Refuses strengths out of $[0, 1]$.
pub(crate) fn check_strength(strength: f32) -> Result<()> {
    if (0.0..=1.0).contains(&strength) {
        return Ok(());
    }
    Err(Error::Setting {
        field: "strength",
        rule: "be from 0 to 1",
        value: strength.to_string(),
    })
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Forgery {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|forgery| forgery.name() == name)
            .ok_or(Error::Setting {
                field: "forgery",
                rule: "be one of face-swap, self-blending, mouth, generator, expression, inpainted-patch",
                value: name.into(),
            })
    }
}

/// A face to work on.
struct Canvas<'a> {
    picture: Rgb32FImage,
    landmarks: &'a Landmarks,
    /// A 48th of the face's size, in pixels: about one pixel of a network's input of 64 pixels.
    /// All lengths of the forgeries are multiples of it.
    unit: f32,
}

impl<'a> Canvas<'a> {
    fn new(face: &'a Face) -> Self {
        let landmarks = face.landmarks();
        Self {
            picture: to_float(face.picture()),
            landmarks,
            unit: landmarks.face_size() / 48.0,
        }
    }
}

/// A number drawn evenly from an interval.
fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// A number of either sign with a magnitude drawn evenly from an interval.
fn either_sign(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    let magnitude = between(rng, low, high);
    if rng.random_bool(0.5) {
        magnitude
    } else {
        -magnitude
    }
}

/// Gives each channel the mean and the standard deviation that the reference has under the mask,
/// plus a tint.
fn match_colour(picture: &mut Rgb32FImage, reference: &Rgb32FImage, mask: &Plane, tint: [f32; 3]) {
    let have = moments(picture, mask);
    let want = moments(reference, mask);
    // A flat donor must not be blown up to noise.
    let channels = have.into_iter().zip(want).zip(tint);
    let channels = channels.map(|(((mean, deviation), (wanted, spread)), tint)| {
        let gain = (spread / deviation.max(1e-3)).clamp(0.4, 2.5);
        move |value: f32| (value - mean) * gain + wanted + tint
    });
    let channels: Vec<_> = channels.collect();
    for pixel in picture.pixels_mut() {
        for (value, matched) in pixel.0.iter_mut().zip(&channels) {
            *value = matched(*value);
        }
    }
}

/// Scales the fine detail of a picture so that under the mask it has as much as the reference.
///
/// Without it, forgeries would be told by the size of their files: smooth faces compress better.
/// Detail finer than 0.4 `sigma` is not counted, as a network's input does not show it.
fn match_detail(picture: &mut Rgb32FImage, reference: &Rgb32FImage, mask: &Plane, sigma: f32) {
    let smooth = blur(picture, sigma);
    let energy = |fine: &Rgb32FImage, smooth: &Rgb32FImage| -> f32 {
        let pairs = fine.pixels().zip(smooth.pixels()).zip(mask.pixels());
        pairs
            .filter(|(_, m)| m[0] > 0.0)
            .map(|((f, s), m)| m[0] * (luma(f) - luma(s)).powi(2))
            .sum()
    };
    let have = energy(&blur(picture, 0.4 * sigma), &smooth);
    let want = energy(&blur(reference, 0.4 * sigma), &blur(reference, sigma));
    let gain = (want / have.max(1e-9)).sqrt().clamp(0.5, 3.0);
    for (pixel, smooth) in picture.pixels_mut().zip(smooth.pixels()) {
        for (value, smooth) in pixel.0.iter_mut().zip(smooth.0) {
            *value = smooth + (*value - smooth) * gain;
        }
    }
}

/// The forged part over the target.
fn composed(target: &Canvas, part: &Rgb32FImage, mask: Plane) -> (Rgb32FImage, Plane) {
    (blend(&target.picture, part, &mask), mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::portrait::PortraitConfig;

    fn pair() -> (Face, Face) {
        let config = PortraitConfig::new();
        (config.draw(1, 0, 0).unwrap(), config.draw(1, 1, 0).unwrap())
    }

    #[test]
    fn names_go_both_ways() {
        for forgery in Forgery::ALL {
            assert_eq!(forgery.to_string().parse::<Forgery>().unwrap(), forgery);
            let json = serde_json::to_string(&forgery).unwrap();
            assert_eq!(json, format!("\"{forgery}\""));
        }
        assert!("deepfake".parse::<Forgery>().is_err());
    }

    #[test]
    fn same_seed_same_forgery() {
        let (target, donor) = pair();
        for forgery in Forgery::ALL {
            let forge = |seed| forgery.apply(&target, Some(&donor), 0.7, seed).unwrap();
            assert_eq!(forge(1), forge(1), "{forgery}");
            assert_ne!(forge(1).picture, forge(2).picture, "{forgery}");
        }
    }

    #[test]
    fn only_the_mask_is_changed() {
        let (target, donor) = pair();
        for forgery in Forgery::ALL {
            let forged = forgery.apply(&target, Some(&donor), 1.0, 5).unwrap();
            assert_eq!(forged.picture.dimensions(), target.picture().dimensions());
            let mut inside = 0u32;
            let pixels = forged.picture.pixels().zip(target.picture().pixels());
            for ((new, old), mask) in pixels.zip(forged.mask.pixels()) {
                if mask[0] == 0 {
                    let most = new.0.iter().zip(old.0).map(|(a, b)| a.abs_diff(b)).max();
                    assert!(most <= Some(1), "{forgery}");
                }
                inside += u32::from(mask[0] > 127 && new != old);
            }
            assert!(inside > 300, "{forgery} changed {inside} pixels");
        }
    }

    #[test]
    fn strength_changes_every_forgery_and_has_a_range() {
        let (target, donor) = pair();
        for forgery in Forgery::ALL {
            let weak = forgery.apply(&target, Some(&donor), 0.0, 5).unwrap();
            let strong = forgery.apply(&target, Some(&donor), 1.0, 5).unwrap();
            assert_ne!(weak.picture, strong.picture, "{forgery}");
            for strength in [-0.1, 1.1, f32::NAN] {
                assert!(forgery.apply(&target, Some(&donor), strength, 5).is_err());
            }
        }
    }

    #[test]
    fn donors_of_another_scheme_are_refused_where_they_are_needed() {
        use crate::detector::landmark::{Landmarks, Part, Scheme};
        let (target, donor) = pair();
        let mut points = vec![[64.0, 64.0]; 189];
        let outline = Scheme::WebMorph189.part(Part::Outline);
        for (i, &index) in outline.iter().enumerate() {
            points[index] = [20.0 + 2.5 * i as f32, if i % 2 == 0 { 20.0 } else { 100.0 }];
        }
        let marks = Landmarks::new(points, Scheme::WebMorph189).unwrap();
        let other = Face::new(donor.picture().clone(), marks).unwrap();
        for forgery in Forgery::ALL {
            for donor in [Some(&other), None] {
                let result = forgery.apply(&target, donor, 0.5, 5);
                assert_eq!(result.is_err(), forgery.needs_donor(), "{forgery}");
            }
        }
    }
}
