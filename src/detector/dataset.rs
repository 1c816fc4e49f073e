//! Samples of one forgery and of the real faces behind them, split by person.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use image::{RgbImage, buffer::ConvertBuffer};
use rand::{rngs::ChaCha8Rng, seq::IndexedRandom};

use super::{
    encode::{EncodeConfig, Encoded},
    faces::Face,
    forgery::{Forged, Forgery, check_strength},
    seed::{Purpose, generator},
};
use crate::{Error, Result, domain::GroupSplit};

/// A list of faces, each of them somebody's, that are made or read when they are asked for.
pub trait FaceSource: Sync {
    /// The number of faces.
    fn len(&self) -> usize;

    /// Whether there is no face.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose face it is; empty where `index` is not below [`len`](Self::len).
    fn person(&self, index: usize) -> &str;

    /// A face: the same index, the same face.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where `index` is not below [`len`](Self::len); [`Error::File`] for a
    /// face on disk that cannot be used.
    fn face(&self, index: usize) -> Result<Face>;
}

/// Refuses an index beyond a source.
pub(crate) fn check_index(source: &dyn FaceSource, index: usize) -> Result<()> {
    match index < source.len() {
        true => Ok(()),
        false => Err(no_face(index, source.len())),
    }
}

/// What a source keeps of a face, or the same refusal.
pub(crate) fn at_index<T>(faces: &[T], index: usize) -> Result<&T> {
    faces.get(index).ok_or_else(|| no_face(index, faces.len()))
}

fn no_face(index: usize, len: usize) -> Error {
    Error::Setting {
        field: "faces",
        rule: "be indices of the source's faces",
        value: format!("{index} of {len}"),
    }
}

/// The indices of a source's faces in parts, by the fractions of its people: nobody is in two.
///
/// A [`GroupSplit`] by person. The same people and the same `seed` give the same parts, whatever
/// pictures there are of them.
///
/// # Errors
///
/// As [`GroupSplit::new`].
pub fn split_by_person(
    source: &dyn FaceSource,
    fractions: &[f64],
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
    let people: Vec<&str> = (0..source.len()).map(|i| source.person(i)).collect();
    let split = GroupSplit::new(people.iter().copied(), fractions, seed)?;
    Ok(split.indices(&people))
}

/// A network's input with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The picture, as many pixels a side as [`EncodeConfig::size`] says.
    pub picture: RgbImage,
    /// 0 real, 1 forged.
    pub label: u8,
    /// Whose face was photographed: of a forgery, the target's.
    pub person: Arc<str>,
    /// The domain's forgery; also where the sample is real.
    pub forgery: Forgery,
    /// The index of the face in its source: of a forgery, the target's.
    pub source: usize,
    /// The quality of its JPEG.
    pub quality: u8,
    /// The size of its JPEG in bytes.
    pub bytes: usize,
}

/// One forgery, the real faces behind it, and the encode chain of both: a domain.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct DomainConfig {
    /// The forgery.
    pub forgery: Forgery,
    /// How plain its marks are, from 0 to 1; see [`Forgery::apply`].
    #[config(default = 0.7)]
    pub strength: f32,
    /// How pictures become samples.
    #[config(default = "EncodeConfig::new()")]
    pub encode: EncodeConfig,
    /// Samples of each class made from each face, from 1 to 10000: they differ in donor, forgery,
    /// crop and quality.
    #[config(default = 1)]
    pub copies: usize,
    /// The seed of donors, forgeries, crops and qualities.
    #[config(default = 0)]
    pub seed: u64,
    /// Threads to work on; 0 for as many as the machine has. The samples do not depend on it.
    #[config(default = 0)]
    pub threads: usize,
}

impl DomainConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        check_strength(self.strength)?;
        self.encode.check()?;
        if !(1..=10_000).contains(&self.copies) {
            return Err(Error::Setting {
                field: "copies",
                rule: "be from 1 to 10000",
                value: self.copies.to_string(),
            });
        }
        Ok(())
    }

    /// The samples of some faces of a source: for each face and copy, a real one and a forged one.
    ///
    /// Donors are other people among the same faces, so that nobody of another side of a
    /// [split](split_by_person) takes part.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting out of its range, an index beyond the source, or a
    /// forgery that needs donors where there is nobody else; what [`FaceSource::face`] and
    /// [`Forgery::apply`] return.
    pub fn build(&self, source: &dyn FaceSource, faces: &[usize]) -> Result<Vec<Sample>> {
        self.check_faces(source, faces)?;
        let samples = in_parallel(self.threads, faces, |&index| {
            let target = source.face(index)?;
            let pairs: Result<Vec<_>> = (0..self.copies)
                .map(|copy| self.pair(source, faces, index, &target, copy))
                .collect();
            Ok(pairs?.into_iter().flatten())
        })?;
        Ok(samples.into_iter().flatten().collect())
    }

    /// The crops of a face, of its first forgery and of the forgery's mask: the same crop of each.
    pub(super) fn crops(
        &self,
        source: &dyn FaceSource,
        faces: &[usize],
        index: usize,
    ) -> Result<[RgbImage; 3]> {
        let target = source.face(index)?;
        let forged = self.forge(source, faces, index, &target, 0)?;
        let crop = self.encode.crop(
            target.landmarks(),
            &mut self.rng(Purpose::EncodeReal, index, 0),
        );
        let cut = |picture: &RgbImage| self.encode.cut(picture, crop);
        Ok([
            cut(target.picture())?,
            cut(&forged.picture)?,
            cut(&forged.mask.convert())?,
        ])
    }

    pub(super) fn check_faces(&self, source: &dyn FaceSource, faces: &[usize]) -> Result<()> {
        self.check()?;
        faces.iter().try_for_each(|&face| check_index(source, face))
    }

    /// The real and the forged sample of one copy of a face.
    fn pair(
        &self,
        source: &dyn FaceSource,
        faces: &[usize],
        index: usize,
        target: &Face,
        copy: usize,
    ) -> Result<[Sample; 2]> {
        let forged = self.forge(source, faces, index, target, copy)?;
        let person: Arc<str> = source.person(index).into();
        let sample = |label, encoded: Encoded| Sample {
            picture: encoded.picture,
            label,
            person: person.clone(),
            forgery: self.forgery,
            source: index,
            quality: encoded.quality,
            bytes: encoded.bytes,
        };
        let encode = |picture, purpose| {
            self.encode.encode_from(
                picture,
                target.landmarks(),
                &mut self.rng(purpose, index, copy),
            )
        };
        Ok([
            sample(0, encode(target.picture(), Purpose::EncodeReal)?),
            sample(1, encode(&forged.picture, Purpose::EncodeForged)?),
        ])
    }

    /// The first forgery that [`build`](Self::build) makes of a face, at its picture's size.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn forged(&self, source: &dyn FaceSource, faces: &[usize], face: usize) -> Result<Forged> {
        self.check_faces(source, faces)?;
        check_index(source, face)?;
        self.forge(source, faces, face, &source.face(face)?, 0)
    }

    fn forge(
        &self,
        source: &dyn FaceSource,
        faces: &[usize],
        index: usize,
        target: &Face,
        copy: usize,
    ) -> Result<Forged> {
        let mut rng = self.rng(Purpose::Forge, index, copy);
        let donor = if self.forgery.needs_donor() {
            Some(source.face(donor(source, faces, index, &mut rng)?)?)
        } else {
            None
        };
        self.forgery
            .apply_from(target, donor.as_ref(), self.strength, &mut rng)
    }

    /// Encodings of real faces do not depend on the forgery: domains of the same faces and seed
    /// share their reals.
    fn rng(&self, purpose: Purpose, face: usize, copy: usize) -> ChaCha8Rng {
        let forgery = match purpose {
            Purpose::EncodeReal => 0,
            _ => self.forgery as u64,
        };
        generator(purpose, [self.seed, face as u64, copy as u64, forgery])
    }
}

/// A face of another person.
fn donor(
    source: &dyn FaceSource,
    faces: &[usize],
    target: usize,
    rng: &mut ChaCha8Rng,
) -> Result<usize> {
    let person = source.person(target);
    let others: Vec<usize> = faces
        .iter()
        .copied()
        .filter(|&face| source.person(face) != person)
        .collect();
    others.choose(rng).copied().ok_or_else(|| Error::Setting {
        field: "faces",
        rule: "show two people at least, as the forgery needs a donor",
        value: format!("only {person}"),
    })
}

/// What a job makes of each item, in their order, or the error of the first that failed.
pub(super) fn in_parallel<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    job: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let available = || thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { available() } else { threads }.min(items.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            let result = job(item);
            if result.is_err() {
                // Jobs before this one are under way and will be done; no later one is begun.
                next.fetch_max(items.len(), Ordering::Relaxed);
            }
            done.push((index, result));
        }
    };
    let mut results: Vec<(usize, Result<T>)> = thread::scope(|scope| {
        // This thread works as well, and alone where the machine has no other to give.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let workers: Vec<_> = (1..threads).map_while(spawn).collect();
        let own = work();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let others = workers.into_iter().flat_map(join);
        own.into_iter().chain(others).collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::detector::portrait::{PortraitConfig, Portraits};

    fn portraits(people: usize, shots: usize) -> Portraits {
        Portraits::new(PortraitConfig::new(), 11, people, shots).unwrap()
    }

    #[test]
    fn nobody_is_on_two_sides() {
        let source = portraits(20, 3);
        let parts = split_by_person(&source, &[0.5, 0.25, 0.25], 1).unwrap();
        let people = |part: &Vec<usize>| -> BTreeSet<&str> {
            part.iter().map(|&i| source.person(i)).collect()
        };
        let people: Vec<BTreeSet<&str>> = parts.iter().map(people).collect();
        assert_eq!(
            people.iter().map(BTreeSet::len).collect::<Vec<_>>(),
            [10, 5, 5]
        );
        assert!(people[0].is_disjoint(&people[1]) && people[0].is_disjoint(&people[2]));
        assert!(people[1].is_disjoint(&people[2]));
        assert_eq!(parts[0].len(), 30);
        assert_ne!(
            parts,
            split_by_person(&source, &[0.5, 0.25, 0.25], 2).unwrap()
        );
    }

    #[test]
    fn samples_do_not_depend_on_the_number_of_threads() {
        let source = portraits(4, 1);
        let faces = [0, 1, 2, 3];
        for forgery in Forgery::ALL {
            let config = DomainConfig::new(forgery).with_copies(2);
            let one = config
                .clone()
                .with_threads(1)
                .build(&source, &faces)
                .unwrap();
            let three = config.with_threads(3).build(&source, &faces).unwrap();
            assert_eq!(one, three);
            assert_eq!(one.len(), 16);
        }
    }

    /// Samples of a setting are the same in every release. Other machines' sines differ in the
    /// last bit.
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
    #[test]
    fn samples_stay_what_they_are() {
        let source = portraits(3, 2);
        let faces: Vec<usize> = (0..source.len()).collect();
        let sums = Forgery::ALL.map(|forgery| {
            let config = DomainConfig::new(forgery).with_copies(3).with_seed(5);
            let mut sum = crc32fast::Hasher::new();
            for sample in config.build(&source, &faces).unwrap() {
                sum.update(&sample.picture);
                sum.update(&[sample.label, sample.quality]);
                sum.update(&sample.bytes.to_le_bytes());
            }
            sum.finalize()
        });
        assert_eq!(
            sums,
            [
                2517870921, 3776997133, 734979679, 3945949021, 3010280146, 58328255
            ]
        );
    }

    #[test]
    fn every_fake_has_its_real_and_copies_differ() {
        let source = portraits(3, 1);
        let config = DomainConfig::new(Forgery::Generator).with_copies(2);
        let samples = config.build(&source, &[0, 2]).unwrap();
        for pair in samples.chunks_exact(2) {
            assert_eq!([pair[0].label, pair[1].label], [0, 1]);
            assert_eq!(pair[0].source, pair[1].source);
            assert_eq!(pair[0].person, pair[1].person);
        }
        assert_ne!(samples[0].picture, samples[2].picture);
        assert_ne!(samples[1].picture, samples[3].picture);
        let swapped = DomainConfig {
            forgery: Forgery::Mouth,
            ..config.clone()
        };
        let other = swapped.build(&source, &[0, 2]).unwrap();
        assert_eq!(other[0].picture, samples[0].picture, "the reals are shared");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let source = portraits(2, 2);
        let config = DomainConfig::new(Forgery::FaceSwap);
        assert!(config.build(&source, &[0, 1]).is_err(), "one person only");
        assert!(config.build(&source, &[0, 4]).is_err(), "beyond the source");
        assert!(source.face(4).is_err());
        assert!(
            config
                .clone()
                .with_copies(0)
                .build(&source, &[0, 2])
                .is_err()
        );
        assert!(
            config
                .clone()
                .with_strength(2.0)
                .build(&source, &[0, 2])
                .is_err()
        );
        assert_eq!(config.build(&source, &[]).unwrap(), []);
    }

    #[test]
    fn the_first_error_comes_back() {
        for threads in [1, 4] {
            let result = in_parallel(threads, &Vec::from_iter(0..50), |&i| {
                if i < 7 {
                    return Ok(i);
                }
                Err(Error::Device(i.to_string()))
            });
            assert!(result.unwrap_err().to_string().ends_with(": 7"));
        }
    }
}
