"""The client of a Goodsight server: `Client` and, for asyncio, `AsyncClient`, with the same calls.

    from goodsight_client import Client

    with Client("http://127.0.0.1:8000", key="gs_...") as goodsight:
        for product in goodsight.search("red sofa", k=3).results:
            print(product.score, product.title)
"""

from goodsight_client.client import AsyncClient, Client
from goodsight_client.errors import Failed, GoodsightError, Refused, Unavailable
from goodsight_client.models import Categories, Category, Feedback, Problem, Product, Products, Vector, Vectors
from goodsight_client.retries import Retries

__all__ = [
    "AsyncClient", "Categories", "Category", "Client", "Failed", "Feedback", "GoodsightError", "Problem", "Product", "Products",
    "Refused", "Retries", "Unavailable", "Vector", "Vectors",
]  # fmt: skip
