"""Native: `python -m unittest discover tests` needs no WebAssembly and no package."""

import unittest
from types import SimpleNamespace

from canary import Config, Strategy
from componentize_py_types import Err
from wit_world.imports import inbound, members

STABLE = [SimpleNamespace(id=id, weight=1, in_flight=0) for id in (1, 2)]
CANARY = SimpleNamespace(id=3, weight=1, in_flight=0)


def picked(backends, key=9_999, at=0.0):
    request = SimpleNamespace(key=key, random=int(at * 2**53))
    return backends[Strategy().pick(request, backends)]


class Picks(unittest.TestCase):
    def setUp(self):
        Config().configure("")
        inbound.headers.clear()
        members.labels = {(3, "track"): "canary"}

    def test_who_asks_for_it_gets_the_canary(self):
        inbound.headers["x-canary"] = "yes"
        self.assertEqual(picked([*STABLE, CANARY]), CANARY)
        inbound.headers["x-canary"] = "no"
        self.assertIn(picked([*STABLE, CANARY]), STABLE)

    def test_so_much_of_the_others_does(self):
        Config().configure('{"percent": 12.5}')
        picks = [picked([*STABLE, CANARY], key) for key in range(20_000)]
        self.assertEqual(picks.count(CANARY), 2_500)

    def test_the_other_group_is_asked_where_one_is_not_there(self):
        self.assertEqual(picked([CANARY]), CANARY)
        inbound.headers["x-canary"] = "yes"
        self.assertIn(picked(STABLE), STABLE)

    def test_within_a_group_the_least_loaded_is_asked(self):
        busy = SimpleNamespace(id=4, weight=1, in_flight=5)
        self.assertEqual(picked([busy, *STABLE], at=0.9), STABLE[1])

    def test_the_options_are_checked(self):
        Config().configure('{"header": "x-beta", "label": "beta", "label-value": "1"}')
        wrong = ("[", "[]", '{"percents": 1}', '{"percent": 101}', '{"percent": true}')
        for text in (*wrong, '{"header": 1}', '{"value": ""}', "[" * 10_000):
            with self.assertRaises(Err, msg=text):
                Config().configure(text)


if __name__ == "__main__":
    unittest.main()
