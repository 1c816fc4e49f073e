use std::sync::Arc;

use super::{
    dataset::{FaceSource, at_index, in_parallel},
    faces::Face,
};
use crate::Result;

/// Faces that are made or read once and kept: worth it where several domains share them.
///
/// A face of 128 pixels takes 48 KiB.
#[derive(Clone, Debug)]
pub struct InMemFaces {
    faces: Vec<(Arc<str>, Face)>,
}

impl InMemFaces {
    /// Takes all faces of a source, on `threads` threads; 0 for as many as the machine has.
    ///
    /// # Errors
    ///
    /// What [`FaceSource::face`] returns for the first face that cannot be had.
    pub fn new(source: &dyn FaceSource, threads: usize) -> Result<Self> {
        let indices: Vec<usize> = (0..source.len()).collect();
        let faces = in_parallel(threads, &indices, |&index| {
            Ok((source.person(index).into(), source.face(index)?))
        })?;
        Ok(Self { faces })
    }
}

impl FaceSource for InMemFaces {
    fn len(&self) -> usize {
        self.faces.len()
    }

    fn person(&self, index: usize) -> &str {
        self.faces.get(index).map_or("", |(person, _)| person)
    }

    fn face(&self, index: usize) -> Result<Face> {
        at_index(&self.faces, index).map(|(_, face)| face.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::portrait::{PortraitConfig, Portraits};

    #[test]
    fn kept_faces_are_those_of_the_source() {
        let source = Portraits::new(PortraitConfig::new().with_size(64), 3, 4, 2).unwrap();
        let kept = InMemFaces::new(&source, 2).unwrap();
        assert_eq!(kept.len(), source.len());
        for index in 0..kept.len() {
            assert_eq!(kept.person(index), source.person(index));
            let (kept, source) = (kept.face(index).unwrap(), source.face(index).unwrap());
            assert_eq!(kept.picture(), source.picture());
            assert_eq!(kept.landmarks(), source.landmarks());
        }
    }
}
