"""How much is tried again, and after which pauses."""

from tfllm.client import retries
from tfllm.client.config import ConnectionConfig
from tfllm.client.retries import RetryBudget


def test_failures_in_a_row_spend_the_budget_and_successes_give_it_back():
    budget = RetryBudget(3)
    for _ in range(2):
        budget.failed()
    assert not budget.spent
    budget.failed()
    assert budget.spent
    for _ in range(11):
        budget.answered()
    assert not budget.spent


def test_a_budget_without_a_bound_is_never_spent():
    budget = RetryBudget(0)
    for _ in range(1000):
        budget.failed()
    assert not budget.spent


def test_pauses_double_with_jitter_up_to_the_longest():
    config = ConnectionConfig(initial_backoff=0.1, max_backoff=0.5)
    for attempt, seconds in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (2000, 0.5)):
        found = [retries.pause(config, attempt) for _ in range(50)]
        assert 0.8 * seconds <= min(found) < max(found) <= 1.2 * seconds
