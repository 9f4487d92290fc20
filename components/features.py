"""Step 3: Feast turns the snapshot into the training table (point-in-time) and fills the online store."""

from pathlib import Path

from kfp import dsl

from goodsight.settings import IMAGE


def features(snapshot: Path, store: Path, table: Path) -> None:
    """Builds the feature store in folder `store` and the training table in folder `table`."""
    from feature_repo.store import build_features, training_table

    build_features(snapshot, store)
    training_table(store, table)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def features_component(  # type: ignore[no-untyped-def]
    snapshot: dsl.Input[dsl.Dataset], code: str, store: dsl.Output[dsl.Artifact], table: dsl.Output[dsl.Dataset]
):
    from pathlib import Path

    from components import features as room
    from components import shell

    with shell.step("features", store=store, table=table):
        room.features(Path(snapshot.path), Path(store.path), Path(table.path))
