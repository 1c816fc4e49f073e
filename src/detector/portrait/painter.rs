//! The light that a portrait sends to the camera, pixel by pixel.

use image::{Rgb, Rgb32FImage};

use super::{
    anatomy::{Anatomy, Spot},
    person::{Colour, HairStyle, mix, scale},
    texture::Texture,
};
use crate::detector::raster::paired;

pub(super) struct Painter<'a> {
    pub(super) anatomy: &'a Anatomy<'a>,
    /// The person's own texture: it is the same in all their shots.
    pub(super) skin: &'a Texture,
    /// The shot's texture: clothes and background.
    pub(super) scene: &'a Texture,
}

impl Painter<'_> {
    /// The light at every pixel, linear.
    pub(super) fn paint(&self, size: u32) -> Rgb32FImage {
        Rgb32FImage::from_fn(size, size, |x, y| {
            let light = self.light(x as f32, y as f32, size as f32);
            Rgb(light.map(|v| (v * self.anatomy.shot.exposure).clamp(0.0, 1.0)))
        })
    }

    /// From the back to the front, each layer by the share of the pixel that it covers.
    fn light(&self, x: f32, y: f32, size: f32) -> Colour {
        let at = self.anatomy.view(x, y);
        let outside = self.anatomy.outside(at);
        let inside = self.cover(outside);
        let mut light = if inside < 1.0 {
            self.behind(at, [x / size, y / size])
        } else {
            [0.0; 3]
        };
        if inside > 0.0 {
            light = mix(light, self.head(at), inside);
        }
        let hair = self.hair_in_front(at, outside);
        if hair > 0.0 {
            light = mix(light, self.hair(at), hair);
        }
        self.glasses(at, light)
    }

    /// The share of a pixel inside an edge at a signed distance (negative inside).
    fn cover(&self, distance: f32) -> f32 {
        (0.5 - distance * self.anatomy.radius / 1.4).clamp(0.0, 1.0)
    }

    fn behind(&self, at: [f32; 2], place: [f32; 2]) -> Colour {
        let mut light = self.backdrop(place);
        let hair = &self.anatomy.person.hair;
        let [x, y] = at;
        if hair.style == HairStyle::Long {
            let end = self.cover(self.mane(at).max(-0.2 - y));
            light = mix(light, scale(self.hair(at), 0.7), end);
        }
        light = mix(light, self.clothes(at), self.cover(self.shoulder(at)));
        let neck =
            x.abs() - 0.62 * self.anatomy.person.half_width - 0.6 * (y - 1.0).max(0.0).powi(2);
        let collar = y - self.anatomy.shot.collar + 0.35 * x * x;
        light = mix(
            light,
            self.neck(at),
            self.cover(neck.max(collar).max(0.3 - y)),
        );
        mix(light, self.ear(at), self.cover(self.ear_distance(at)))
    }

    /// How far outside long hair a place is: as wide as the crown above, wider below.
    fn mane(&self, [x, y]: [f32; 2]) -> f32 {
        let hair = &self.anatomy.person.hair;
        let wave = 0.07
            * self
                .skin
                .octaves(2.0 + 2.5 * y, 9.0 + 3.0 * x.signum(), 2, 0.5);
        let widest = self.anatomy.person.half_width + hair.volume;
        let crown = (1.0 - (y.min(0.0) / (1.0 + hair.volume)).powi(2))
            .max(0.0)
            .sqrt();
        let side =
            x.abs() - widest * crown * (1.0 + 0.12 * y.max(0.0)) - wave * (y + 0.4).clamp(0.0, 1.0);
        let tips = y - hair.length + 0.5 * x * x - 0.12 * self.skin.octaves(9.0 * x, 3.0, 2, 0.7);
        side.max(tips)
    }

    fn backdrop(&self, [x, y]: [f32; 2]) -> Colour {
        let shot = self.anatomy.shot;
        let (sin, cos) = shot.backdrop_angle.sin_cos();
        let along = (0.5 + (x - 0.5) * cos + (y - 0.5) * sin).clamp(0.0, 1.0);
        let clutter = self.scene.octaves(4.0 * x, 4.0 * y, 3, 0.6) * shot.backdrop_clutter;
        let grain = 0.03 * self.scene.octaves(60.0 * x, 60.0 * y, 2, 0.7);
        let t = (along + clutter).clamp(0.0, 1.0);
        scale(mix(shot.backdrop[0], shot.backdrop[1], t), 1.0 + grain)
    }

    fn shoulder(&self, [x, y]: [f32; 2]) -> f32 {
        let slope = 1.14 + 0.30 * x.abs() + 0.5 * (x.abs() - 1.15).max(0.0).powi(2);
        slope - y
    }

    fn clothes(&self, [x, y]: [f32; 2]) -> Colour {
        let shot = self.anatomy.shot;
        let weave = 0.18 * self.scene.octaves(28.0 * x, 28.0 * y, 2, 0.8);
        let fold = 0.30 * self.scene.octaves(2.5 * x + 40.0, 1.2 * y, 2, 0.5);
        let stripe = if (7.0 * y).fract() < 0.5 {
            shot.stripes
        } else {
            0.0
        };
        let normal = normalised([0.5 * x, -0.4, 1.0]);
        let colour = scale(shot.clothes, (1.0 + weave + fold - stripe).max(0.05));
        self.lit(colour, normal, 0.0, 1.0)
    }

    fn neck(&self, [x, y]: [f32; 2]) -> Colour {
        let normal = normalised([x / 0.5, -0.1, 0.8]);
        let pores = 1.0 + self.anatomy.person.rough * self.skin.octaves(9.0 * x, 9.0 * y, 4, 0.8);
        // The chin keeps the light from the neck.
        let shade = 0.38 + 0.55 * ((y - 0.95) / 0.6).clamp(0.0, 1.0);
        self.lit(scale(self.anatomy.person.skin, pores), normal, 0.0, shade)
    }

    fn ear_distance(&self, [x, y]: [f32; 2]) -> f32 {
        let centre = self.anatomy.half_width(0.05) + 0.015;
        // The ear on the side to which the head turns is hidden behind it.
        let hidden = 0.35 * (self.anatomy.shot.yaw * x.signum()).max(0.0);
        let dx = (x.abs() - centre + hidden) / 0.10;
        let dy = (y - 0.12) / 0.21;
        ((dx * dx + dy * dy).sqrt() - 1.0) * 0.10
    }

    fn ear(&self, [x, y]: [f32; 2]) -> Colour {
        let depth = (self.ear_distance([x, y]) / 0.10).clamp(-1.0, 0.0);
        let fold = 0.75 + 0.35 * (6.0 * depth).cos().abs();
        let skin = self.anatomy.person.skin;
        let normal = normalised([0.6 * x.signum(), 0.0, 0.8]);
        self.lit(
            [skin[0] * 1.03, skin[1] * 0.88, skin[2] * 0.86],
            normal,
            0.0,
            fold,
        )
    }

    /// The head: skin, eyes, brows, mouth, and the hair that grows on it.
    fn head(&self, at: [f32; 2]) -> Colour {
        let spot = self.anatomy.spot(at);
        let mut skin = self.skin_colour(&spot);
        let mut shade = self.crevices(&spot);
        self.add_brows(&spot, &mut skin);
        self.add_beard(&spot, &mut skin);
        let (lips, mouth) = self.lips(&spot);
        skin = mix(skin, lips.0, mouth);
        shade *= 1.0 - 0.75 * lips.1 * mouth;
        let gloss = self.anatomy.person.gloss * (1.0 + mouth);
        let mut light = self.lit(skin, spot.normal, gloss, shade);
        for side in [-1.0, 1.0] {
            light = self.eye(&spot, side, light);
        }
        let grown = self.hair_on_head(&spot, at);
        if grown > 0.0 {
            mix(light, self.hair(at), grown)
        } else {
            light
        }
    }

    fn skin_colour(&self, spot: &Spot) -> Colour {
        let person = self.anatomy.person;
        let [x, y] = spot.at;
        let mottle = self.skin.octaves(3.0 * x + 50.0, 3.0 * y, 2, 0.6);
        let pores = self.skin.octaves(11.0 * x, 11.0 * y, 3, 0.85);
        let mut colour = scale(person.skin, 1.0 + 0.06 * mottle + person.rough * pores);
        let cheek = hill((x.abs() - 0.40) / 0.17, (y - 0.32) / 0.15)
            + 0.7 * hill(x / 0.11, (y - person.nose.tip) / 0.10);
        let red = person.blush * cheek + 0.05 * mottle;
        colour = [
            colour[0] * (1.0 + 0.15 * red),
            colour[1] * (1.0 - 0.45 * red),
            colour[2] * (1.0 - 0.4 * red),
        ];
        if person.freckles > 0.0 {
            let spots =
                self.skin.at(24.0 * x + 9.0, 24.0 * y) + 0.4 * self.skin.at(6.0 * x, 6.0 * y);
            let where_ = hill(x / 0.45, (y - 0.22) / 0.24);
            let dark = person.freckles * where_ * ((spots - 0.35) * 4.0).clamp(0.0, 1.0);
            colour = mix(
                colour,
                [colour[0] * 0.55, colour[1] * 0.38, colour[2] * 0.3],
                dark,
            );
        }
        colour
    }

    /// The share of light that reaches folds, nostrils and the corners of the eyes.
    fn crevices(&self, spot: &Spot) -> f32 {
        let person = self.anatomy.person;
        let [x, y] = spot.at;
        let lean = self.anatomy.nose_lean();
        let (nose, eyes) = (&person.nose, &person.eyes);
        let side = x - 0.6 * lean;
        let nostril = hill(
            (side.abs() - 0.48 * nose.half_width) / 0.034,
            (y - nose.tip - 0.045) / 0.02,
        );
        let wing = hill(
            (side.abs() - 1.02 * nose.half_width) / 0.018,
            (y - nose.tip) / 0.05,
        );
        let under = hill(
            side / (0.8 * nose.half_width),
            (y - nose.tip - 0.085) / 0.03,
        );
        let along = ((y - nose.tip) / 0.28).clamp(0.0, 1.0);
        let fold_x = nose.half_width + 0.04 + 0.17 * along;
        let smile = 0.25 + 6.0 * self.anatomy.shot.smile.max(0.0);
        let fold = hill((x.abs() - fold_x) / 0.022, (along - 0.5) / 0.33);
        let socket = hill(
            (x.abs() - eyes.apart + 0.07) / 0.13,
            (y - eyes.height - 0.02) / 0.08,
        );
        let bag = hill(
            (x.abs() - eyes.apart) / 0.11,
            (y - eyes.height - 0.10) / 0.018,
        );
        let lines = if y < eyes.height - 0.3 {
            let wave = 0.02 * self.skin.at(3.0 * x, 5.0);
            person.age * 0.14 * (((y + wave) * 55.0).sin() - 0.3).max(0.0) * hill(x / 0.4, 0.0)
        } else {
            0.0
        };
        let dark = 0.85 * nostril.min(1.0)
            + 0.35 * wing
            + 0.22 * under
            + (0.12 + 0.32 * person.age) * smile.min(1.0) * fold
            + 0.25 * socket
            + (0.08 + 0.25 * person.age) * bag
            + lines;
        (1.0 - dark).clamp(0.08, 1.0)
    }

    fn add_brows(&self, spot: &Spot, skin: &mut Colour) {
        let person = self.anatomy.person;
        let [half, apart] = self.anatomy.brow_span();
        let t = (spot.at[0].abs() - apart) / half;
        if t.abs() > 1.25 {
            return;
        }
        let [height, thick] = self.anatomy.brow(t.clamp(-1.0, 1.0));
        let distance = ((spot.at[1] - height).abs() - thick).max((t.abs() - 1.0) * half);
        // Hairs lie obliquely, so the noise is stretched along them.
        let across = spot.at[1] + 0.5 * spot.at[0].abs();
        let hairs = 0.5 + 0.5 * self.skin.at(70.0 * across, 16.0 * spot.at[0]);
        let cover = (0.5 - distance / 0.03).clamp(0.0, 1.0);
        let colour = mix(person.hair.colour, scale(person.skin, 0.12), 0.35);
        *skin = mix(
            *skin,
            colour,
            cover * person.brows.strength * (0.55 + 0.45 * hairs),
        );
    }

    fn add_beard(&self, spot: &Spot, skin: &mut Colour) {
        let person = self.anatomy.person;
        let Some(beard) = &person.beard else { return };
        let [x, y] = spot.at;
        let top = beard.top + 0.10 * self.skin.at(4.0 * x, 2.0) - 0.35 * (x.abs() - 0.45).max(0.0);
        let cheeks = ((y - top - 0.55 * (0.38 - x.abs()).max(0.0)) / 0.10).clamp(0.0, 1.0);
        let lip = self.anatomy.lips(0.0)[0];
        let moustache =
            beard.moustache * hill(x / 0.24, (y - lip + 0.035 - 0.15 * x * x) / 0.04).min(1.0);
        let stubble = 0.6 + 0.4 * self.skin.octaves(30.0 * x, 22.0 * y, 2, 0.8);
        let cover = cheeks.max(moustache) * beard.density * stubble;
        *skin = mix(
            *skin,
            scale(person.hair.colour, 1.1),
            cover.clamp(0.0, 0.95),
        );
    }

    /// The lips' colour and how deep inside the mouth it is, and the share of the pixel.
    fn lips(&self, spot: &Spot) -> ((Colour, f32), f32) {
        let person = self.anatomy.person;
        let half = self.anatomy.mouth_half_width();
        let t = spot.at[0] / half;
        if t.abs() > 1.1 || (spot.at[1] - person.mouth.height).abs() > 0.3 {
            return ((person.mouth.colour, 0.0), 0.0);
        }
        let y = spot.at[1];
        let [top, upper, lower, bottom] = self.anatomy.lips(t.clamp(-1.0, 1.0));
        let beyond = (t.abs() - 1.0) * half;
        let cover = (0.5 - (top - y).max(y - bottom).max(beyond) / 0.028).clamp(0.0, 1.0);
        let crease = 1.0 + 0.16 * self.skin.octaves(32.0 * spot.at[0], 7.0 * y, 2, 0.6);
        let mut colour = scale(
            person.mouth.colour,
            crease * if y < upper { 0.82 } else { 1.0 },
        );
        let line = (y - 0.5 * (upper + lower)).abs() - 0.5 * (lower - upper);
        let mut dark = (1.0 - line.max(0.0) / 0.018).clamp(0.0, 1.0) * 0.8;
        let gape = self.cover((upper - y).max(y - lower));
        if lower - upper > 0.012 && gape > 0.0 {
            let teeth = hill(t / 0.75, 0.0) * self.cover(y - upper - 0.028);
            let gap = 1.0 - 0.25 * ((spot.at[0] * 60.0).cos()).max(0.0).powi(6);
            let inner = mix(
                [0.05, 0.012, 0.012],
                [0.62 * gap, 0.58 * gap, 0.50 * gap],
                teeth,
            );
            colour = mix(colour, inner, gape);
            dark *= 1.0 - 0.8 * gape;
        }
        ((colour, dark), cover)
    }

    fn eye(&self, spot: &Spot, side: f32, skin: Colour) -> Colour {
        let eyes = &self.anatomy.person.eyes;
        let shot = self.anatomy.shot;
        let [cx, cy] = self.anatomy.eye(side);
        let (x, y) = (spot.at[0] - cx, spot.at[1] - cy);
        let t = side * x / eyes.half_width;
        if t.abs() > 1.2 || y.abs() > 0.16 {
            return skin;
        }
        let [upper, lower] = self.anatomy.lids(t.clamp(-1.0, 1.0));
        let ends = (t.abs() - 1.0) * eyes.half_width;
        let open = self.cover((upper - y).max(y - lower).max(ends));
        let radius = 0.43 * eyes.half_width;
        let iris = [x - shot.gaze[0] * radius, y + 0.006 - shot.gaze[1] * radius];
        let mut light = mix(skin, self.eyeball(iris, radius, y - upper, t), open);
        // Lashes along the upper lid, and the fold above it.
        let lash = (1.0 - (y - upper).abs() / 0.017).clamp(0.0, 1.0)
            * (1.0 - ends.max(0.0) / 0.02).max(0.0);
        light = scale(light, 1.0 - 0.85 * lash);
        let below = (1.0 - (y - lower).abs() / 0.012).clamp(0.0, 1.0) * (1.0 - t * t).max(0.0);
        light = scale(light, 1.0 - 0.25 * below);
        let fold = hill((y - upper + 0.034) / 0.009, t / 0.9) * (1.0 - open);
        scale(light, 1.0 - (0.15 + 0.5 * eyes.crease) * fold)
    }

    fn eyeball(&self, [x, y]: [f32; 2], radius: f32, under_lid: f32, t: f32) -> Colour {
        let shot = self.anatomy.shot;
        let r = (x * x + y * y).sqrt();
        let angle = y.atan2(x);
        let streak = 1.0 + 0.5 * self.skin.at(4.0 * angle + 20.0, 14.0 * r / radius);
        let rim = 1.0 - 0.65 * ((r / radius - 0.75) / 0.25).clamp(0.0, 1.0);
        let mut colour = mix(
            scale([0.50, 0.45, 0.42], 1.0 - 0.45 * t * t),
            scale(self.anatomy.person.eyes.iris, 1.6 * streak * rim),
            self.cover(r - radius),
        );
        colour = mix(colour, [0.004; 3], self.cover(r - 0.42 * radius));
        // The lid's shadow, and the light's mirror image.
        let shade = 0.45 + 0.55 * (under_lid / 0.05).clamp(0.0, 1.0);
        let normal = normalised([x, y, 0.2]);
        let mut light = self.lit(colour, normal, 0.0, shade);
        let spark = [
            x - 0.35 * radius * shot.light[0],
            y - 0.35 * radius * shot.light[1],
        ];
        let spark = hill(spark[0] / 0.016, spark[1] / 0.016);
        light = light.map(|v| v + 0.65 * spark.max(0.0));
        light
    }

    /// The share of a place on the head that hair grows over.
    fn hair_on_head(&self, spot: &Spot, at: [f32; 2]) -> f32 {
        let person = self.anatomy.person;
        let hair = &person.hair;
        let [x, y] = spot.at;
        let ragged = 0.045 * self.skin.octaves(14.0 * x, 6.0, 2, 0.7);
        let side = x / person.half_width;
        let part = 0.10 * (side - hair.parting).abs();
        let line = -hair.line + hair.bend * side * side * side * side + part + ragged;
        let line = line.min(-0.05);
        match hair.style {
            HairStyle::Bald => {
                // Stubble round the back of the head, seen at its sides.
                let rim =
                    ((at[0].abs() / self.anatomy.half_width(at[1]) - 0.86) / 0.1).clamp(0.0, 1.0);
                0.4 * rim * self.cover(at[1]) * self.cover(-0.75 - at[1])
            }
            HairStyle::Cropped => ((line - y) / 0.10).clamp(0.0, 0.85),
            _ => ((line - y) / 0.05 + 0.5).clamp(0.0, 1.0),
        }
    }

    /// The share of a pixel that hair before or around the head covers.
    fn hair_in_front(&self, [x, y]: [f32; 2], outside: f32) -> f32 {
        let person = self.anatomy.person;
        let hair = &person.hair;
        if hair.style == HairStyle::Bald {
            return 0.0;
        }
        let ragged = 0.5 + 0.5 * self.skin.octaves(6.0 * x + 30.0, 6.0 * y, 3, 0.7);
        let volume = hair.volume * (0.8 + 0.4 * ragged) + 0.01;
        let down = match hair.style {
            HairStyle::Long => 0.1,
            HairStyle::Full => 0.25,
            _ => -0.05,
        };
        let around = outside.max(-outside - 0.04) - volume;
        let crown = if outside > -0.03 {
            self.cover(around.max(y - down + 0.1 * ragged))
        } else {
            0.0
        };
        if hair.style != HairStyle::Long {
            return crown;
        }
        // Strands at the sides of the face.
        let edge = person.half_width * (0.86 + 0.10 * hair.curl) + 0.04 * (ragged - 0.5);
        crown.max(self.cover((edge - x.abs()).max(self.mane([x, y])).max(-0.35 - y)))
    }

    fn hair(&self, [x, y]: [f32; 2]) -> Colour {
        let hair = &self.anatomy.person.hair;
        let curl = 0.05 + 0.12 * hair.curl;
        let bend = curl * self.skin.octaves(5.0 * x, 5.0 * y, 2, 0.6);
        // Strands fall from the parting and down the sides.
        let fall = (y + 1.15).max(0.02);
        let strand = (x - hair.parting * 0.6).atan2(fall) + bend;
        let along = (x * x + fall * fall).sqrt();
        let fine = self
            .skin
            .octaves(26.0 * strand * along.max(0.4), 2.2 * along, 3, 0.85);
        let lock = self.skin.octaves(6.0 * strand, 1.5 * along + 9.0, 2, 0.6);
        let colour = scale(hair.colour, (1.0 + 0.38 * fine + 0.45 * lock).max(0.12));
        let normal = normalised([0.9 * x + 0.4 * bend, 0.8 * y.min(0.2), 0.6]);
        self.lit(colour, normal, 0.05 * (1.0 + fine).max(0.0), 1.0)
    }

    fn glasses(&self, at: [f32; 2], light: Colour) -> Colour {
        let person = self.anatomy.person;
        let Some(glasses) = &person.glasses else {
            return light;
        };
        if at[1].abs() > 0.5 || self.anatomy.outside(at) > 0.06 {
            return light;
        }
        let [x, y] = self.anatomy.spot(at).at;
        let (dx, dy) = (
            x.abs() - person.eyes.apart * 1.02,
            y - person.eyes.height - 0.02,
        );
        let n = glasses.squareness;
        let ring =
            (dx / glasses.half_width).abs().powf(n) + (dy / glasses.half_height).abs().powf(n);
        let distance = (ring.powf(1.0 / n) - 1.0) * glasses.half_height;
        let rim = distance.abs() - glasses.thickness;
        let bridge = (dy.abs() - glasses.thickness).max(dx + glasses.half_width);
        let arm = (dy.abs() - glasses.thickness).max(glasses.half_width - dx);
        let frame = self.cover(rim.min(bridge).min(arm));
        let glass = self.cover(distance);
        let mirror = 0.05 * glass * hill((x - y - 0.1) / 0.08, 0.0);
        let seen = light.map(|v| v * (1.0 - 0.05 * glass) + mirror);
        mix(
            seen,
            self.lit(glasses.colour, [0.0, -0.3, 0.95], 0.2, 1.0),
            frame,
        )
    }

    /// A surface under the shot's light: Lambert's law, wrapped as skin scatters, and a highlight.
    fn lit(&self, colour: Colour, normal: [f32; 3], gloss: f32, shade: f32) -> Colour {
        let shot = self.anatomy.shot;
        let facing = dot(normal, shot.light);
        let diffuse = ((facing + 0.22) / 1.22).max(0.0);
        let half = normalised([shot.light[0], shot.light[1], shot.light[2] + 1.0]);
        let highlight = gloss * dot(normal, half).max(0.0).powi(22);
        // Light from above, as from sky and ceiling.
        let sky = 0.8 - 0.2 * normal[1];
        let falling = paired(shot.ambient, shot.light_colour, |ambient, light| {
            ambient * sky + light * diffuse
        });
        let scattered = paired(colour, falling, |colour, falling| colour * falling);
        paired(scattered, shot.light_colour, |scattered, light| {
            shade * (scattered + highlight * light)
        })
    }
}

/// 1 at the origin, falling to 0 over one unit.
fn hill(x: f32, y: f32) -> f32 {
    let squared = x * x + y * y;
    if squared > 8.0 { 0.0 } else { (-squared).exp() }
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn normalised(v: [f32; 3]) -> [f32; 3] {
    let length = dot(v, v).sqrt().max(1e-6);
    v.map(|n| n / length)
}
