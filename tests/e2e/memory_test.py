"""The 2.2 GB model of the speed measurements, served: the coordinator holds no weights, workers hold what tokens touch."""
import unittest

from barn_process import MODELS, Server, resident_bytes

MODEL = MODELS / "bench-moe-Q4_K.gguf"
MB = 1 << 20


class Memory(unittest.TestCase):
    def test_coordinator_holds_no_weights(self):
        with Server(MODEL, "--workers", 2, "--context", 1024) as server:
            for _ in range(3):
                status, body = server.post("/v1/completions", {
                    "model": "bench-moe-Q4_K", "prompt": [11, 22, 33, 44], "max_tokens": 8, "temperature": 0})
                self.assertEqual(status, 200, body)
            peak = resident_bytes(server.process.pid, "VmHWM")
            print(f"coordinator peak resident {peak / MB:.1f} MB (the model has no vocabulary, so no tokenizer)")
            self.assertLess(peak, 100 * MB)
            workers = [resident_bytes(pid) for pid in server.workers()]
            print("workers resident", [f"{w / MB:.0f} MB" for w in workers])
            # 27 tokens reach at most 8 of 128 experts each: most of the file was never touched.
            self.assertLess(sum(workers), MODEL.stat().st_size)

    def test_workers_hold_their_weights_once(self):
        """Repacked weights take the place of the file's pages: slices, KV cache and 150 MB for each worker."""
        with Server(MODEL, "--workers", 2, "--context", 1024) as server:
            # So many different tokens that every expert of every layer has been used and repacked.
            status, body = server.post("/v1/completions", {
                "model": "bench-moe-Q4_K", "prompt": [(7919 * i) % 32000 for i in range(900)], "max_tokens": 2,
                "temperature": 0})
            self.assertEqual(status, 200, body)
            kv = 6 * 1024 * 2 * 4 * 128 * 2  # Layers, tokens, K and V, heads, width, f16.
            bound = MODEL.stat().st_size + kv + 2 * 150 * MB
            workers = [resident_bytes(pid) for pid in server.workers()]
            print("workers resident", [f"{w / MB:.0f} MB" for w in workers], f"bound {bound / MB:.0f} MB together")
            self.assertLess(sum(workers), bound)


if __name__ == "__main__":
    unittest.main()
