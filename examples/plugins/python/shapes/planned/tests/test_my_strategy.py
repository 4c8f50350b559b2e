"""Native: `python -m unittest discover tests` needs no WebAssembly and no package."""

import unittest
from types import SimpleNamespace

from componentize_py_types import Err
from my_strategy import Config, Planner
from wit_world.imports.types import Routing_TwoChoices


def backend(**changes):
    numbers = {"weight": 1, "latency_us": 0, "capacity": 0, "in_flight": 0, **changes}
    return SimpleNamespace(**numbers)


class Plans(unittest.TestCase):
    def assert_weights(self, weights, *backends):
        self.assertEqual(Planner().plan(backends), Routing_TwoChoices(weights))

    def test_weights_are_the_operators(self):
        self.assert_weights([1_000, 3_000], backend(), backend(weight=3))

    def test_who_is_slow_or_nearly_full_gets_less(self):
        slow = backend(latency_us=40_000)
        nearly_full = backend(capacity=10, in_flight=8)
        self.assert_weights([1_000, 500, 200], backend(), slow, nearly_full)

    def test_nobody_gets_nothing(self):
        most = backend(capacity=1, in_flight=2**32 - 1, latency_us=2**32 - 1)
        self.assert_weights([1], most)

    def test_every_weight_is_a_u32(self):
        self.assert_weights([65_535_000], backend(weight=65_535))

    def test_the_options_are_checked(self):
        for text in ("", "{}", '{"default-latency-ms": 20}'):
            Config().configure(text)
        for text in ("[]", "{", "null", '{"default-latency-ms": 0}', '{"latency": 1}'):
            with self.assertRaises(Err, msg=text):
                Config().configure(text)


if __name__ == "__main__":
    unittest.main()
