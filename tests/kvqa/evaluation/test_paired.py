import time

import numpy as np
import pytest
from scipy.stats import binomtest

from kvqa.evaluation.paired import mcnemar_exact, paired_interval


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 1), (3, 9), (12, 12), (40, 71)])
def test_mcnemar_agrees_with_scipy(only_first: int, only_second: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True, False])
    second = np.array([False] * only_first + [True] * only_second + [True, False])
    total = only_first + only_second
    wanted = binomtest(only_first, total).pvalue if total else 1.0
    assert mcnemar_exact(first, second) == (only_first, only_second, pytest.approx(wanted, rel=1e-12))


def test_mcnemar_of_many_questions_is_quick_and_does_not_overflow() -> None:
    started = time.perf_counter()
    one, two, p = mcnemar_exact(np.arange(4000) < 1900, np.arange(4000) >= 1900)
    assert (one, two) == (1900, 2100) and p == pytest.approx(binomtest(1900, 4000).pvalue, rel=1e-9)
    assert mcnemar_exact(np.ones(4000), np.zeros(4000))[2] == 0.0
    assert time.perf_counter() - started < 5
    with pytest.raises(ValueError, match="do not fit"):
        mcnemar_exact([True], [True, False])


def test_what_is_hard_for_both_does_not_widen_the_interval() -> None:
    first = np.tile([0.0, 100.0], 200)
    images = [str(i // 2) for i in range(400)]
    assert paired_interval(first, first + 5, images) == (5.0, 5.0)
    better = first.copy()
    better[:40:2] = 100  # 20 of 400 questions, each on a picture of its own
    low, high = paired_interval(first, better, images)
    # 5 ± 1.96 · 100 · sqrt(0.1 · 0.9 / 200) / 2, by the normal approximation over 200 pictures
    assert (low, high) == (pytest.approx(5 - 2.08, abs=0.35), pytest.approx(5 + 2.08, abs=0.35))
    assert paired_interval(first, better, images) == (low, high)
