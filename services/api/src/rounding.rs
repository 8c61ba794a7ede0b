//! Numbers as clients see them.

/// `value` to five decimals, as the original application wrote its numbers.
pub(crate) fn five_decimals(value: f32) -> f64 {
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
