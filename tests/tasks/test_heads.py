import numpy as np

from tfllm.tasks.heads import initializer


def test_new_layers_are_as_wide_as_was_asked():
    for asked in (0.02, 0.1):
        drawn = np.asarray(initializer(asked)((500, 500)))
        np.testing.assert_allclose(drawn.std(), asked, rtol=0.01)
        assert abs(drawn.mean()) < asked / 100
