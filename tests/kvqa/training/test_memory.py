import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from kvqa.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for step in range(26):
    if step == 18:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    states = torch.empty(9_000_000).fill_(1)  # 36 MB, freed at the end of each step
    loss = ((states + 1) * 2).sum()
    del states
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again() -> None:
    def faults(how: str) -> int:
        run = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
        return int(run.stdout)

    given_back = faults("give back")
    assert given_back > 1000  # of pages of 4 KB, or fewer large ones
    assert faults("keep") < given_back / 20
