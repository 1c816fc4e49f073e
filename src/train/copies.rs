use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use burn::module::Module;

use crate::perturbation::RunningStatistics;

/// What the copies of a model that are made of the same one know of each other.
///
/// On several devices burn clones the model for every step, and clones that clone for every
/// worker. All share the running statistics of the first, which the workers would read and write
/// as they happen to come. Here each begins with those from before the step, and what stays is the
/// mean over the workers, as where burn's own forward pass updates them.
#[derive(Default)]
pub(super) struct Copies {
    /// Of the model that this one is a clone of.
    siblings: Arc<Mutex<Siblings>>,
    /// Of the clones that will be made of this one.
    children: Arc<Mutex<Siblings>>,
}

/// The step that copies of one model are in.
#[derive(Default)]
struct Siblings {
    /// The threads that take part in the step: a copy to each.
    threads: HashSet<ThreadId>,
    before: Option<RunningStatistics>,
    after: Vec<RunningStatistics>,
}

impl Clone for Copies {
    fn clone(&self) -> Self {
        Self {
            siblings: self.children.clone(),
            children: Arc::default(),
        }
    }
}

impl Copies {
    /// A copy of a model with running statistics of its own: those from before the step.
    pub fn isolate<M: Module>(&self, model: &M) -> M {
        // `train` gives the copy running statistics of its own.
        let copy = model.clone().train();
        let mut siblings = self.lock();
        if !siblings.threads.insert(thread::current().id()) {
            // The same thread once more, with gradients that are accumulated: the next step.
            *siblings = Siblings::default();
            siblings.threads.insert(thread::current().id());
        }
        siblings
            .before
            .get_or_insert_with(|| RunningStatistics::of(model))
            .write_to(&copy);
        copy
    }

    /// Hands the running statistics of a copy on to the model.
    pub fn settle<M: Module>(&self, copy: &M, model: &M) {
        let mut siblings = self.lock();
        siblings.after.push(RunningStatistics::of(copy));
        RunningStatistics::mean(model, &siblings.after).write_to(model);
    }

    fn lock(&self) -> MutexGuard<'_, Siblings> {
        self.siblings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running statistics of replicas: each has its own from step to step, in the thread that it is trained in, and
/// the model those of the first device's.
///
/// All of them share the model's, since burn's copies do.
#[derive(Clone, Default)]
pub(super) struct OwnStatistics(Arc<Mutex<Owned>>);

#[derive(Default)]
struct Owned {
    /// What all begin with.
    first: Option<RunningStatistics>,
    by_thread: HashMap<ThreadId, Option<RunningStatistics>>,
}

impl OwnStatistics {
    /// A copy of a model, one of so many replicas, with the replica's running statistics.
    pub fn isolate<M: Module>(&self, model: &M, replicas: usize) -> M {
        // `train` gives the copy running statistics of its own.
        let copy = model.clone().train();
        let mut owned = self.lock();
        let thread = thread::current().id();
        let is_new = !owned.by_thread.contains_key(&thread);
        if is_new && owned.by_thread.len() >= replicas {
            // Another training, in threads of its own.
            *owned = Owned::default();
        }
        let Owned { first, by_thread } = &mut *owned;
        let first = first.get_or_insert_with(|| RunningStatistics::of(model));
        let own = by_thread.entry(thread).or_default().as_ref();
        own.unwrap_or(first).write_to(&copy);
        copy
    }

    /// Keeps what the copy is left with, for the model as well where it is on the first device.
    pub fn settle<M: Module>(&self, copy: &M, model: &M, is_first: bool) {
        let own = RunningStatistics::of(copy);
        if is_first {
            own.write_to(model);
        }
        let thread = thread::current().id();
        self.lock().by_thread.insert(thread, Some(own));
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
