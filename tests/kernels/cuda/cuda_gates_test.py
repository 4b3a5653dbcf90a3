#!/usr/bin/env python3
"""The gates themselves: kernels that are wrong in one way each are refused for that."""
import unittest

import cuda_gates
import sass

GATE = {"kernel": "K", "threads": 128, "registers_max": 64, "occupancy_percent_min": 50, "products_min": 8,
        "wide_loads_min": 1, "per_super_block_max": 20, "tensor_min": 0}


def kernel(**changes):
    loop = [("LDG.E.128.CONSTANT", "")] + [("IDP.4A.S8.S8", "")] * 8 + [("FFMA", "")] * 20 + [("BRA", "`(0x10)")]
    code = [("S2R", "")] + loop + [("EXIT", ""), ("BRA", "0x1f0")]
    instructions = [(16 * i, opcode, rest) for i, (opcode, rest) in enumerate(code)]
    return sass.Kernel(**{"name": "K", "architecture": "80", "registers": 64, "instructions": instructions, **changes})


def without(opcode):
    return [i for i in kernel().instructions if not i[1].startswith(opcode)]


class Gates(unittest.TestCase):
    def problems(self, gate=GATE, **changes):
        return list(cuda_gates.check(kernel(**changes), gate, True))

    def test_a_good_kernel_passes(self):
        self.assertEqual(self.problems(), [])

    def test_each_bound_is_kept(self):
        for name, changes in [("stack_bytes", {"stack_bytes": 8}), ("spills", {"spill_bytes": 4}),
                              ("shared_bytes", {"shared_bytes": 49153}), ("registers", {"registers": 65}),
                              ("occupancy_percent", {"shared_bytes": 40000}),
                              ("wide_loads", {"instructions": without("LDG")}),
                              ("products", {"instructions": without("IDP")})]:
            found = self.problems(**changes)
            self.assertTrue(any(name in p for p in found), (name, found))

    def test_long_loops_and_missing_tensor_cores_are_refused(self):
        self.assertIn("per_super_block 7.5, at most 7", self.problems({**GATE, "per_super_block_max": 7})[0])
        self.assertIn("tensor 0, at least 1", self.problems({**GATE, "tensor_min": 1})[0])

    def test_occupancy_is_what_the_manuals_say(self):
        self.assertEqual(kernel(registers=40).occupancy_percent(128), 75)
        self.assertEqual(kernel(registers=255).occupancy_percent(256), 12)
        self.assertEqual(kernel(registers=32, architecture="75").occupancy_percent(128), 100)
        self.assertEqual(kernel(registers=32, shared_bytes=33 * 1024, architecture="86").occupancy_percent(256), 33)

    def test_the_hot_loop_is_the_one_with_the_products(self):
        self.assertEqual(len(kernel().hot_loop("IDP")), 30)
        self.assertEqual(kernel().hot_loop("IMMA"), [])


if __name__ == "__main__":
    unittest.main()
