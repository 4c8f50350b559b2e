"""python3 -m unittest discover -s tests/bench -t tests/bench"""

import contextlib
import io
import unittest

from lib.report import judge, print_goals, print_growth, ratio, spread, summary


class Report(unittest.TestCase):
    SAMPLES = {
        "nginx": [{"cpu_us": 10.0, "failed": 0}, {"cpu_us": 20.0, "failed": 0}, {"cpu_us": 40.0, "failed": 0}],
        "anubis": [{"cpu_us": 9.0, "failed": 0}, {"cpu_us": 20.0, "failed": 1}, {"cpu_us": 38.0, "failed": 2}],
    }

    def test_ratios_are_taken_within_each_round(self):
        self.assertEqual(ratio(self.SAMPLES, "anubis", "nginx", "cpu_us"), (0.95, 0.9, 1.0))
        self.assertIsNone(ratio(self.SAMPLES, "anubis", "haproxy", "cpu_us"))
        self.assertIsNone(ratio(self.SAMPLES, "nginx", "nginx", "cpu_us"))

    def test_a_summary_has_medians_and_counts_what_failed(self):
        row = summary(self.SAMPLES)["anubis"]
        self.assertEqual((row["cpu_us"], row["failed"]), (20.0, 3))
        self.assertEqual(row["spread"]["cpu_us"], spread([9.0, 20.0, 38.0]))

    def test_a_goal_is_held_or_missed_by_the_median(self):
        self.assertIn("held", judge("x", (0.95, 0.9, 1.0), 0.95))
        self.assertIn("MISSED", judge("x", (0.96, 0.9, 1.0), 0.95))
        self.assertIn("held", judge("x", (0.9, 0.8, 1.0), 0.9, at_most=False))
        self.assertIsNone(judge("x", None, 1.0))

    def printed(self, what, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            what(*arguments)
        return out.getvalue()

    def test_a_goal_may_be_a_figure_of_our_own(self):
        result = summary(self.SAMPLES)
        held = self.printed(print_goals, result, [("us", "cpu_us", None, 20.0, True)])
        self.assertIn("held   us: 20.00 (9.00-38.00)", held)
        self.assertIn("MISSED", self.printed(print_goals, result, [("us", "cpu_us", None, 19.0, True)]))

    def test_growth_is_of_two_scenarios(self):
        each = {"summary": summary(self.SAMPLES)}
        self.assertEqual(self.printed(print_growth, {"idle": each}), "")
        told = self.printed(print_growth, {"idle": each, "keep-alive-32": each})
        self.assertIn("held   CPU per request, beside many idle connections / without: 1.00 (0.24-4.22)", told)


if __name__ == "__main__":
    unittest.main()
