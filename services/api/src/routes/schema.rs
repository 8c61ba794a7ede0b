//! Shared parts of the routes' schemas.

/// The task id in all examples.
pub(super) const EXAMPLE_ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";

/// `value` to five decimals, as the original application wrote its numbers.
pub(super) fn five_decimals(value: f32) -> f64 {
    (f64::from(value) * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_number_has_at_most_five_decimals() {
        let cases = [(22.871_27, "22.87127"), (0.0, "0.0"), (0.873_448, "0.87345"), (1.0, "1.0")];
        for (value, expected) in cases {
            assert_eq!(serde_json::json!(five_decimals(value)).to_string(), expected);
        }
    }
}
