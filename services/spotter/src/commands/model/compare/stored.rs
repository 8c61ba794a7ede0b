//! The comparisons that workers have stored.

use domain::{ModelComparison, Sha256Digest};

use super::{Version, summary::Compared};
use crate::{cli::ModelCompareOptions, commands::queue_connection::connect, error::CliError};

/// The comparisons of one version of each model.
pub(super) struct StoredComparisons {
    /// Those that were compared last; `None` without comparisons.
    pub(super) versions: Option<[Version; 2]>,
    pub(super) compared: Vec<Compared>,
    /// How many comparisons there are of others.
    pub(super) of_other_versions: usize,
}

pub(super) fn read(options: &ModelCompareOptions) -> Result<StoredComparisons, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = runtime.block_on(async {
        let messaging = connect(&options.server).await?;
        let all = messaging.comparisons().of(&options.a, &options.b).await;
        messaging.close().await;
        all.map_err(CliError::from)
    })?;
    Ok(of_newest_versions(all))
}

fn of_newest_versions(all: Vec<ModelComparison>) -> StoredComparisons {
    let versions = all.last().map(|ModelComparison { a, b, .. }| {
        [a, b].map(|run| Version { model: run.model.clone(), digest: run.digest })
    });
    let newest = all.last().map(digests);
    let total = all.len();
    let of_newest = all.into_iter().filter(|one| Some(digests(one)) == newest);
    let compared: Vec<Compared> = of_newest.map(Compared::from).collect();
    let of_other_versions = total - compared.len();
    StoredComparisons { versions, compared, of_other_versions }
}

fn digests(comparison: &ModelComparison) -> [Sha256Digest; 2] {
    [comparison.a.digest, comparison.b.digest]
}

#[cfg(test)]
mod tests {
    use domain::{ComparedRun, Comparison, TaskId};
    use time::OffsetDateTime;

    use super::*;

    fn comparison(digest_of_b: u8) -> ModelComparison {
        let run = |model: &str, digest: u8| ComparedRun {
            model: model.parse().unwrap(),
            digest: [digest; 32].into(),
            infer_ms: 1.0,
        };
        ModelComparison {
            task_id: TaskId::generate(),
            compared_at: OffsetDateTime::UNIX_EPOCH,
            a: run("a", 0),
            b: run("b", digest_of_b),
            comparison: Comparison::default(),
        }
    }

    #[test]
    fn versions_are_not_mixed() {
        let all: Vec<_> = [1, 1, 2, 1, 2].map(comparison).into();
        let newest = [all[2].task_id, all[4].task_id].map(|id| id.to_string());
        let stored = of_newest_versions(all);
        let names: Vec<_> =
            stored.compared.iter().map(|compared| compared.picture.clone()).collect();
        assert_eq!((names, stored.of_other_versions), (newest.to_vec(), 3));
        assert_eq!(stored.versions.unwrap()[1].digest, [2; 32].into());
        assert!(of_newest_versions(Vec::new()).versions.is_none());
    }
}
