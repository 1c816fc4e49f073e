//! Work on several threads.

use std::{panic, thread};

/// The results of a job for every item, in the items' order; 0 threads for as many as the machine
/// has.
pub fn in_parallel<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    job: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let available = || thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { available() } else { threads };
    let part = items.len().div_ceil(threads).max(1);
    let job = &job;
    thread::scope(|scope| {
        let parts = items.chunks(part);
        let workers = parts.map(|part| scope.spawn(move || part.iter().map(job).collect()));
        let workers: Vec<thread::ScopedJoinHandle<'_, Vec<T>>> = workers.collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<T>>| match worker.join() {
            Ok(results) => results,
            Err(cause) => panic::resume_unwind(cause),
        };
        workers.into_iter().flat_map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::in_parallel;

    #[test]
    fn results_keep_the_order() {
        let items: Vec<usize> = (0..7).collect();
        for threads in [0, 1, 2, 3, 9] {
            let doubled = in_parallel(threads, &items, |item| 2 * item);
            assert_eq!(doubled, [0, 2, 4, 6, 8, 10, 12]);
        }
        assert!(in_parallel(2, &[] as &[u8], |item| *item).is_empty());
    }
}
