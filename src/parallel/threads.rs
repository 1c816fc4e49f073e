use std::{panic, thread};

use crate::{Error, Result};

/// Runs jobs at the same time, the first of them here and the others on threads of their own, and
/// waits for all. The first error in their order is returned.
///
/// # Errors
///
/// A job's; [`Error::Thread`] where there is no further thread.
///
/// # Panics
///
/// Where a job does, once all have ended.
pub(super) fn at_once<J: Send, R: Send>(
    jobs: impl IntoIterator<Item = J>,
    run: impl Fn(J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut jobs = jobs.into_iter();
    let Some(first) = jobs.next() else {
        return Ok(Vec::new());
    };
    let run = &run;
    thread::scope(|scope| {
        let start = |job| {
            let thread = thread::Builder::new().name("roga-device".into());
            thread.spawn_scoped(scope, move || run(job))
        };
        // All are started before the first one is waited for.
        let others: Vec<_> = jobs.map(start).collect();
        let mut results = vec![run(first)];
        for other in others {
            let joined = other.map_err(Error::Thread).map(|thread| thread.join());
            results.push(match joined {
                Ok(Ok(result)) => result,
                Ok(Err(panicked)) => panic::resume_unwind(panicked),
                Err(error) => Err(error),
            });
        }
        results.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn jobs_run_at_once_and_answer_in_their_order() {
        let all = Barrier::new(3);
        let answers = at_once([3, 1, 2], |job| {
            // Nobody passes before all three have come.
            all.wait();
            Ok(10 * job)
        });
        assert_eq!(answers.unwrap(), [30, 10, 20]);
        assert!(at_once([(); 0], |()| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn the_first_error_in_their_order_is_theirs() {
        let error = at_once([0, 1, 2], |job| match job {
            0 => Ok(()),
            job => Err(Error::Device(job.to_string())),
        });
        assert!(matches!(error, Err(Error::Device(job)) if job == "1"));
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let panicked = panic::catch_unwind(|| {
            at_once([0, 1], |job| {
                assert_eq!(job, 0, "job {job}");
                Ok(())
            })
        });
        let message = panicked.unwrap_err();
        let message = message.downcast_ref::<String>().unwrap();
        assert!(message.contains("job 1"), "{message}");
    }
}
