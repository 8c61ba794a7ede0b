//! Scores: the cells whose best one is above the threshold, and what stands for them in a graph.

/// Cells of a plane that are scanned together: their running maxima stay in the L1 cache.
const BLOCK: usize = 512;

/// Calls `found(cell, class, score)` for every cell whose best score is above `threshold`.
///
/// `scores` holds one plane of `cells` values for each class. It is read in memory order, classes in
/// the outer loop and cells in the inner one, which compiles to vector instructions.
pub(super) fn scan_best(
    scores: &[f32],
    cells: usize,
    threshold: f32,
    mut found: impl FnMut(usize, u32, f32),
) {
    let mut best = [0.0_f32; BLOCK];
    let mut class_of = [0_u32; BLOCK];
    for start in (0..cells).step_by(BLOCK) {
        let length = BLOCK.min(cells - start);
        let (best, class_of) = (&mut best[..length], &mut class_of[..length]);
        best.fill(f32::NEG_INFINITY);
        class_of.fill(0);
        for (class, plane) in (0..).zip(scores.chunks_exact(cells)) {
            let values = &plane[start..start + length];
            for ((best, class_of), &value) in best.iter_mut().zip(&mut *class_of).zip(values) {
                let is_better = value > *best;
                *best = if is_better { value } else { *best };
                *class_of = if is_better { class } else { *class_of };
            }
        }
        for (cell, (&score, &class)) in best.iter().zip(&*class_of).enumerate() {
            if score > threshold {
                found(start + cell, class, score);
            }
        }
    }
}

/// The best of `scores` and its place; the first of equal ones.
pub(super) fn best_class(scores: &[f32]) -> Option<(u32, f32)> {
    let scores = (0..).zip(scores.iter().copied());
    scores.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The inverse of [`sigmoid`]: −∞ at 0 and ∞ at 1.
pub(super) fn logit(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_finds_the_best_class_of_every_cell() {
        // More cells than a block and no multiple of it; a cheap sequence stands in for scores.
        let (cells, classes) = (BLOCK * 2 + 77, 7);
        let mut state = 1_u32;
        let scores: Vec<f32> = (0..cells * classes)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32
            })
            .collect();
        let threshold = 0.9;
        let mut expected = Vec::new();
        for cell in 0..cells {
            let column = (0..classes).map(|class| (scores[class * cells + cell], class));
            let (score, class) = column.fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a });
            if score > threshold {
                expected.push((cell, class as u32, score));
            }
        }
        let mut found = Vec::new();
        scan_best(&scores, cells, threshold, |cell, class, score| found.push((cell, class, score)));
        assert!(found.len() > 100);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_score_at_the_threshold_or_no_number_is_not_found() {
        let scores = [0.25, f32::NAN, 0.250_001];
        let mut found = Vec::new();
        scan_best(&scores, 3, 0.25, |cell, _, _| found.push(cell));
        assert_eq!(found, [2]);
    }
}
