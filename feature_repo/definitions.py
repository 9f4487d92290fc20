"""The feature definitions, as Feast reads them: entities, sources, views, and a service for each use.

Source paths are relative to the store folder (see `feature_store.yaml`). Importing this module imports Feast (seconds):
do it inside functions. A product's values are two views of one source: the listing, which serving shows and so goes
online, and the content, which only training reads. What shoppers did comes from events (`feature_repo.activity`); fresh events
are pushed, and what is derived from several views is computed on demand, by the same code offline and online.
"""

from __future__ import annotations

from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

from feature_repo.activity import PRODUCT_COUNTS, QUERY_COUNTS
from feature_repo.signals import SIGNALS

product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.STRING)
query = Entity(name="query", join_keys=["query_id"], value_type=ValueType.STRING)
words = Entity(name="words", join_keys=["words"], value_type=ValueType.STRING, description="Of a query, see `query_words`.")


def _file(name: str) -> FileSource:
    return FileSource(
        name=name, path=f"{name}.parquet", timestamp_field="event_timestamp", created_timestamp_column="created_timestamp"
    )


products, queries = _file("products"), _file("queries")
product_events = PushSource(name="product_events", batch_source=_file("product_activity"))
query_events = PushSource(name="query_events", batch_source=_file("query_activity"))

product_listing = FeatureView(
    name="product_listing",
    entities=[product],
    source=products,
    schema=[
        Field(name="title", dtype=String),
        Field(name="category", dtype=String, description='Category path joined by " > ".'),
        Field(name="price", dtype=Float64),
    ],
)
product_content = FeatureView(
    name="product_content",
    entities=[product],
    source=products,
    online=False,
    schema=[
        Field(name="description", dtype=String),
        Field(name="attributes", dtype=String, description="Canonical JSON object."),
        Field(name="group", dtype=String, description="Near-identical products share a group and so a split."),
        Field(name="split", dtype=String),
    ],
)
query_content = FeatureView(
    name="query_content",
    entities=[query],
    source=queries,
    online=False,
    schema=[
        Field(name="kind", dtype=String, description="text, image or voice."),
        Field(name="text", dtype=String),
        Field(name="split", dtype=String),
    ],
)

product_activity = FeatureView(
    name="product_activity",
    entities=[product],
    source=product_events,
    schema=[
        *(Field(name=count.name, dtype=Int64) for count in PRODUCT_COUNTS),
        Field(name="last_price", dtype=Float64, description="Of the price event of the latest time."),
    ],
)
query_activity = FeatureView(
    name="query_activity",
    entities=[words],
    source=query_events,
    schema=[Field(name=count.name, dtype=Int64) for count in QUERY_COUNTS],
)


@on_demand_feature_view(  # Feast 0.67 takes no descriptions here: it would miss the fields (see `signals` for what they are)
    sources=[product_listing, product_activity],
    schema=[Field(name=name, dtype=Float64) for name in SIGNALS],
    mode="python",
)
def product_signals(inputs: dict[str, Any]) -> dict[str, Any]:
    from feature_repo.signals import signals  # Feast keeps the text of this function alone

    return signals(inputs)


training_products = FeatureService(name="training_products", features=[product_listing, product_content])
training_queries = FeatureService(name="training_queries", features=[query_content])
serving_products = FeatureService(name="serving_products", features=[product_listing])
signal_inputs = FeatureService(name="signal_inputs", features=[product_activity[["views_30d", "purchases_30d", "last_price"]]])
ranking_products = FeatureService(name="ranking_products", features=[product_listing[["price"]], product_activity, product_signals])
ranking_queries = FeatureService(name="ranking_queries", features=[query_activity])

product_embedding = FeatureView(
    name="product_embedding",
    entities=[product],
    source=_file("product_embedding"),
    schema=[Field(name="embedding", dtype=Array(Float32), description="Of the index that the model serves with, L2-normalised.")],
)


def model_service(name: str, digests: dict[str, str]) -> FeatureService:
    """What is served beside the model `name`, with the digests of what it was made of."""
    return FeatureService(
        name=name, features=[product_listing, product_activity, product_signals, product_embedding], tags=digests
    )


ONLINE = (product_listing, product_activity, query_activity)
DEFINITIONS: list[Any] = [
    *(product, query, words),
    *(product_events, query_events),
    *(product_listing, product_content, query_content, product_activity, query_activity, product_signals),
    *(training_products, training_queries, serving_products, signal_inputs, ranking_products, ranking_queries),
]
