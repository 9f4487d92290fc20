"""The feature definitions, as Feast reads them: entities, sources, views, and a service for each use.

Source paths are relative to the store folder (see `feature_store.yaml`). Importing this module imports Feast (seconds):
do it inside functions. A product's values are two views of one source: the listing, which serving shows and so goes
online, and the content, which only training reads.
"""

from __future__ import annotations

from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.STRING)
query = Entity(name="query", join_keys=["query_id"], value_type=ValueType.STRING)

products = FileSource(
    name="products",
    path="products.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
)
queries = FileSource(
    name="queries",
    path="queries.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created_timestamp",
)

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

training_products = FeatureService(name="training_products", features=[product_listing, product_content])
training_queries = FeatureService(name="training_queries", features=[query_content])
serving_products = FeatureService(name="serving_products", features=[product_listing])

DEFINITIONS: list[Any] = [
    product,
    query,
    product_listing,
    product_content,
    query_content,
    training_products,
    training_queries,
    serving_products,
]
