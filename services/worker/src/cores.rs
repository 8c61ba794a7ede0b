//! Sharing the cores of a machine among the pictures that run on them.

use std::{num::NonZero, thread};

use detector::ExecutionProvider;
use service::config::Reader;

/// The default of slots on a GPU: while one slot copies its pictures and decodes boxes, the others use the GPU.
const GPU_SLOTS: NonZero<usize> = NonZero::new(4).unwrap();

/// The slots of one worker, and the cores of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreShares {
    /// `CONCURRENCY`: the pictures, or batches, that run at a time, each in a slot. Default: as many as
    /// there are cores; on a GPU, at most 4.
    pub slots: NonZero<usize>,
    /// `THREADS_PER_PICTURE`: cores that the run of one slot may use. Default: cores / slots; on a GPU, 1.
    pub per_slot: NonZero<usize>,
}

impl CoreShares {
    /// Reads the shares of a worker that may use `budget` cores. `slots` overrides `CONCURRENCY`.
    pub fn read(
        reader: &mut Reader<'_>,
        provider: ExecutionProvider,
        budget: NonZero<usize>,
        slots: Option<NonZero<usize>>,
    ) -> Self {
        let default = if provider.is_gpu() { budget.min(GPU_SLOTS) } else { budget };
        let concurrency = reader.read("CONCURRENCY", default);
        let slots = slots.unwrap_or(concurrency);
        let one = NonZero::<usize>::MIN;
        let per_slot = if provider.is_gpu() { one } else { share(budget, slots) };
        let per_slot = reader.read("THREADS_PER_PICTURE", per_slot);
        Self { slots, per_slot }
    }
}

/// The cores that one picture runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parallelism {
    /// Its slot's share.
    Slot,
    /// All of them: no other job waits or runs.
    AllCores,
}

/// Every core of this machine.
#[must_use]
pub fn all() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// How many of `cores` each of `sharers` gets: at least one.
#[must_use]
pub fn share(cores: NonZero<usize>, sharers: NonZero<usize>) -> NonZero<usize> {
    NonZero::new(cores.get() / sharers).unwrap_or(NonZero::<usize>::MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn slots_share_the_cores_and_get_at_least_one_each() {
        let count = |count| NonZero::new(count).unwrap();
        let cases = [
            (ExecutionProvider::Cpu, &[][..], None, (8, 1)),
            (ExecutionProvider::Cuda, &[], None, (4, 1)),
            (ExecutionProvider::Cuda, &[("CONCURRENCY", "2")], None, (2, 1)),
            (ExecutionProvider::Cpu, &[("CONCURRENCY", "3")], None, (3, 2)),
            (ExecutionProvider::Cpu, &[("CONCURRENCY", "3")], Some(2), (2, 4)),
            (ExecutionProvider::Cpu, &[("CONCURRENCY", "16")], None, (16, 1)),
            (ExecutionProvider::Cpu, &[("THREADS_PER_PICTURE", "5")], Some(1), (1, 5)),
        ];
        for (provider, variables, slots, expected) in cases {
            let variables: HashMap<String, String> =
                variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let mut reader = Reader::new(&variables);
            let read = CoreShares::read(&mut reader, provider, count(8), slots.map(count));
            let shares = reader.finish(read).unwrap();
            assert_eq!((shares.slots.get(), shares.per_slot.get()), expected, "{variables:?}");
        }
    }
}
