//! Portraits that the crate draws itself: faces of nobody, with landmarks known by construction.
//!
//! A head is an egg with a relief of sockets, nose, cheeks and lips, lit by one light and the sky,
//! painted with skin, hair and eyes of random textures, and photographed by a sensor with a Bayer
//! mosaic, shot noise and read noise. So the pictures carry the traces that a photograph carries,
//! and a forgery of them leaves the marks that it leaves on a photograph. They are no substitute
//! for photographs of people; they let training, tests and examples run without any.

mod anatomy;
mod painter;
mod person;
mod sensor;
mod shot;
mod texture;

use self::{
    anatomy::Anatomy, painter::Painter, person::Person, sensor::photograph, shot::Shot,
    texture::Texture,
};
use super::{
    dataset::{FaceSource, check_index},
    faces::Face,
    landmark::{Landmarks, Scheme},
    raster::blur,
    seed::{Purpose, generator},
};
use crate::{Error, Result};

/// How portraits are drawn.
#[derive(burn::config::Config, Debug, PartialEq, Eq)]
pub struct PortraitConfig {
    /// The side of the square picture in pixels, from 64 to 1024.
    #[config(default = 128)]
    pub size: u32,
}

impl PortraitConfig {
    /// Draws a person once: the same numbers, the same picture, bit for bit.
    ///
    /// `seed` makes a population, `person` chooses one of it, `shot` one picture of them: skin,
    /// hair and features stay, pose, expression, light, background, clothes and noise differ.
    ///
    /// ```
    /// use roga::detector::{landmark::Part, portrait::PortraitConfig};
    ///
    /// let face = PortraitConfig::new().draw(1, 0, 0)?;
    /// assert_eq!(face.picture().dimensions(), (128, 128));
    /// let [x, y] = face.landmarks().centre(Part::MouthInner);
    /// assert!(x > 32.0 && x < 96.0 && y > 64.0);
    /// # Ok::<(), roga::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `size` is out of its range.
    pub fn draw(&self, seed: u64, person: u64, shot: u64) -> Result<Face> {
        self.check()?;
        let mut identity = generator(Purpose::Identity, [seed, person, 0, 0]);
        let who = Person::new(&mut identity);
        let skin = Texture::new(&mut identity);
        let mut moment = generator(Purpose::Shot, [seed, person, shot, 0]);
        let shot = Shot::new(&mut moment);
        let scene = Texture::new(&mut moment);
        let anatomy = Anatomy::new(&who, &shot, self.size);
        let painter = Painter {
            anatomy: &anatomy,
            skin: &skin,
            scene: &scene,
        };
        // A lens of a larger picture blurs as many more pixels.
        let sigma = (0.35 + shot.defocus) * self.size as f32 / 128.0;
        let light = blur(&painter.paint(self.size), sigma);
        let picture = photograph(&light, shot.shot_noise, shot.read_noise, &mut moment);
        Face::new(
            picture,
            Landmarks::new(anatomy.landmarks(), Scheme::Portrait97)?,
        )
    }

    fn check(&self) -> Result<()> {
        if (64..=1024).contains(&self.size) {
            return Ok(());
        }
        Err(Error::Setting {
            field: "size",
            rule: "be from 64 to 1024 pixels",
            value: self.size.to_string(),
        })
    }
}

/// A population of drawn people, each in as many shots.
#[derive(Clone, Debug)]
pub struct Portraits {
    config: PortraitConfig,
    seed: u64,
    names: Vec<String>,
    shots: usize,
}

impl Portraits {
    /// `people` people of the population `seed`, `shots` pictures of each.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the size is out of its range, or the people or shots are not from 1
    /// to a million.
    pub fn new(config: PortraitConfig, seed: u64, people: usize, shots: usize) -> Result<Self> {
        config.check()?;
        for (field, value) in [("people", people), ("shots", shots)] {
            if !(1..=1_000_000).contains(&value) {
                return Err(Error::Setting {
                    field,
                    rule: "be from 1 to 1000000",
                    value: value.to_string(),
                });
            }
        }
        let names = (0..people)
            .map(|person| format!("drawn/{seed}/{person}"))
            .collect();
        Ok(Self {
            config,
            seed,
            names,
            shots,
        })
    }
}

impl FaceSource for Portraits {
    fn len(&self) -> usize {
        self.names.len() * self.shots
    }

    fn person(&self, index: usize) -> &str {
        self.names.get(index / self.shots).map_or("", |name| name)
    }

    fn face(&self, index: usize) -> Result<Face> {
        check_index(self, index)?;
        self.config.draw(
            self.seed,
            (index / self.shots) as u64,
            (index % self.shots) as u64,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::landmark::Part;

    #[test]
    fn same_numbers_same_picture() {
        let config = PortraitConfig::new();
        let face = config.draw(3, 1, 4).unwrap();
        assert_eq!(config.draw(3, 1, 4).unwrap(), face);
        for (seed, person, shot) in [(4, 1, 4), (3, 2, 4), (3, 1, 5)] {
            assert_ne!(
                config.draw(seed, person, shot).unwrap().picture(),
                face.picture()
            );
        }
    }

    #[test]
    fn landmarks_lie_in_order() {
        for person in 0..40 {
            let face = PortraitConfig::new().draw(5, person, 0).unwrap();
            let marks = face.landmarks();
            let [left, top, right, bottom] = marks.face_box();
            assert!(left > 0.0 && top > 0.0 && right < 127.0 && bottom < 127.0);
            let y = |part| marks.centre(part)[1];
            assert!(y(Part::LeftBrow) < y(Part::LeftEye));
            assert!(y(Part::RightEye) < y(Part::Nose));
            assert!(y(Part::Nose) < y(Part::MouthOuter));
            assert!(y(Part::MouthOuter) < y(Part::Chin));
            assert!(marks.centre(Part::LeftEye)[0] < marks.centre(Part::RightEye)[0]);
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        for size in [0, 63, 1025] {
            assert!(PortraitConfig { size }.draw(0, 0, 0).is_err());
        }
        assert!(Portraits::new(PortraitConfig::new(), 0, 0, 1).is_err());
        assert!(Portraits::new(PortraitConfig::new(), 0, 1, 0).is_err());
    }

    #[test]
    fn a_portrait_of_twice_the_size_has_its_landmarks_at_twice_the_place() {
        let small = PortraitConfig { size: 64 }.draw(1, 2, 3).unwrap();
        let large = PortraitConfig { size: 128 }.draw(1, 2, 3).unwrap();
        for (s, l) in small
            .landmarks()
            .points()
            .iter()
            .zip(large.landmarks().points())
        {
            assert!((2.0 * s[0] - l[0]).abs() < 1e-3 && (2.0 * s[1] - l[1]).abs() < 1e-3);
        }
    }
}
