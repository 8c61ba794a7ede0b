"""What `scripts/compare-families` compares with."""
