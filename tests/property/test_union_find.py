"""Sets are united as Python's own are, whatever the pairs and their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.union_find import find_root, number_sets, unite

SIZE = 12
PAIRS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("first", [0, 1])
@settings(deadline=None)
@given(pairs=PAIRS)
def test_sets_are_those_of_their_slow_twin(first, dtype, pairs):
    parent, sets = np.arange(SIZE, dtype=dtype), [{i} for i in range(SIZE)]
    for a, b in pairs:
        unite(parent, a, b)
        joined = sets[a] | sets[b]
        for i in joined:
            sets[i] = joined
    assert [find_root(parent, i) for i in range(SIZE)] == [min(one) for one in sets]
    roots = sorted({min(one) for one in sets})
    assert number_sets(parent, first) == first + len(roots) - 1
    assert parent.tolist() == [first + roots.index(min(one)) for one in sets]
