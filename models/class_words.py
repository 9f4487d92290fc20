"""The category by the words alone: ridge regression on TF-IDF of word pieces, beside the class head (wide and deep, Cheng et al.
2016, arXiv 1606.07792). A network that has read five products of a category does not know its words by heart; a linear model does.

Word pieces share `BUCKETS` columns (Weinberger et al. 2009), so that a large vocabulary costs no more than a small one.
Legend: B batch, N products, T text tokens, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BUCKETS = 8192
SHARE = 4.0  # a category that the words name beyond doubt gets so many logits more


class ClassWords(nn.Module):
    """What the words add to the logits: nothing before `fit`, and nothing for a row without a text."""

    idf: Tensor
    weight: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("idf", torch.zeros(BUCKETS))
        self.register_buffer("weight", torch.zeros(classes, BUCKETS))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Word pieces `(B, T)` and their mask -> `(B, K)`."""
        counts = self.idf.new_zeros(len(ids), BUCKETS).scatter_add_(1, ids % BUCKETS, mask.to(self.idf.dtype))
        return SHARE * F.normalize(counts * self.idf, dim=1) @ self.weight.T

    @torch.no_grad()
    def fit(self, ids: Tensor, mask: Tensor, target: Tensor) -> None:
        """Least squares of being of class `target` `(N,)` on the words `(N, T)` of training products."""
        from scipy.sparse import csr_matrix  # here: a server, which only predicts, starts without scipy's and sklearn's second
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import Ridge

        rows = torch.arange(len(ids))[:, None].expand_as(ids)[mask]
        counts = csr_matrix((torch.ones(len(rows)).numpy(), (rows.numpy(), (ids[mask] % BUCKETS).numpy())), (len(ids), BUCKETS))
        tfidf = TfidfTransformer()
        words = tfidf.fit_transform(counts)
        ridge = Ridge(fit_intercept=False, solver="lsqr").fit(words, F.one_hot(target, len(self.weight)).float().numpy())
        self.idf.copy_(torch.from_numpy(tfidf.idf_))
        self.weight.copy_(torch.from_numpy(ridge.coef_))
