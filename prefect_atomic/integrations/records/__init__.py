"""Records on their way to another system: cut into batches, and an outcome for each."""

from prefect_atomic.integrations.records.batches import Batch, json_batches
from prefect_atomic.integrations.records.outcomes import OnError, Outcome, Outcomes, State, settled
from prefect_atomic.integrations.records.reading import Reading

__all__ = ["Batch", "OnError", "Outcome", "Outcomes", "Reading", "State", "json_batches", "settled"]
