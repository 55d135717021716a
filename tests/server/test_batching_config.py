import pytest

from tfllm.errors import ConfigError
from tfllm.server.batching_config import BatchingConfig, own_batching, read_batching_file

ALL = """
max_batch_size { value: 64 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 7 }
num_batch_threads { value: 3 }
thread_pool_name { value: "pool" }
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 16 }
allowed_batch_sizes: 8
allowed_batch_sizes: 16
"""


def write(tmp_path, text):
    file = tmp_path / "batching_params.pbtxt"
    file.write_text(text)
    return file


def test_every_parameter(tmp_path):
    config = read_batching_file(write(tmp_path, ALL), 512)
    assert config == BatchingConfig(64, 2000, 7, 3, "pool", (8, 16), True, True, 16, 512)
    assert config.rows_at_once == 16 and config.threads == 3


def test_defaults(tmp_path):
    assert read_batching_file(write(tmp_path, "")) == BatchingConfig()
    assert BatchingConfig().threads >= 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("max_batch_size { value: 0 }", "max_batch_size of at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros of at least 0"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "end with the most rows of a batch, 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 4", "that grow"),
        ("max_batch_size { value: 8 } max_execution_batch_size { value: 9 }", "at most max_batch_size 8"),
        ("max_batch_size: 8", "Error parsing text-format"),
    ],
)
def test_values_that_cannot_be_right(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_batching_file(write(tmp_path, text))


def test_a_version_has_its_own_but_not_its_own_threads(tmp_path):
    server = BatchingConfig(num_batch_threads=2, thread_pool_name="server", token_budget=99)
    assert own_batching(server, tmp_path) is server
    write(tmp_path, ALL)
    own = own_batching(server, tmp_path)
    assert (own.max_batch_size, own.num_batch_threads, own.thread_pool_name, own.token_budget) == (64, 2, "server", 99)
