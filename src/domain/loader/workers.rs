use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

/// A piece of work. It does not panic: who hands it over sees to that.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads that take jobs from one queue.
///
/// They live as long as the loader, not as long as one epoch: on accelerators a thread has a stream
/// and a memory pool of its own, which a new thread would set up anew every epoch.
pub(super) struct Workers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads: as many as the system grants.
    pub fn new(count: usize) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..count)
            .map_while(|index| {
                let queue = queue.clone();
                thread::Builder::new()
                    .name(format!("domain-loader-{index}"))
                    .spawn(move || {
                        while let Some(job) = take(&queue) {
                            job();
                        }
                    })
                    .ok()
            })
            .collect();
        Self {
            jobs: Some(jobs),
            threads,
        }
    }

    /// The number of threads that were granted.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Hands a job to the thread that is free first.
    pub fn run(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Where no thread is left the job is dropped; its reply then ends, which its owner sees.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // The end of the queue ends the threads.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn take(queue: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    queue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}
