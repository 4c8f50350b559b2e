"""Native: `python -m unittest discover tests` needs no WebAssembly and no package."""

import unittest
from types import SimpleNamespace

from my_strategy import Strategy


def backend(**changes):
    return SimpleNamespace(**{"weight": 1, "in_flight": 0, "latency_us": 0, **changes})


def pick(backends, at=0.0):
    return Strategy().pick(SimpleNamespace(random=int(at * 2**53)), backends)


class Picks(unittest.TestCase):
    def test_the_quickest_is_picked(self):
        backends = [backend(latency_us=latency) for latency in (90_000, 30_000, 60_000)]
        self.assertEqual(pick(backends, at=0.9), 1)

    def test_who_is_busy_takes_longer(self):
        self.assertEqual(pick([backend(in_flight=3), backend()]), 1)

    def test_equals_share_by_weight(self):
        backends = [backend(weight=3), backend()]
        picks = [pick(backends, at) for at in (0, 0.2, 0.4, 0.74, 0.76, 0.99)]
        self.assertEqual(picks, [0, 0, 0, 0, 1, 1])

    def test_the_largest_numbers_are_only_numbers(self):
        most = backend(weight=65_535, in_flight=2**32 - 1, latency_us=2**32 - 1)
        self.assertIn(pick([most, most], at=1 - 2**-53), (0, 1))


if __name__ == "__main__":
    unittest.main()
