"""What the machine code of a kernel is made of, from cuobjdump (with nvdisasm) or, less, from ptxas -v."""
import collections
import dataclasses
import re
import subprocess

# Per multiprocessor: threads, blocks, KiB of shared memory. All have 65536 registers, given out by 256 to a warp.
LIMITS = {
    "75": (1024, 16, 64), "80": (2048, 32, 164), "86": (1536, 16, 100), "89": (1536, 24, 100), "90": (2048, 32, 228),
    "100": (2048, 32, 228), "120": (1536, 24, 100),
}


@dataclasses.dataclass
class Kernel:
    name: str  # "MatVecKernel<FormatQ4_K, 1, 2>"
    architecture: str
    registers: int = 0
    stack_bytes: int = 0
    spill_bytes: int = 0  # What ptxas -v says; with machine code, instructions that load or store local memory.
    shared_bytes: int = 0
    instructions: list = dataclasses.field(default_factory=list)  # (address, opcode, rest)

    def count(self, pattern):
        return sum(bool(re.match(pattern, opcode)) for _, opcode, _ in self.instructions)

    def hot_loop(self, pattern):
        """Opcodes of the innermost loop that has the most of `pattern`; empty if none has any."""
        loops = []
        for address, opcode, rest in self.instructions:
            target = re.search(r"0x([0-9a-f]+)", rest) if opcode.startswith("BRA") else None
            if target and int(target.group(1), 16) < address:
                begin = int(target.group(1), 16)
                loops.append([o for a, o, _ in self.instructions if begin <= a <= address])
        hits = [(sum(bool(re.match(pattern, o)) for o in loop), -len(loop), loop) for loop in loops]
        return max(hits, default=(0, 0, []))[2] if max(hits, default=(0,))[0] else []

    def occupancy_percent(self, threads):
        """Of the multiprocessor's threads, as registers, shared memory and blocks allow."""
        threads_max, blocks_max, shared_kib = LIMITS[self.architecture]
        warps = (threads + 31) // 32
        warp_registers = (self.registers * 32 + 255) // 256 * 256
        # A block takes 1 KiB more than it asks for from sm_80 on.
        by_shared = shared_kib * 1024 // (self.shared_bytes + 1024)
        blocks = min(blocks_max, threads_max // (warps * 32), 65536 // warp_registers // warps, by_shared)
        return 100 * blocks * warps * 32 // threads_max


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def demangle(names):
    names = list(names)
    if not names:
        return {}
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    short = {}
    for mangled, line in zip(names, out.splitlines()):
        line = re.sub(r"\(anonymous namespace\)::|barn::gpu::|^void ", "", line)
        line = line[:line.rindex(">") + 1] if "<" in line else line.split("(")[0]
        short[mangled] = re.sub(r"\((?:int|bool)\)", "", line)
    return short


def architectures(cuobjdump, objects):
    """-> (set of machine codes, set of PTX) over all objects; an error if they differ."""
    found = set()
    for path in objects:
        codes = frozenset(re.findall(r"sm_(\d+)", run([cuobjdump, "--list-elf", path])))
        ptx = frozenset(re.findall(r"sm_(\d+)", run([cuobjdump, "--list-ptx", path])))
        if codes:
            found.add((codes, ptx))
    if len(found) != 1:
        raise ValueError(f"objects differ in architectures: {found}")
    return found.pop()


def read_objects(cuobjdump, objects):
    kernels = []
    for path in objects:
        by_key = {}
        architecture = None
        mangled = None
        for line in run([cuobjdump, "-res-usage", path]).splitlines():
            if m := re.search(r"arch = sm_(\d+)|code for sm_(\d+)", line):
                architecture = m.group(1) or m.group(2)
            elif m := re.search(r"Function (\S+):", line):
                mangled = m.group(1)
            elif m := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", line):
                by_key[architecture, mangled] = Kernel(mangled, architecture, registers=int(m.group(1)),
                                                       stack_bytes=int(m.group(2)), shared_bytes=int(m.group(3)))
        for line in run([cuobjdump, "-sass", path]).splitlines():
            if m := re.search(r"arch = sm_(\d+)|code for sm_(\d+)", line):
                architecture = m.group(1) or m.group(2)
            elif m := re.search(r"Function : (\S+)", line):
                mangled = m.group(1)
            elif m := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);", line):
                by_key[architecture, mangled].instructions.append((int(m.group(1), 16), m.group(2), m.group(3)))
        kernels += by_key.values()
    names = demangle({k.name for k in kernels})
    for kernel in kernels:
        kernel.name = names[kernel.name]
        kernel.spill_bytes = kernel.count(r"LDL|STL")
    return kernels


def read_ptxas(nvcc, sources, include, codes):
    """The same without instructions: compiles each file once more for its report."""
    kernels = []
    for source in sources:
        for code in sorted(codes):
            command = [nvcc, "-std=c++17", f"-arch=sm_{code}", "-O3", "--expt-relaxed-constexpr", f"-I{include}",
                       "-cubin", "-Xptxas", "-v", "-o", "/dev/null", source]
            report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            kernel = None
            for line in report.splitlines():
                if m := re.search(r"Compiling entry function '(\S+)'", line):
                    kernel = Kernel(m.group(1), code)
                    kernels.append(kernel)
                elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
                    kernel.stack_bytes, kernel.spill_bytes = int(m.group(1)), int(m.group(2)) + int(m.group(3))
                elif m := re.search(r"Used (\d+) registers", line):
                    kernel.registers = int(m.group(1))
                    shared = re.search(r"(\d+) bytes smem", line)
                    kernel.shared_bytes = int(shared.group(1)) if shared else 0
    names = demangle({k.name for k in kernels})
    for kernel in kernels:
        kernel.name = names[kernel.name]
    return kernels


def opcode_histogram(opcodes):
    return collections.Counter(o.split(".")[0] for o in opcodes)
