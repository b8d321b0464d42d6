"""Objectives that compare what two networks see of a sample's relations to other samples."""

import torch.nn.functional as F
from torch import Tensor

from selfsup.objectives.distributed import all_reduce_mean
from selfsup.objectives.precision import check_positive, check_queue, full_precision


@full_precision
def ressl(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Relational loss of ReSSL (Zheng et al. 2021, arXiv:2107.09282).

    With q, k and m_j the rows of query, key and queue divided by their length:

        L = -mean_n sum_j softmax_j(k_n . m_j / teacher_temperature)
                          log softmax_j(q_n . m_j / student_temperature)

    Keys and queue have no gradient. The paper adds the keys to the queue after this call, all processes to
    the same queue; no row is a positive.

    Args:
        query: (N, D) embeddings of strongly changed views.
        key: (N, D) the teacher's embeddings of weakly changed views of the same images.
        queue: (K, D) earlier keys of any images.
        student_temperature: dimensionless, above 0.
        teacher_temperature: dimensionless, above 0, and below the student's, or all becomes alike.

    Returns:
        Scalar, at least float32. log K where all rows are equal; the least is the teacher's mean entropy.

    Raises:
        ValueError: shapes that do not match, tensors that are empty, not floating or not finite, a
            temperature that is not above 0.

    >>> import torch
    >>> z = torch.eye(4)
    >>> round(ressl(z, z, z).item(), 4)
    0.0001
    """
    check_queue(queue, query=query, key=key)
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    rows = F.normalize(queue.detach(), dim=1).T
    targets = (F.normalize(key.detach(), dim=1) @ rows / teacher_temperature).softmax(1)
    logits = (F.normalize(query, dim=1) / student_temperature) @ rows
    return all_reduce_mean(F.cross_entropy(logits, targets))
