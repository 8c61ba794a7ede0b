//! A model's detectors on a GPU, each planned for one shape of input.
//!
//! A detector plans the model's convolutions again whenever the shape of its input changes, which takes as long as dozens
//! of runs. So few shapes are run: a picture alone, or a full batch of one size. The worker keeps a detector for each
//! shape that it has run lately, up to a limit, and all slots use them.

use detector::ModelError;
use parking_lot::Mutex;

/// Width and height of a tensor.
pub(crate) type Size = (usize, usize);

/// The shape of a run's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    size: Size,
    pictures: usize,
}

/// Detectors of one model by the shape that they are planned for.
pub(crate) struct PlannedDetectors<D> {
    /// The pictures of a run that takes more than one.
    full_batch: usize,
    load: Box<dyn Fn() -> Result<D, ModelError> + Send + Sync>,
    state: Mutex<State<D>>,
}

struct State<D> {
    /// Least recently used first; `None`: not planned yet.
    idle: Vec<(Option<Shape>, D)>,
    /// Idle ones and those in use.
    count: usize,
    most: usize,
}

impl<D> State<D> {
    fn take(&mut self, shape: Option<Shape>) -> Option<D> {
        let place = self.idle.iter().rposition(|(planned, _)| *planned == shape)?;
        Some(self.idle.remove(place).1)
    }

    fn take_oldest(&mut self) -> Option<D> {
        (!self.idle.is_empty()).then(|| self.idle.remove(0).1)
    }
}

impl<D> PlannedDetectors<D> {
    /// Begins with the detectors `loaded`, and calls `load` for further ones, up to `most` in all.
    pub(crate) fn new(
        loaded: Vec<D>,
        most: usize,
        full_batch: usize,
        load: impl Fn() -> Result<D, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let count = loaded.len();
        let idle = loaded.into_iter().map(|detector| (None, detector)).collect();
        let state = Mutex::new(State { idle, count, most: most.max(count) });
        Self { full_batch, load: Box::new(load), state }
    }

    /// How many there are, idle and in use.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().count
    }

    /// Runs `work` with a detector for `pictures` pictures of `size`, and the pictures of each of its runs. The
    /// detector is dropped if `work` fails or panics: that frees its memory on the GPU, and another one is loaded.
    ///
    /// # Errors
    /// [`ModelError`] if there is no detector and none can be loaded, and those of `work`.
    pub(crate) fn with<T, E: From<ModelError>>(
        &self,
        size: Size,
        pictures: usize,
        work: impl FnOnce(&mut D, usize) -> Result<T, E>,
    ) -> Result<T, E> {
        let (shape, mut detector) = self.take(size, pictures)?;
        let mut in_use = InUse { state: &self.state, returned: None };
        let done = work(&mut detector, shape.pictures)?;
        in_use.returned = Some((shape, detector));
        Ok(done)
    }

    fn take(&self, size: Size, pictures: usize) -> Result<(Shape, D), ModelError> {
        let wanted = Shape { size, pictures: pictures_of_a_run(pictures, self.full_batch) };
        let full = Shape { size, pictures: self.full_batch };
        {
            let mut state = self.state.lock();
            if let Some(detector) = state.take(Some(wanted)).or_else(|| state.take(None)) {
                return Ok((wanted, detector));
            }
            if state.count >= state.most {
                if let Some(planned) = state.take(Some(full)) {
                    return Ok((full, planned));
                }
                if let Some(oldest) = state.take_oldest() {
                    return Ok((wanted, oldest));
                }
            }
            state.count += 1;
        }
        let loaded = (self.load)();
        loaded.map(|detector| (wanted, detector)).or_else(|error| {
            let mut state = self.state.lock();
            state.count -= 1;
            state.most = state.count.max(1);
            tracing::warn!(%error, sessions = state.most, "no further session of the model can be loaded");
            state.take_oldest().map(|oldest| (wanted, oldest)).ok_or(error)
        })
    }
}

/// A detector in use: idle again if it was returned, otherwise gone.
struct InUse<'a, D> {
    state: &'a Mutex<State<D>>,
    returned: Option<(Shape, D)>,
}

impl<D> Drop for InUse<'_, D> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        match self.returned.take() {
            Some((shape, detector)) => state.idle.push((Some(shape), detector)),
            None => state.count -= 1,
        }
    }
}

/// How many pictures each run takes: a full batch, padded, if it is at least half full; otherwise one. On an H200, a
/// batch of 8 takes as long as three to four pictures alone.
fn pictures_of_a_run(pictures: usize, full_batch: usize) -> usize {
    if pictures > 1 && 2 * pictures >= full_batch { full_batch } else { 1 }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const WIDE: Size = (640, 384);
    const TALL: Size = (384, 640);
    const SQUARE: Size = (640, 640);
    const FULL_BATCH: usize = 8;

    fn no_memory() -> ModelError {
        let path = "models/test/model.onnx".into();
        ModelError::DoesNotRun { path, detail: "out of memory".to_owned() }
    }

    /// Detectors that are numbers: 0 for the one slot, and those that are loaded from 1.
    fn numbers(most: usize) -> PlannedDetectors<u32> {
        let next = AtomicU32::new(1);
        let load = move || Ok(next.fetch_add(1, Ordering::Relaxed));
        PlannedDetectors::new(vec![0], most, FULL_BATCH, load)
    }

    /// The detector of a run, and the pictures that it takes.
    fn run(planned: &PlannedDetectors<u32>, size: Size, pictures: usize) -> (u32, usize) {
        let done = planned
            .with(size, pictures, |detector, pictures| Ok::<_, ModelError>((*detector, pictures)));
        done.unwrap()
    }

    #[test]
    fn a_batch_is_padded_if_it_is_at_least_half_full() {
        let cases = [(1, 1, 1), (1, 2, 1), (2, 2, 2), (1, 8, 1), (3, 8, 1), (4, 8, 8), (8, 8, 8)];
        for (pictures, full_batch, expected) in cases {
            let found = pictures_of_a_run(pictures, full_batch);
            assert_eq!(found, expected, "{pictures} of {full_batch}");
        }
    }

    #[test]
    fn each_shape_keeps_its_detector_until_the_limit() {
        let planned = numbers(3);
        assert_eq!(run(&planned, WIDE, 1), (0, 1));
        assert_eq!(run(&planned, TALL, 1), (1, 1));
        assert_eq!(run(&planned, WIDE, 8), (2, 8));
        for _ in 0..2 {
            assert_eq!(run(&planned, WIDE, 2), (0, 1));
            assert_eq!(run(&planned, WIDE, 5), (2, 8));
            assert_eq!(run(&planned, TALL, 3), (1, 1));
        }
        assert_eq!(run(&planned, SQUARE, 1), (0, 1), "the one that was not used for longest");
        assert_eq!(run(&planned, TALL, 1), (1, 1), "the others are still planned");
    }

    #[test]
    fn at_the_limit_a_picture_alone_runs_in_a_planned_batch() {
        let planned = numbers(2);
        assert_eq!(run(&planned, WIDE, 8), (0, 8));
        assert_eq!(run(&planned, TALL, 1), (1, 1));
        assert_eq!(run(&planned, WIDE, 1), (0, 8));
        assert_eq!(run(&planned, TALL, 8), (1, 8), "a full batch is worth the planning");
    }

    #[test]
    fn two_slots_never_share_a_detector() {
        let planned = numbers(2);
        let both = planned.with(WIDE, 1, |one, _| {
            planned.with(WIDE, 1, |other, _| Ok::<_, ModelError>((*one, *other)))
        });
        assert_eq!(both.unwrap(), (0, 1));
    }

    #[test]
    fn a_detector_whose_run_failed_is_dropped() {
        let planned = numbers(1);
        let failed = planned.with(WIDE, 1, |_, _| Err::<(), _>(no_memory()));
        assert!(failed.is_err());
        assert_eq!(run(&planned, WIDE, 1), (1, 1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            planned.with(WIDE, 1, |_, _| -> Result<(), ModelError> { panic!("a broken picture") })
        }));
        assert!(panicked.is_err());
        assert_eq!(run(&planned, WIDE, 1), (2, 1));
    }

    #[test]
    fn without_memory_for_more_the_ones_there_are_planned_again() {
        let planned = PlannedDetectors::new(vec![0], 8, FULL_BATCH, || Err(no_memory()));
        for size in [WIDE, TALL, SQUARE] {
            assert_eq!(run(&planned, size, 1), (0, 1));
        }
        let nested = planned.with(WIDE, 1, |_, _| {
            planned.with(TALL, 1, |detector, _| Ok::<_, ModelError>(*detector))
        });
        assert!(nested.is_err(), "the only one is in use");
    }
}
