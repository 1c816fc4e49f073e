//! Who is drawn: what stays the same from one shot of a person to the next.

use rand::{RngExt, rngs::ChaCha8Rng, seq::IndexedRandom};

use crate::detector::raster::paired;

/// A number drawn evenly from an interval.
pub(super) fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Light reflected from a surface, linear RGB.
pub(super) type Colour = [f32; 3];

pub(super) fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    paired(a, b, |a, b| a + (b - a) * t)
}

pub(super) fn scale(colour: Colour, factor: f32) -> Colour {
    colour.map(|v| v * factor)
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum HairStyle {
    Bald,
    Cropped,
    Short,
    Full,
    Long,
    Tied,
}

pub(super) struct Hair {
    pub(super) style: HairStyle,
    pub(super) colour: Colour,
    /// Height of the hairline above the head's centre.
    pub(super) line: f32,
    /// How far the hairline bends down at the temples.
    pub(super) bend: f32,
    /// Thickness over the skull.
    pub(super) volume: f32,
    /// Lowest point of long hair.
    pub(super) length: f32,
    pub(super) curl: f32,
    pub(super) parting: f32,
}

pub(super) struct Eyes {
    pub(super) apart: f32,
    pub(super) height: f32,
    pub(super) half_width: f32,
    pub(super) open: f32,
    pub(super) tilt: f32,
    pub(super) iris: Colour,
    pub(super) crease: f32,
    pub(super) socket: f32,
}

pub(super) struct Brows {
    pub(super) gap: f32,
    pub(super) thickness: f32,
    pub(super) arch: f32,
    pub(super) strength: f32,
}

pub(super) struct Nose {
    pub(super) tip: f32,
    pub(super) half_width: f32,
    pub(super) bridge: f32,
    pub(super) height: f32,
}

pub(super) struct Mouth {
    pub(super) height: f32,
    pub(super) half_width: f32,
    pub(super) upper: f32,
    pub(super) lower: f32,
    pub(super) colour: Colour,
}

pub(super) struct Beard {
    pub(super) density: f32,
    pub(super) moustache: f32,
    pub(super) top: f32,
}

pub(super) struct Glasses {
    pub(super) half_width: f32,
    pub(super) half_height: f32,
    pub(super) squareness: f32,
    pub(super) thickness: f32,
    pub(super) colour: Colour,
}

/// An identity. Lengths are in units of half the head's height.
pub(super) struct Person {
    pub(super) half_width: f32,
    pub(super) taper: f32,
    pub(super) square: f32,
    pub(super) skin: Colour,
    pub(super) gloss: f32,
    pub(super) rough: f32,
    pub(super) blush: f32,
    pub(super) freckles: f32,
    pub(super) age: f32,
    pub(super) cheek: f32,
    pub(super) chin: f32,
    pub(super) hair: Hair,
    pub(super) eyes: Eyes,
    pub(super) brows: Brows,
    pub(super) nose: Nose,
    pub(super) mouth: Mouth,
    pub(super) beard: Option<Beard>,
    pub(super) glasses: Option<Glasses>,
}

impl Person {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let soft = rng.random_bool(0.5); // A rounder jaw, fuller lips, thinner brows, no beard.
        let melanin = rng.random::<f32>().powf(1.4);
        let age = rng.random::<f32>();
        let skin = skin(rng, melanin);
        let half_width = between(rng, 0.68, 0.80);
        let hair = hair(rng, soft, melanin, age);
        Self {
            half_width,
            taper: between(rng, 0.16, 0.34) + if soft { 0.04 } else { 0.0 },
            square: between(rng, 0.0, 0.10) + if soft { 0.0 } else { 0.05 },
            skin,
            gloss: between(rng, 0.02, 0.08),
            rough: between(rng, 0.05, 0.14),
            blush: between(rng, 0.0, 0.28),
            freckles: if rng.random_bool(0.25) {
                between(rng, 0.15, 0.5)
            } else {
                0.0
            },
            age,
            cheek: between(rng, 0.015, 0.06),
            chin: between(rng, 0.03, 0.08),
            eyes: eyes(rng, half_width, melanin),
            brows: Brows {
                gap: between(rng, 0.15, 0.21),
                thickness: between(rng, 0.028, 0.05) * if soft { 0.75 } else { 1.1 },
                arch: between(rng, 0.02, 0.07),
                strength: between(rng, 0.65, 1.0),
            },
            nose: Nose {
                tip: between(rng, 0.34, 0.44),
                half_width: between(rng, 0.105, 0.17),
                bridge: between(rng, 0.06, 0.085),
                height: between(rng, 0.10, 0.17),
            },
            mouth: mouth(rng, soft, skin),
            beard: (!soft && rng.random_bool(0.4)).then(|| Beard {
                density: between(rng, 0.25, 0.95),
                moustache: between(rng, 0.2, 1.0),
                top: between(rng, 0.30, 0.52),
            }),
            glasses: rng.random_bool(0.2).then(|| glasses(rng)),
            hair,
        }
    }
}

/// Skin from pale to dark, on a line through the logarithms of two reflectances.
fn skin(rng: &mut ChaCha8Rng, melanin: f32) -> Colour {
    let pale: Colour = [0.78, 0.50, 0.38];
    let dark: Colour = [0.11, 0.052, 0.032];
    let warmth = between(rng, -0.08, 0.08);
    let logs = paired(pale, dark, |pale, dark| {
        pale.ln() * (1.0 - melanin) + dark.ln() * melanin
    });
    paired(logs, [1.0, 0.0, -1.0], |log, red| {
        log.exp() * (1.0 + warmth * red)
    })
}

fn hair(rng: &mut ChaCha8Rng, soft: bool, melanin: f32, age: f32) -> Hair {
    let natural: [Colour; 6] = [
        [0.012, 0.010, 0.010],
        [0.035, 0.020, 0.013],
        [0.085, 0.042, 0.021],
        [0.20, 0.105, 0.05],
        [0.42, 0.27, 0.12],
        [0.25, 0.07, 0.025],
    ];
    let shades = if melanin > 0.55 { 2 } else { 6 };
    let mut colour = one_of(&natural, shades, rng);
    if age > 0.8 {
        colour = mix(colour, [0.42, 0.41, 0.40], between(rng, 0.2, 0.9));
    }
    let style = match (soft, rng.random_range(0..6u32)) {
        (true, 0..3) => HairStyle::Long,
        (true, 3) => HairStyle::Tied,
        (_, 4) => HairStyle::Full,
        (true, _) => HairStyle::Short,
        (false, 0) => HairStyle::Bald,
        (false, 1) => HairStyle::Cropped,
        (false, 5) if rng.random_bool(0.4) => HairStyle::Long,
        (false, _) => HairStyle::Short,
    };
    let volume = match style {
        HairStyle::Bald => 0.0,
        HairStyle::Cropped => 0.02,
        HairStyle::Short | HairStyle::Tied => between(rng, 0.05, 0.14),
        HairStyle::Full => between(rng, 0.16, 0.34),
        HairStyle::Long => between(rng, 0.08, 0.20),
    };
    let fringe = !matches!(style, HairStyle::Bald | HairStyle::Tied) && rng.random_bool(0.25);
    let line = if fringe {
        between(rng, 0.32, 0.42)
    } else {
        between(rng, 0.55, 0.72)
    };
    Hair {
        style,
        colour,
        line,
        bend: between(rng, 0.25, 0.75),
        volume,
        length: between(rng, 0.7, 1.6),
        curl: rng.random::<f32>(),
        parting: between(rng, -0.35, 0.35),
    }
}

fn eyes(rng: &mut ChaCha8Rng, half_width: f32, melanin: f32) -> Eyes {
    let irises: [Colour; 5] = [
        [0.045, 0.022, 0.012],
        [0.10, 0.050, 0.022],
        [0.11, 0.10, 0.045],
        [0.10, 0.16, 0.24],
        [0.16, 0.19, 0.20],
    ];
    let shades = if melanin > 0.5 { 2 } else { 5 };
    Eyes {
        apart: half_width * between(rng, 0.48, 0.56),
        height: between(rng, 0.0, 0.05),
        half_width: half_width * between(rng, 0.19, 0.225),
        open: between(rng, 0.056, 0.080),
        tilt: between(rng, -0.10, 0.12),
        iris: one_of(&irises, shades, rng),
        crease: between(rng, 0.0, 0.5),
        socket: between(rng, 0.03, 0.075),
    }
}

/// One of the first few of some colours, drawn evenly.
fn one_of(colours: &[Colour], first: usize, rng: &mut ChaCha8Rng) -> Colour {
    let few = colours.get(..first).unwrap_or(colours);
    few.choose(rng).copied().unwrap_or_default()
}

fn mouth(rng: &mut ChaCha8Rng, soft: bool, skin: Colour) -> Mouth {
    let rouge = if soft && rng.random_bool(0.35) {
        between(rng, 0.3, 0.7)
    } else {
        0.0
    };
    let bare = [skin[0] * 0.80, skin[1] * 0.52, skin[2] * 0.56];
    let fuller = if soft { 1.15 } else { 0.9 };
    Mouth {
        height: between(rng, 0.585, 0.66),
        half_width: between(rng, 0.205, 0.285),
        upper: between(rng, 0.032, 0.060) * fuller,
        lower: between(rng, 0.048, 0.082) * fuller,
        colour: mix(bare, [0.38, 0.035, 0.06], rouge),
    }
}

fn glasses(rng: &mut ChaCha8Rng) -> Glasses {
    let frames: [Colour; 4] = [
        [0.01, 0.01, 0.012],
        [0.09, 0.045, 0.02],
        [0.30, 0.29, 0.28],
        [0.12, 0.02, 0.03],
    ];
    Glasses {
        half_width: between(rng, 0.20, 0.25),
        half_height: between(rng, 0.13, 0.19),
        squareness: between(rng, 2.0, 4.5),
        thickness: between(rng, 0.012, 0.034),
        colour: one_of(&frames, frames.len(), rng),
    }
}
