"""Native: `python -m unittest discover tests` needs no WebAssembly and no package."""

import unittest
from types import SimpleNamespace

import my_strategy
from componentize_py_types import Err
from my_strategy import Config, Feedback, State, Strategy

BACKENDS = [SimpleNamespace(id=id, weight=1, in_flight=0) for id in (1, 2)]


def pick(sequence=0):
    return Strategy().pick(SimpleNamespace(random=0, sequence=sequence), BACKENDS)


def observe(id, latency_us=1_000, status=200, failure=0):
    outcome = SimpleNamespace(id=id, latency_us=latency_us, status=status, failure=failure)
    Feedback().observe([outcome])


class Learns(unittest.TestCase):
    def setUp(self):
        my_strategy.averages.clear()

    def test_who_was_slow_or_failed_is_left_alone(self):
        observe(1, latency_us=90_000)
        observe(2)
        self.assertEqual(pick(), 1)
        observe(2, status=503)
        observe(2, status=0, failure=1)
        self.assertEqual(pick(), 0)

    def test_a_client_that_left_says_nothing_of_the_backend(self):
        observe(1, status=0, failure=5)
        self.assertEqual(pick(), 0)

    def test_who_was_slow_is_asked_again(self):
        observe(1, latency_us=90_000)
        self.assertEqual([pick(sequence) for sequence in range(32)].count(0), 1)

    def test_what_was_learned_is_handed_over(self):
        observe(1, latency_us=90_000)
        saved = State().save()
        my_strategy.averages.clear()
        self.assertEqual(pick(), 0)
        State().restore(saved)
        self.assertEqual(pick(), 1)

    def test_other_bytes_are_refused(self):
        observe(1, latency_us=90_000)
        for saved in (b"\0", b"\7" * 11, b"\xff" * 12, bytes(12 * 10_001)):
            with self.assertRaises(Err):
                State().restore(saved)
        self.assertEqual(pick(), 1)

    def test_the_options_are_checked(self):
        for text in ("", "{}", '{"gain": 1}'):
            Config().configure(text)
        for text in ("[]", "{", "null", '{"gain": 0}', '{"gain": "1"}', '{"grain": 1}'):
            with self.assertRaises(Err, msg=text):
                Config().configure(text)

    def test_memory_is_bounded(self):
        for id in range(20_000):
            observe(id)
        self.assertEqual(len(my_strategy.averages), 10_000)


if __name__ == "__main__":
    unittest.main()
