"""Step 3: Feast turns the snapshot into the training table (point-in-time) and fills the online store."""

from pathlib import Path


def features(snapshot: Path, store: Path, table: Path) -> None:
    """Builds the feature store in folder `store` and the training table in folder `table`."""
    from feature_repo.store import build_features, training_table

    build_features(snapshot, store)
    training_table(store, table)
