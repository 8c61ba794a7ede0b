"""The verdict on a rebuild, which `make test-compose` gives only after half an hour. Run by `make test-scripts`."""

from __future__ import annotations

import unittest

from compose.builds import Build, describe, problem_of_a_rebuild

OTHERS = [f"#21 {at}.5    Compiling crate-{at} v1.0.{at}" for at in range(300)]
OURS = [
    "#21 310.2    Compiling domain v0.1.0 (/build/libs/domain)",
    "#21 400.1    Compiling spotter-api v0.1.0 (/build/services/api)",
]
AGAIN = [
    "#21 2.5    Compiling spotter-api v0.1.0 (/build/services/api)",
    "#21 9.1    Compiling spotter v0.1.0 (/build/services/spotter)",
]


def build(seconds: float, *lines: str) -> Build:
    return Build.of(seconds, "\n".join(["#20 transferring context", *lines, "#22 exporting to image"]))


WHOLE = build(717, *OTHERS, *OURS)


class Verdict(unittest.TestCase):
    def test_the_log_is_read(self) -> None:
        self.assertEqual((WHOLE.others, WHOLE.ours), (300, {"domain", "spotter-api"}))

    def test_builds_one_after_another_are_one(self) -> None:
        self.assertEqual(Build.sum([build(60, *AGAIN), build(2), build(8.3)]), build(70.3, *AGAIN))

    def test_the_figures_of_a_slow_machine_pass(self) -> None:
        self.assertIsNone(problem_of_a_rebuild(WHOLE, build(70.3, *AGAIN)))
        self.assertIn("10% of the first build", describe(WHOLE, build(70.3, *AGAIN)))

    def test_the_same_on_a_machine_ten_times_as_slow(self) -> None:
        self.assertIsNone(problem_of_a_rebuild(build(7170, *OTHERS, *OURS), build(703, *AGAIN)))

    def test_a_rebuild_that_takes_a_third_of_a_whole_one_does_not(self) -> None:
        self.assertIn("more than 25%", problem_of_a_rebuild(WHOLE, build(239, *AGAIN)) or "")

    def test_nor_one_that_compiles_what_had_not_changed_however_fast(self) -> None:
        for line, said in ((OTHERS[0], "1 external crates"), (OURS[0], "had not changed: domain")):
            self.assertIn(said, problem_of_a_rebuild(WHOLE, build(5, line, *AGAIN)) or "")

    def test_nor_one_whose_log_says_nothing(self) -> None:
        self.assertIn("does not say", problem_of_a_rebuild(WHOLE, build(5)) or "")

    def test_a_first_build_out_of_the_cache_is_no_measure(self) -> None:
        cached = build(4)
        self.assertIsNone(problem_of_a_rebuild(cached, build(70.3, *AGAIN)))
        self.assertIn("its share is not checked", describe(cached, build(70.3, *AGAIN)))
        self.assertIn("external", problem_of_a_rebuild(cached, build(70.3, *OTHERS, *AGAIN)) or "")


if __name__ == "__main__":
    unittest.main()
